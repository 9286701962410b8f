#include "spnet/kernels/integer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

#include "emulated_tiles.hpp"
#include "spnet/core/random.hpp"
#include "spnet/kernels/dispatch.hpp"

using namespace spnet;
using kernels::IntegerKernels;
using kernels::Segment;

namespace {

// The factors of a product in their elements' order, and what the kernel is to do with them.
struct Product {
  std::int64_t pixels, x_step, width, outputs, y_step, pixel_terms_step;
  std::vector<Segment> segments;
  std::vector<std::int32_t> x, w;  // w as [channel][width]
  bool accumulate;
  std::int32_t factor;
  std::vector<std::int32_t> initial, pixel_terms, y;
};

std::int32_t between(Random& random, std::int64_t low, std::int64_t high) {
  return static_cast<std::int32_t>(low + random.below(static_cast<std::uint32_t>(high - low + 1)));
}
std::vector<std::int32_t> random_integers(Random& random, std::int64_t count, std::int64_t low, std::int64_t high) {
  std::vector<std::int32_t> integers(static_cast<std::size_t>(count));
  for (auto& v : integers) v = between(random, low, high);
  return integers;
}

// Codes to `largest`, weights as far on both sides of zero (to -largest - 1 where that is a byte). Segments overlap in
// x as those of neighbouring taps do, have the same length or not, and leave gaps.
Product random_product(Random& random, const IntegerKernels& k, std::int32_t largest) {
  constexpr std::int32_t kAny = 1 << 30;
  Product p{};
  p.pixels = between(random, 1, 70);
  p.x_step = 4 * between(random, 1, 30);
  p.width = k.lanes * between(random, 1, k.panel / k.lanes);
  p.outputs = random.below(2) ? p.width : between(random, 1, p.width);
  p.y_step = p.outputs + between(random, 0, 3);
  p.pixel_terms_step = between(random, 1, 3);
  const std::int32_t alike = 4 * between(random, 1, 60), kind = between(random, 0, 2);
  std::int64_t rows = 0, reach = 0;
  for (int s = between(random, 1, 9); s > 0; --s) {
    std::int64_t channels = alike;
    if (kind == 1) channels = alike % 64 + 64 * between(random, alike % 64 == 0, 2);
    if (kind == 2) channels = 4 * between(random, 1, 60);
    rows += 4 * between(random, 0, 1);
    p.segments.push_back({between(random, 0, 500), channels, rows});
    rows += channels;
    reach = std::max(reach, p.segments.back().offset + channels);
  }
  p.x = random_integers(random, (p.pixels - 1) * p.x_step + reach, 0, largest);
  p.w = random_integers(random, rows * p.width, largest > 127 ? -128 : -largest, std::min(largest, 127));
  p.accumulate = random.below(2) == 1;
  p.factor = random.below(2) ? 1 : between(random, -kAny, kAny);
  if (random.below(2)) p.initial = random_integers(random, p.width, -kAny, kAny);
  if (random.below(2)) p.pixel_terms = random_integers(random, p.pixels * p.pixel_terms_step, -kAny, kAny);
  p.y = random_integers(random, p.pixels * p.y_step, -kAny, kAny);
  return p;
}

std::vector<std::int32_t> expected(const Product& p) {
  std::vector<std::int32_t> y = p.y;
  for (std::int64_t pixel = 0; pixel < p.pixels; ++pixel) {
    for (std::int64_t o = 0; o < p.outputs; ++o) {
      std::int64_t sum = 0;
      for (const Segment& s : p.segments) {
        for (std::int64_t c = 0; c < s.channels; ++c)
          sum += p.x[static_cast<std::size_t>(pixel * p.x_step + s.offset + c)] *
                 p.w[static_cast<std::size_t>((s.weights + c) * p.width + o)];
      }
      std::int32_t& to = y[static_cast<std::size_t>(pixel * p.y_step + o)];
      sum = p.factor * sum + (p.accumulate ? to : 0);
      if (!p.initial.empty()) sum += p.initial[static_cast<std::size_t>(o)];
      if (!p.pixel_terms.empty()) sum += p.pixel_terms[static_cast<std::size_t>(pixel * p.pixel_terms_step)];
      to = static_cast<std::int32_t>(static_cast<std::uint32_t>(sum));
    }
  }
  return y;
}

template <class Element>
std::vector<std::byte> elements(const std::vector<std::int32_t>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(Element));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto element = static_cast<Element>(values[i]);
    std::memcpy(bytes.data() + i * sizeof element, &element, sizeof element);
  }
  return bytes;
}
std::vector<std::byte> elements(const std::vector<std::int32_t>& values, std::int64_t element_bytes) {
  return element_bytes == 1 ? elements<std::uint8_t>(values) : elements<std::int16_t>(values);
}

