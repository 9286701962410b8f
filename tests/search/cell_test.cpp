#include "spnet/search/cell.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "spnet/testing/compare.hpp"

using namespace spnet;

TEST_CASE("search: the shares of every cell add up to 1, and the likelier width gets more on average") {
  for (const char* name : {"softmax", "gumbel", "gumbel-hard"}) {
    CAPTURE(std::string(name));
    const Variable<float> logits(Tensor<float>::from({3}, {0.0f, 2.0f, 1.0f}), true);
    Random random(5);
    std::vector<double> mean(3, 0);
    for (int i = 0; i < 2000; ++i) {
      const Tensor<float> shares = search::find_cell(name)(logits, 1.0, random).value();
      float sum = 0, most = 0;
      for (std::int64_t k = 0; k < 3; ++k) {
        sum += shares(k);
        most = std::max(most, shares(k));
        mean[static_cast<std::size_t>(k)] += static_cast<double>(shares(k)) / 2000;
      }
      CHECK(sum == doctest::Approx(1));
      if (name == std::string("gumbel-hard")) CHECK(most == 1.0f);
    }
    CHECK(mean[0] < mean[2]);
    CHECK(mean[2] < mean[1]);
    // argmax(α + G) is a draw from softmax(α).
    if (name == std::string("gumbel-hard")) CHECK(mean[1] == doctest::Approx(0.6652).epsilon(0.05));
  }
}

TEST_CASE("search: the gradient of a hard cell is that of the soft shares with the same noise") {
  const auto gradient = [](const char* name) {
    const Variable<float> logits(Tensor<float>::from({3}, {0.0f, 2.0f, 1.0f}), true);
    Random random(9);
    search::find_cell(name)(logits, 0.5, random).backward(Tensor<float>::from({3}, {1.0f, -2.0f, 3.0f}));
    return logits.grad().clone();
  };
  CHECK(testing::bit_equal(gradient("gumbel"), gradient("gumbel-hard")));
  CHECK_FALSE(testing::bit_equal(gradient("softmax"), gradient("gumbel")));
}

TEST_CASE("search: an unknown cell is refused with the list of those that are known") {
  CHECK_THROWS_WITH_AS(search::find_cell("none"),
                       "search cell: 'none' is not known; there are gumbel, gumbel-hard, softmax", ValueError);
}
