#include "spnet/files/checksum.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

using namespace spnet;

static std::uint64_t hash_of(const std::string& text) { return files::xxh64(std::as_bytes(std::span(text))); }

TEST_CASE("io: XXH64 matches the reference implementation") {
  CHECK(hash_of("") == 0xEF46DB3751D8E999u);
  CHECK(hash_of("a") == 0xD24EC4F1A98C6E5Bu);
  CHECK(hash_of("abc") == 0x44BC2CF5AD770999u);
  CHECK(hash_of("Nobody inspects the spammish repetition") == 0xFBCEA83C8A378BF1u);
  // Every length up to two stripes and beyond: bytes 0, 1, 2, ... chained into one number.
  std::uint64_t chain = 0;
  std::string text;
  for (int i = 0; i < 200; ++i) {
    chain = chain * 31 + hash_of(text);
    text += static_cast<char>(i);
  }
  CHECK(chain == 0x9AE94BE06ECB1217u);
}

TEST_CASE("io: XXH64 does not depend on how the bytes are cut") {
  std::vector<std::byte> bytes(151);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 + 3);
  const std::uint64_t whole = files::xxh64(bytes);
  for (std::size_t first = 0; first <= bytes.size(); ++first) {
    for (std::size_t second = 0; first + second <= bytes.size(); second += 13) {
      files::Xxh64 hash;
      hash.update(std::span(bytes).first(first));
      hash.update(std::span(bytes).subspan(first, second));
      hash.update(std::span(bytes).subspan(first + second));
      REQUIRE(hash.digest() == whole);
    }
  }
}
