#include "spnet/data/permutation.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <vector>

#include "spnet/data/synthetic.hpp"

using namespace spnet;

TEST_CASE("data: a permutation holds every entry once and depends on the stream") {
  const data::Permutation a = data::permutation(1000, Random(1, 0)), b = data::permutation(1000, Random(1, 1));
  CHECK(a == data::permutation(1000, Random(1, 0)));
  CHECK(a != b);
  CHECK(std::set<std::uint32_t>(a.begin(), a.end()).size() == 1000);
  CHECK(*std::max_element(a.begin(), a.end()) == 999);
  CHECK(data::permutation(0, Random(1)).empty());
  CHECK_THROWS_AS(data::permutation(std::int64_t{1} << 32, Random(1)), ValueError);
}

TEST_CASE("data: every entry of a permutation is about equally likely to come first") {
  std::vector<int> first(5);
  for (std::uint64_t stream = 0; stream < 5000; ++stream) ++first[data::permutation(5, Random(9, stream))[0]];
  for (int count : first) CHECK(std::abs(count - 1000) < 120);
}

TEST_CASE("data: a held-out split is disjoint, whole and a function of the seed") {
  const auto whole = std::make_shared<data::SyntheticDataset>(data::SyntheticOptions{.count = 50});
  const data::TwoSets sets = data::split(whole, 12, 4), again = data::split(whole, 12, 4),
                      other = data::split(whole, 12, 5);
  CHECK(sets.kept->size() == 38);
  CHECK(sets.held_out->size() == 12);
  CHECK(sets.kept->classes() == whole->classes());
  CHECK(sets.held_out->image_size() == whole->image_size());
  std::set<std::string> names;
  bool differs = false;
  for (std::int64_t i = 0; i < 38; ++i) names.insert(sets.kept->name(i));
  for (std::int64_t i = 0; i < 12; ++i) {
    names.insert(sets.held_out->name(i));
    CHECK(sets.held_out->name(i) == again.held_out->name(i));
    CHECK(sets.held_out->get(i).image == again.held_out->get(i).image);
    differs = differs || sets.held_out->name(i) != other.held_out->name(i);
  }
  CHECK(names.size() == 50);
  CHECK(differs);
  CHECK_THROWS_WITH_AS(data::split(whole, 50, 1), "split: 50 of 50 images to hold out, expected 1 to 49", ValueError);
  CHECK_THROWS_AS(data::split(whole, 0, 1), ValueError);
}

TEST_CASE("data: a subset keeps its order and refuses indices outside") {
  const auto whole = std::make_shared<data::SyntheticDataset>(data::SyntheticOptions{.count = 10});
  const data::Subset subset(whole, {7, 2, 7});
  CHECK(subset.size() == 3);
  CHECK(subset.get(0).label == 7);
  CHECK(subset.get(1).image == whole->get(2).image);
  CHECK_THROWS_AS(subset.get(3), ValueError);
  CHECK_THROWS_WITH_AS(data::Subset(whole, {10}), "Subset: index 10 given, expected 0 to 9", ValueError);
}
