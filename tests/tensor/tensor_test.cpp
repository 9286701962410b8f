#include "spnet/tensor/tensor.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

using namespace spnet;

namespace {
Tensor<int> iota(const Shape& shape) {
  Tensor<int> out(shape);
  for (std::int64_t i = 0; i < out.size(); ++i) out.data()[i] = static_cast<int>(i);
  return out;
}
template <class T>
std::vector<T> elements(const Tensor<T>& tensor) {
  const Tensor<T> dense = tensor.clone();
  return {dense.span().begin(), dense.span().end()};
}
}  // namespace

TEST_CASE("tensor: a new tensor is row-major, aligned and alone") {
  const Tensor<float> tensor({2, 3, 4});
  CHECK(tensor.defined());
  CHECK(tensor.shape() == Shape{2, 3, 4});
  CHECK(tensor.strides() == Strides{12, 4, 1});
  CHECK(tensor.size() == 24);
  CHECK(tensor.rank() == 3);
  CHECK(tensor.dim(-1) == 4);
  CHECK(tensor.is_contiguous());
  CHECK(tensor.unique());
  CHECK(reinterpret_cast<std::uintptr_t>(tensor.data()) % kAlignment == 0);
}

TEST_CASE("tensor: tensors are filled and filled from lists") {
  CHECK(elements(Tensor<int>::zeros({2, 2})) == std::vector<int>{0, 0, 0, 0});
  CHECK(elements(Tensor<double>::ones({3})) == std::vector<double>{1, 1, 1});
  CHECK(elements(Tensor<int>::full({2}, 7)) == std::vector<int>{7, 7});
  const auto tensor = Tensor<int>::from({2, 2}, {1, 2, 3, 4});
  CHECK(tensor(1, 0) == 3);
  const std::array<int, 2> values{5, 6};
  CHECK(elements(Tensor<int>::from({2}, std::span<const int>(values))) == std::vector<int>{5, 6});
  CHECK(Tensor<float>::scalar(2.5f).item() == 2.5f);
  CHECK(Tensor<float>::scalar(2.5f)() == 2.5f);
  CHECK_THROWS_WITH_AS(Tensor<int>::from({2, 2}, {1, 2, 3}), "Tensor::from: 3 values given, shape [2,2] expects 4", ShapeError);
}

TEST_CASE("tensor: impossible shapes are refused before anything is allocated") {
  const std::size_t reserved = MemoryPool::global().statistics().reserved_bytes;
  CHECK_THROWS_AS(Tensor<float>({2, -1}), ShapeError);
  CHECK_THROWS_WITH_AS(Tensor<float>({std::int64_t{1} << 45}), "Tensor: [35184372088832] is too large", ShapeError);
  CHECK_THROWS_AS(Tensor<float>({std::int64_t{1} << 40, std::int64_t{1} << 40}), ShapeError);
  CHECK(MemoryPool::global().statistics().reserved_bytes == reserved);
}

TEST_CASE("tensor: elements are reached by index, and every index is checked") {
  auto tensor = iota({2, 3});
  CHECK(tensor(1, 2) == 5);
  tensor(1, 2) = 50;
  CHECK(tensor.data()[5] == 50);
  CHECK_THROWS_WITH_AS(tensor(1), "Tensor: 1 indices given, shape [2,3]", ShapeError);
  CHECK_THROWS_WITH_AS(tensor(2, 0), "Tensor: index 2 on axis 0 of shape [2,3]", ShapeError);
  CHECK_THROWS_AS(tensor(0, -1), ShapeError);
  CHECK_THROWS_WITH_AS(tensor.item(), "Tensor::item: shape [2,3] given, expected one element", ShapeError);
  CHECK(iota({1, 1}).item() == 0);
}

TEST_CASE("tensor: an undefined tensor holds nothing and gives nothing") {
  Tensor<float> nothing;
  CHECK(!nothing.defined());
  CHECK(nothing.size() == 0);
  CHECK(!nothing.unique());
  CHECK(nothing.span().empty());
  CHECK_THROWS_WITH_AS(nothing(), "Tensor: an undefined tensor has no elements", ShapeError);
  CHECK_THROWS_AS(nothing.item(), ShapeError);
}

