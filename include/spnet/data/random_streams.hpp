// One seed gives each use of randomness its own key, so that no two uses share numbers.
#pragma once

#include <cstdint>

#include "spnet/core/random.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

/// What random numbers are for; the values are part of what a seed means and never change.
enum class Purpose : std::uint32_t { kDrawTrain = 1, kDrawTest = 2, kShuffle = 3, kAugment = 4, kSplit = 5 };

/// The seed of one purpose under the user's seed.
inline std::uint64_t purpose_seed(std::uint64_t seed, Purpose purpose) {
  const auto block = philox({static_cast<std::uint32_t>(purpose), 0x64617461u, 0, 0},
                            {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  return std::uint64_t{block[1]} << 32 | block[0];
}

/// The numbers that augment image `index` in `epoch`: at most 2^24 words each.
inline Random augmentation_random(std::uint64_t seed, std::int64_t epoch, std::int64_t index) {
  return Random(purpose_seed(seed, Purpose::kAugment), static_cast<std::uint64_t>(index),
                static_cast<std::uint64_t>(epoch) << 24);
}

}  // namespace data
}  // namespace v0
}  // namespace spnet
