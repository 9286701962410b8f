#include "spnet/data/cache.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "spnet/data/synthetic.hpp"

using namespace spnet;

namespace {
class Counting final : public data::Dataset {
 public:
  std::int64_t size() const override { return inner_.size(); }
  const std::vector<std::string>& classes() const override { return inner_.classes(); }
  data::ImageSize image_size() const override { return inner_.image_size(); }
  bool read(std::int64_t index, data::Sample& out) const override {
    ++reads;
    return index != 3 && inner_.read(index, out);
  }
  mutable std::atomic<int> reads{0};

 private:
  data::SyntheticDataset inner_{{.count = 20}};
};
}  // namespace

TEST_CASE("data: a cache reads every good image once, up to its limit") {
  const auto source = std::make_shared<Counting>();
  const data::CachedDataset cached(source, 1 << 20);
  data::Sample a, b;
  for (int round = 0; round < 3; ++round)
    for (std::int64_t i = 0; i < 20; ++i) {
      CHECK(cached.read(i, a) == (i != 3));
      if (i == 3) continue;
      source->read(i, b);
      CHECK(a.image == b.image);
      CHECK(a.label == b.label);
    }
  CHECK(source->reads == 19 + 3 + 3 * 19);  // kept once, bad each time, and the comparisons
  CHECK(cached.cached_bytes() == 19 * 32 * 32 * 3);
  CHECK_THROWS_AS(cached.read(20, a), ValueError);

  const data::CachedDataset small(source, 5 * 32 * 32 * 3 + 100);
  for (std::int64_t i = 0; i < 20; ++i) small.read(i, a);
  CHECK(small.cached_bytes() == 5 * 32 * 32 * 3);
  CHECK_THROWS_AS(data::CachedDataset(source, -1), ValueError);
}

TEST_CASE("data: a cache may be read by several threads") {
  const auto source = std::make_shared<Counting>();
  const data::CachedDataset cached(source, 1 << 20);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      data::Sample sample;
      for (int round = 0; round < 5; ++round)
        for (std::int64_t i = 0; i < 20; ++i)
          if (cached.read(i, sample) && sample.label != i % 10) ++wrong;
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(cached.cached_bytes() == 19 * 32 * 32 * 3);
}