TEST_CASE("tensor: empty tensors work like others") {
  const auto empty = Tensor<float>::zeros({2, 0, 4});
  CHECK(empty.defined());
  CHECK(empty.is_contiguous());
  CHECK(empty.span().empty());
  CHECK(empty.clone().shape() == Shape{2, 0, 4});
  CHECK(empty.reshape({0, 7}).shape() == Shape{0, 7});
  CHECK(empty.permute({1, 2, 0}).contiguous().shape() == Shape{0, 4, 2});
  int visits = 0;
  empty.for_each_offset([&](std::int64_t) { ++visits; });
  CHECK(visits == 0);
}

TEST_CASE("tensor: copies share, clones do not") {
  auto tensor = iota({3});
  {
    auto shared = tensor;
    shared(0) = 9;
    CHECK(tensor(0) == 9);
    CHECK(!tensor.unique());
  }
  CHECK(tensor.unique());
  auto own = tensor.clone();
  own(0) = 1;
  CHECK(tensor(0) == 9);
}

TEST_CASE("tensor: reshape shares where it can and copies where it must") {
  auto tensor = iota({2, 6});
  CHECK(tensor.reshape({3, 4}).data() == tensor.data());
  CHECK(tensor.reshape({3, -1}).shape() == Shape{3, 4});
  CHECK(tensor.reshape({-1}).shape() == Shape{12});
  CHECK(tensor.reshape({3, 4})(2, 1) == 9);
  const auto turned = tensor.transpose(0, 1);
  CHECK(turned.reshape({12}).data() != tensor.data());
  CHECK(elements(turned.reshape({12})) == std::vector<int>{0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11});
  CHECK(Tensor<int>::scalar(3).reshape({1, 1}).shape() == Shape{1, 1});

  CHECK_THROWS_WITH_AS(tensor.reshape({5}), "Tensor::reshape: [5] given for 12 elements", ShapeError);
  CHECK_THROWS_WITH_AS(tensor.reshape({5, -1}), "Tensor::reshape: [2,6] does not divide into [5,-1]", ShapeError);
  CHECK_THROWS_WITH_AS(tensor.reshape({-1, -1}), "Tensor::reshape: two sizes of −1 in [-1,-1]", ShapeError);
  CHECK_THROWS_AS(tensor.reshape({-1, 0}), ShapeError);
  CHECK_THROWS_AS(tensor.reshape({-2, -6}), ShapeError);
  CHECK_THROWS_AS(tensor.reshape({-1, std::int64_t{1} << 40, std::int64_t{1} << 40}), ShapeError);
}

TEST_CASE("tensor: permuted and transposed views") {
  auto tensor = iota({2, 3, 4});
  const auto view = tensor.permute({2, 0, -2});
  CHECK(view.shape() == Shape{4, 2, 3});
  CHECK(!view.is_contiguous());
  CHECK(view(3, 1, 2) == tensor(1, 2, 3));
  CHECK(view.data() == tensor.data());
  int wrong = 0;
  const auto dense = view.contiguous();
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 2; ++j)
      for (int k = 0; k < 3; ++k) wrong += dense(i, j, k) != tensor(j, k, i);
  CHECK(wrong == 0);
  CHECK(elements(iota({2, 3}).transpose(-1, 0)) == std::vector<int>{0, 3, 1, 4, 2, 5});
  CHECK_THROWS_WITH_AS(tensor.permute({0, 1}), "Tensor::permute: 2 axes given, rank is 3", ShapeError);
  CHECK_THROWS_WITH_AS(tensor.permute({0, 1, -2}), "Tensor::permute: axis -2 is named twice", ShapeError);
  CHECK_THROWS_AS(tensor.permute({0, 1, 3}), ShapeError);
  CHECK_THROWS_AS(tensor.transpose(0, 3), ShapeError);
}

TEST_CASE("tensor: narrowed and selected views") {
  auto tensor = iota({3, 4});
  auto middle = tensor.narrow(1, 1, 2);
  CHECK(middle.shape() == Shape{3, 2});
  CHECK(middle.size() == 6);
  CHECK(elements(middle) == std::vector<int>{1, 2, 5, 6, 9, 10});
  middle(0, 0) = -1;
  CHECK(tensor(0, 1) == -1);
  CHECK(elements(tensor.narrow(-2, 2, 1)) == std::vector<int>{8, 9, 10, 11});
  CHECK(tensor.narrow(0, 3, 0).size() == 0);
  CHECK(tensor.select(0, 1).shape() == Shape{4});
  CHECK(elements(tensor.select(-1, 3)) == std::vector<int>{3, 7, 11});
  CHECK(tensor.select(0, 1).select(0, 2).item() == 6);
  CHECK_THROWS_WITH_AS(tensor.narrow(1, 3, 2), "Tensor::narrow: 2 entries from 3 on axis 1 of shape [3,4]", ShapeError);
  CHECK_THROWS_AS(tensor.narrow(1, -1, 2), ShapeError);
  CHECK_THROWS_AS(tensor.narrow(1, 0, -1), ShapeError);
  CHECK_THROWS_AS(tensor.narrow(1, 1, INT64_MAX), ShapeError);
  CHECK_THROWS_AS(tensor.select(0, 3), ShapeError);
}

