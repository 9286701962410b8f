// What the gradient checks of the operators share.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "spnet/autograd/variable.hpp"
#include "spnet/testing/compare.hpp"
#include "spnet/testing/gradcheck.hpp"

using Inputs = std::vector<spnet::Variable<double>>;

#define CHECK_GRADIENTS(...)                                    \
  do {                                                          \
    const auto report = spnet::testing::gradcheck(__VA_ARGS__); \
    CHECK_MESSAGE(report.ok, report.message);                   \
  } while (false)

template <class T = double>
spnet::Variable<T> leaf(const spnet::Shape& shape, std::uint64_t seed, double scale = 1, double offset = 0) {
  return spnet::Variable<T>(spnet::testing::random_normal<double>(shape, seed, scale, offset).template to<T>(), true);
}