// From [channel][width] to units.
std::vector<std::int32_t> in_units(const Product& p, std::int64_t unit) {
  std::vector<std::int32_t> packed(p.w.size());
  for (std::size_t i = 0; i < packed.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i), channel = at / p.width, o = at % p.width;
    packed[static_cast<std::size_t>((channel / unit * p.width + o) * unit + channel % unit)] = p.w[i];
  }
  return packed;
}

std::vector<std::int32_t> run(const IntegerKernels& k, const Product& p) {
  const auto x = elements(p.x, k.element_bytes), w = elements(in_units(p, 4 / k.element_bytes), k.element_bytes);
  std::vector<std::int32_t> y = p.y;
  k.product({x.data(), p.x_step * k.element_bytes, p.pixels, p.segments.data(), std::ssize(p.segments), w.data(),
             p.width, p.outputs, y.data(), p.y_step, p.accumulate, p.factor,
             p.initial.empty() ? nullptr : p.initial.data(), p.pixel_terms.empty() ? nullptr : p.pixel_terms.data(),
             p.pixel_terms_step});
  if (k.release) k.release();
  return y;
}

void check_products(const IntegerKernels& k, std::int32_t largest, int count) {
  INFO(std::string(k.name));
  Random random(7);
  for (int i = 0; i < count; ++i) {
    const Product p = random_product(random, k, largest);
    INFO("product ", i, ": ", p.pixels, " pixels, ", p.outputs, " outputs, ", p.segments.size(), " segments of ",
         p.segments[0].channels);
    CHECK(run(k, p) == expected(p));
  }
}

}  // namespace

TEST_CASE("kernels: products of codes are exact on every instruction set") {
  for (const kernels::KernelTable* table : kernels::available()) {
    const kernels::CodeKernels& codes = table->codes;
    // Sums of two products within int16, or of all.
    if (codes.narrow.product) check_products(codes.narrow, 1, 50);
    check_products(codes.small, 127, 50);
    check_products(codes.exact, 255, 50);
  }
}

TEST_CASE("kernels: products of codes are exact on emulated tiles" * doctest::test_suite("portable")) {
  const std::int64_t before = emulated::Tiles::shapings;
  check_products(emulated::kCodes, 255, 400);
  const std::int64_t on_tiles = emulated::Tiles::shapings - before;
  CHECK(on_tiles > 150);
  CHECK(on_tiles < 350);
}

TEST_CASE("kernels: tiles are shaped where they have another shape, whoever gave it to them") {
  using emulated::Tiles;
  const std::vector<std::int32_t> x(64 * 64, 3), w(64 * 64, -2);
  const Product p{.pixels = 64,
                  .x_step = 64,
                  .width = 64,
                  .outputs = 64,
                  .y_step = 64,
                  .pixel_terms_step = 0,
                  .segments = {{0, 64, 0}},
                  .x = x,
                  .w = w,
                  .accumulate = false,
                  .factor = 1,
                  .initial = {},
                  .pixel_terms = {},
                  .y = std::vector<std::int32_t>(64 * 64)};
  IntegerKernels keeping = emulated::kCodes;
  keeping.release = nullptr;
  const auto shapings = [&](const Product& product) {
    const std::int64_t before = Tiles::shapings;
    CHECK(run(keeping, product) == expected(product));
    return Tiles::shapings - before;
  };
  Tiles::release();
  CHECK(shapings(p) == 1);
  CHECK(shapings(p) == 0);
  kernels::body::TileConfig other;
  other.rows[0] = 1;
  other.row_bytes[0] = 4;
  Tiles::configure(other);
  CHECK(shapings(p) == 1);
  Product fewer = p;
  fewer.pixels = 40;
  CHECK(shapings(fewer) == 1);
  emulated::kCodes.release();
  CHECK(Tiles::config.palette == 0);
  CHECK(shapings(fewer) == 1);
  Tiles::release();
}