TEST_CASE("tensor: expanded and unsqueezed views") {
  const auto row = iota({3});
  const auto matrix = row.expand({2, 3});
  CHECK(matrix.size() == 6);
  CHECK(elements(matrix) == std::vector<int>{0, 1, 2, 0, 1, 2});
  CHECK(elements(row.unsqueeze(1).expand({3, 2})) == std::vector<int>{0, 0, 1, 1, 2, 2});
  CHECK(elements(Tensor<int>::scalar(4).expand({2, 2})) == std::vector<int>{4, 4, 4, 4});
  CHECK(row.unsqueeze(0).shape() == Shape{1, 3});
  CHECK(row.unsqueeze(1).is_contiguous());
  CHECK_THROWS_WITH_AS(row.expand({3, 2}), "Tensor::expand: shapes [3] and [3,2] do not broadcast", ShapeError);
  CHECK_THROWS_WITH_AS(iota({2, 3}).expand({3}), "Tensor::expand: [2,3] does not expand to [3]", ShapeError);
  CHECK_THROWS_AS(row.unsqueeze(2), ShapeError);
}

TEST_CASE("tensor: copying between views") {
  auto tensor = iota({2, 3});
  auto target = Tensor<int>::zeros({3, 2});
  target.copy_from(tensor.transpose(0, 1));
  CHECK(elements(target) == std::vector<int>{0, 3, 1, 4, 2, 5});
  target.transpose(0, 1).copy_from(tensor);
  CHECK(elements(target) == std::vector<int>{0, 3, 1, 4, 2, 5});
  target.narrow(1, 0, 1).fill(8);
  CHECK(elements(target) == std::vector<int>{8, 3, 8, 4, 8, 5});
  CHECK_THROWS_WITH_AS(target.copy_from(tensor), "Tensor::copy_from: [2,3] given, expected [3,2]", ShapeError);

  auto shifted = iota({5});
  shifted.narrow(0, 1, 4).copy_from(shifted.narrow(0, 0, 4));  // source and target overlap
  CHECK(elements(shifted) == std::vector<int>{0, 0, 1, 2, 3});
}

TEST_CASE("tensor: elements are converted") {
  CHECK(elements(Tensor<float>::from({3}, {1.9f, -1.9f, 0}).to<int>()) == std::vector<int>{1, -1, 0});
  CHECK(elements(iota({2, 2}).transpose(0, 1).to<double>()) == std::vector<double>{0, 2, 1, 3});
  const auto halves = Tensor<float>::from({2}, {0.5f, 1.0f + 0x1p-9f}).to<bf16>();
  CHECK(elements(halves.to<float>()) == std::vector<float>{0.5f, 1.0f});
  CHECK(elements(halves.to<double>()) == std::vector<double>{0.5, 1.0});
  CHECK(elements(halves.to<int>()) == std::vector<int>{0, 1});
}

TEST_CASE("tensor: walks visit every element once, in row-major order") {
  const auto view = iota({3, 4, 5}).permute({1, 2, 0}).narrow(0, 1, 3).narrow(1, 2, 2);
  std::vector<int> walked;
  view.for_each_offset([&](std::int64_t offset) { walked.push_back(view.data()[offset]); });
  std::vector<int> expected;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 2; ++j)
      for (int k = 0; k < 3; ++k) expected.push_back(view(i, j, k));
  CHECK(walked == expected);
}

TEST_CASE("tensor: non-contiguous spans are refused") {
  const auto turned = iota({2, 3}).transpose(0, 1);
  CHECK_THROWS_WITH_AS(turned.span(), "Tensor::span: strides [1,3] of shape [3,2] are not contiguous", ShapeError);
  CHECK(iota({2, 1, 3}).transpose(0, 1).span().size() == 6);  // axes of size 1 do not matter
}
