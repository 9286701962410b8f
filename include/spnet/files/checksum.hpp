// XXH64: a fast 64-bit checksum against accidental damage (it does not resist an attacker).
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace spnet {
inline namespace v0 {
namespace files {

/// Streaming XXH64 with seed 0; the digest does not depend on how the bytes were cut into updates.
/// Source: Y. Collet, xxHash fast digest algorithm, specification v0.1.1.
class Xxh64 {
 public:
  void update(std::span<const std::byte> bytes) {
    length_ += bytes.size();
    if (pending_size_ != 0) {
      const std::size_t taken = std::min(kStripe - pending_size_, bytes.size());
      std::copy_n(bytes.data(), taken, pending_.data() + pending_size_);
      pending_size_ += taken;
      bytes = bytes.subspan(taken);
      if (pending_size_ < kStripe) return;
      consume(pending_.data());
      pending_size_ = 0;
    }
    for (; bytes.size() >= kStripe; bytes = bytes.subspan(kStripe)) consume(bytes.data());
    std::copy_n(bytes.data(), bytes.size(), pending_.data());
    pending_size_ = bytes.size();
  }

  std::uint64_t digest() const {
    std::uint64_t hash = kPrime5;
    if (length_ >= kStripe) {
      hash = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) + std::rotl(lanes_[3], 18);
      for (std::uint64_t lane : lanes_) hash = (hash ^ round(0, lane)) * kPrime1 + kPrime4;
    }
    hash += length_;
    std::size_t at = 0;
    for (; at + 8 <= pending_size_; at += 8)
      hash = std::rotl(hash ^ round(0, load<std::uint64_t>(pending_.data() + at)), 27) * kPrime1 + kPrime4;
    if (at + 4 <= pending_size_) {
      hash = std::rotl(hash ^ load<std::uint32_t>(pending_.data() + at) * kPrime1, 23) * kPrime2 + kPrime3;
      at += 4;
    }
    for (; at < pending_size_; ++at)
      hash = std::rotl(hash ^ std::to_integer<std::uint64_t>(pending_[at]) * kPrime5, 11) * kPrime1;
    hash = (hash ^ (hash >> 33)) * kPrime2;
    hash = (hash ^ (hash >> 29)) * kPrime3;
    return hash ^ (hash >> 32);
  }

 private:
  static constexpr std::size_t kStripe = 32;
  static constexpr std::uint64_t kPrime1 = 0x9E3779B185EBCA87;
  static constexpr std::uint64_t kPrime2 = 0xC2B2AE3D27D4EB4F;
  static constexpr std::uint64_t kPrime3 = 0x165667B19E3779F9;
  static constexpr std::uint64_t kPrime4 = 0x85EBCA77C2B2AE63;
  static constexpr std::uint64_t kPrime5 = 0x27D4EB2F165667C5;
  static_assert(std::endian::native == std::endian::little, "spnet's file formats are little-endian");

  template <class Word>
  static std::uint64_t load(const std::byte* bytes) {
    Word word;
    std::memcpy(&word, bytes, sizeof word);
    return word;
  }
  static std::uint64_t round(std::uint64_t lane, std::uint64_t word) {
    return std::rotl(lane + word * kPrime2, 31) * kPrime1;
  }
  void consume(const std::byte* stripe) {
    for (std::size_t i = 0; i < lanes_.size(); ++i) lanes_[i] = round(lanes_[i], load<std::uint64_t>(stripe + 8 * i));
  }

  std::array<std::uint64_t, 4> lanes_{kPrime1 + kPrime2, kPrime2, 0, std::uint64_t{0} - kPrime1};
  std::array<std::byte, kStripe> pending_{};
  std::size_t pending_size_ = 0;
  std::uint64_t length_ = 0;
};

/// XXH64 of `bytes`, seed 0.
inline std::uint64_t xxh64(std::span<const std::byte> bytes) {
  Xxh64 hash;
  hash.update(bytes);
  return hash.digest();
}

}  // namespace files
}  // namespace v0
}  // namespace spnet
