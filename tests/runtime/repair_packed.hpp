// Makes the checksum of a packed file right again, for tests of what comes after it.
#pragma once

#include <cstddef>
#include <cstring>
#include <vector>

#include "spnet/files/checksum.hpp"

namespace spnet::test {

inline void repair_packed(std::vector<std::byte>& bytes) {
  if (bytes.size() < 64) return;
  files::Xxh64 hash;
  hash.update(std::span(bytes).first(24));
  hash.update(std::span(bytes).subspan(32));
  const std::uint64_t digest = hash.digest();
  std::memcpy(bytes.data() + 24, &digest, sizeof digest);
}

}  // namespace spnet::test
