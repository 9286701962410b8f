#include "spnet/core/random_fill.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace spnet;

TEST_CASE("core: many random numbers at once are those that are drawn one after another") {
  for (const int threads : {1, 3}) {
    const ThreadCountGuard guard(threads);
    for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, std::size_t{9001}}) {
      Random one(5, 2, 7), all(5, 2, 7);
      std::vector<float> values(count), uniform(count);
      fill_normal(values, all, 0.5f);
      fill_random(std::span(uniform), all, 1, [](Random& r) { return r.uniform(); });
      std::size_t wrong = 0;
      for (const float v : values) wrong += v != 0.5f * one.normal();
      for (const float v : uniform) wrong += v != one.uniform();
      CHECK(wrong == 0);
      CHECK(all.position() == one.position());
    }
  }
}