TEST_CASE("kernels: elements of any number of channels, and nothing beside them") {
  Random random(11);
  for (const kernels::KernelTable* table : kernels::available())
    for (const IntegerKernels* k : {&table->codes.small, &table->codes.exact})
      for (const std::int64_t channels : {1, 3, 4, 14, 16, 17, 29, 31, 32, 55})
        for (const std::int64_t pixels : {1, 2, 7, 23}) {
          CAPTURE(k->name);
          CAPTURE(channels);
          CAPTURE(pixels);
          const std::int64_t code_step = channels * between(random, 1, 2) + between(random, 0, 1);
          const std::int64_t element_step = (channels + 3) / 4 * 4 + (random.below(10) == 9 ? 20 : 0);
          // Up to their last code, for sanitizers to see what is read behind it.
          std::vector<std::uint8_t> codes(static_cast<std::size_t>((pixels - 1) * code_step + channels));
          for (auto& c : codes) c = static_cast<std::uint8_t>(random.below(256));
          std::vector<std::int32_t> expected;
          for (std::int64_t p = 0; p < pixels; ++p)
            for (std::int64_t c = 0; c < element_step; ++c)
              expected.push_back(c < channels ? codes[static_cast<std::size_t>(p * code_step + c)] : 0);
          std::vector<std::byte> found(static_cast<std::size_t>(pixels * element_step * k->element_bytes));
          k->elements({codes.data(), code_step, pixels, channels, element_step, found.data(), 0});
          CHECK(found == elements(expected, k->element_bytes));
        }
}

TEST_CASE("kernels: elements of bits hold each code's bit once, and every run's in the same order") {
  Random random(12);
  for (const kernels::KernelTable* table : kernels::available())
    for (const std::int64_t channels : {1, 7, 8, 14, 29, 32, 55, 64, 72, 131})
      for (const std::int64_t pixels : {1, 2, 23}) {
        const IntegerKernels& k = table->codes.bits;
        if (!k.elements) continue;
        CAPTURE(k.name);
        CAPTURE(channels);
        CAPTURE(pixels);
        const std::int64_t filled = (channels + k.element_codes - 1) / k.element_codes;
        const std::int64_t code_step = channels + between(random, 0, 1), element_step = filled + between(random, 0, 5);
        std::vector<std::uint8_t> codes(static_cast<std::size_t>((pixels - 1) * code_step + channels));
        for (auto& c : codes) c = static_cast<std::uint8_t>(random.below(256));
        std::vector<std::byte> all(static_cast<std::size_t>(pixels * element_step)),
            one(static_cast<std::size_t>(filled));
        k.elements({codes.data(), code_step, pixels, channels, element_step, all.data(), 5});
        for (std::int64_t p = 0; p < pixels; ++p) {
          const std::uint8_t* const run = codes.data() + p * code_step;
          k.elements({run, channels, 1, channels, filled, one.data(), 5});
          const auto at = all.begin() + p * element_step;
          CHECK(std::equal(one.begin(), one.end(), at));
          CHECK(std::all_of(at + filled, at + element_step, [](std::byte b) { return b == std::byte{0}; }));
          int bits = 0;
          for (const std::byte b : one) bits += std::popcount(std::to_integer<unsigned>(b));
          CHECK(bits == std::count_if(run, run + channels, [](std::uint8_t c) { return (c >> 5 & 1) != 0; }));
        }
      }
}
