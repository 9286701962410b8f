// Counter-based random numbers (Philox-4x32-10, Salmon et al., SC 2011): number i of stream s under a seed is a pure
// function of (seed, s, i), so that results depend neither on threads nor on the order of calls, and a checkpoint
// stores a counter instead of a generator's state.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace spnet {
inline namespace v0 {

/// One Philox block: four 32-bit words for a 128-bit counter and a 64-bit key.
constexpr std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// Random numbers of one stream, by position or one after another.
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0, std::uint64_t position = 0)
      : seed_(seed), stream_(stream), position_(position) {}

  /// The 32-bit word at `position`, whatever was drawn before.
  std::uint32_t bits_at(std::uint64_t position) const { return block_at(position / 4)[position % 4]; }
  /// Uniform in [0, 1), 24 random bits, at `position`.
  float uniform_at(std::uint64_t position) const { return as_uniform(bits_at(position)); }

  /// The next 32-bit word; the next uniform in [0, 1), and in [low, high].
  std::uint32_t bits() {
    if (position_ / 4 != block_number_) {
      block_number_ = position_ / 4;
      block_ = block_at(block_number_);
    }
    return block_[position_++ % 4];
  }
  float uniform() { return as_uniform(bits()); }
  float uniform(float low, float high) { return low + (high - low) * uniform(); }
  /// Standard normal (Box–Muller); takes two words.
  float normal() {
    const double u = (static_cast<double>(bits()) + 1.0) * 0x1p-32;  // (0, 1]: its logarithm is finite
    const double angle = 2.0 * std::numbers::pi * static_cast<double>(bits()) * 0x1p-32;
    return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(angle));
  }
  /// Uniform integer in [0, bound), bound > 0; the bias is below bound/2^32.
  std::uint32_t below(std::uint32_t bound) {
    return static_cast<std::uint32_t>((std::uint64_t{bits()} * bound) >> 32);
  }

  std::uint64_t seed() const { return seed_; }
  std::uint64_t stream() const { return stream_; }
  std::uint64_t position() const { return position_; }
  void seek(std::uint64_t position) { position_ = position; }

 private:
  static float as_uniform(std::uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }
  std::array<std::uint32_t, 4> block_at(std::uint64_t number) const {
    return philox({static_cast<std::uint32_t>(number), static_cast<std::uint32_t>(number >> 32),
                   static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)},
                  {static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)});
  }

  std::uint64_t seed_, stream_, position_;
  std::uint64_t block_number_ = ~std::uint64_t{0};  // no position has it
  std::array<std::uint32_t, 4> block_{};            // the last that was drawn from
};

}  // namespace v0
}  // namespace spnet
