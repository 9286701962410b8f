// AMX tiles in plain loops that check what the processor checks: the kernels' bodies run on them anywhere.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "spnet/kernels/amx_body.hpp"

namespace spnet {
namespace emulated {

using kernels::body::TileConfig;

/// The tiles of the calling thread.
struct Tiles {
  static inline thread_local TileConfig config{.palette = 0};
  static inline thread_local std::array<std::array<std::array<std::uint8_t, 64>, 16>, 8> data{};
  /// How often they were shaped, and how many tiles were multiplied.
  static inline thread_local std::int64_t shapings = 0, products = 0;

  static void configure(const TileConfig& wanted) {
    require(wanted.palette == 1 && wanted.start_row == 0, "palette");
    for (const std::uint8_t byte : wanted.reserved) require(byte == 0, "reserved bytes");
    for (int t = 0; t < 16; ++t) {
      const int rows = wanted.rows[t], bytes = wanted.row_bytes[t];
      require(rows <= (t < 8 ? 16 : 0) && bytes <= (t < 8 ? 64 : 0) && (rows == 0) == (bytes == 0), "shape");
    }
    config = wanted;
    data = {};
    ++shapings;
  }
  static void read_config(TileConfig& present) { present = config; }
  static void release() {
    config = {.palette = 0};
    data = {};
  }
  template <int kTile>
  static void zero() {
    require_shaped<kTile>();
    data[kTile] = {};
  }
  template <int kTile>
  static void load(const void* from, std::int64_t step) {
    zero<kTile>();
    for (int row = 0; row < config.rows[kTile]; ++row)
      std::memcpy(data[kTile][row].data(), static_cast<const char*>(from) + row * step, config.row_bytes[kTile]);
  }
  template <int kTile>
  static void store(void* to, std::int64_t step) {
    require_shaped<kTile>();
    for (int row = 0; row < config.rows[kTile]; ++row)
      std::memcpy(static_cast<char*>(to) + row * step, data[kTile][row].data(), config.row_bytes[kTile]);
  }
  template <int kSums, int kX, int kW>
  static void dot_codes() {
    for_each_sum<kSums, kX, kW>([](std::uint32_t sum, const std::uint8_t* x, const std::uint8_t* w, int units) {
      for (int i = 0; i < 4 * units; ++i)
        sum += static_cast<std::uint32_t>(x[i] * static_cast<std::int8_t>(w[i / 4 * 64 + i % 4]));
      return sum;
    });
  }
  template <int kSums, int kX, int kW>
  static void dot_bf16() {
    for_each_sum<kSums, kX, kW>([](float sum, const std::uint8_t* x, const std::uint8_t* w, int units) {
      float sums[2] = {};
      for (int i = 0; i < 2 * units; ++i) sums[i % 2] += bf16_at(x + 2 * i) * bf16_at(w + i / 2 * 64 + i % 2 * 2);
      return sum + (sums[0] + sums[1]);
    });
  }

 private:
  static void require(bool holds, const char* what) {
    if (!holds) throw std::logic_error(std::string("tiles: the processor would refuse this ") + what);
  }
  template <int kTile>
  static void require_shaped() {
    static_assert(0 <= kTile && kTile < 8);
    require(config.palette == 1 && config.rows[kTile] > 0, "tile without a shape");
  }
  static float bf16_at(const std::uint8_t* from) {
    std::uint16_t bits;
    std::memcpy(&bits, from, sizeof bits);
    return std::bit_cast<float>(std::uint32_t{bits} << 16);
  }
  // Calls add(sum, x, w, units) for the new value of every sum: `units` of x lie side by side, those of w in rows.
  template <int kSums, int kX, int kW, class Add>
  static void for_each_sum(const Add& add) {
    static_assert(kSums != kX && kSums != kW && kX != kW);
    require_shaped<kSums>();
    require_shaped<kX>();
    require_shaped<kW>();
    require(config.rows[kSums] == config.rows[kX] && config.row_bytes[kSums] == config.row_bytes[kW] &&
                config.row_bytes[kX] == 4 * config.rows[kW] && config.row_bytes[kSums] % 4 == 0,
            "product of shapes");
    for (int row = 0; row < config.rows[kSums]; ++row) {
      for (int col = 0; col < config.row_bytes[kSums]; col += 4) {
        decltype(add({}, nullptr, nullptr, 0)) sum;
        std::memcpy(&sum, &data[kSums][row][col], 4);
        sum = add(sum, data[kX][row].data(), &data[kW][0][col], config.rows[kW]);
        std::memcpy(&data[kSums][row][col], &sum, 4);
      }
    }
    ++products;
  }
};

/// Vectors for what tiles do not do.
struct Vectors {
  static constexpr int kLanes = 16;
  static constexpr int kElementBytes = 1;
  typedef std::int32_t Vector __attribute__((vector_size(64)));
  typedef std::uint32_t Bits __attribute__((vector_size(64)));

  static void broadcast(Vector& v, const std::byte* from) {
    for (int i = 0; i < kLanes; ++i) std::memcpy(reinterpret_cast<char*>(&v) + 4 * i, from, 4);
  }
  static void dot(Vector& sum, const Vector& x, const Vector& w) {
    const auto* const codes = reinterpret_cast<const std::uint8_t*>(&x);
    const auto* const weights = reinterpret_cast<const std::int8_t*>(&w);
    for (int i = 0; i < 4 * kLanes; ++i) sum[i / 4] += codes[i] * weights[i];
  }
};

inline void code_product(const kernels::IntegerProductArgs& a) {
  using Codes = kernels::body::TileCodes<Tiles, Vectors>;
  if (kernels::body::tile_product<Codes>(a)) return;
  if (a.lines.count != 1) {
    for (std::int64_t line = 0; line < a.lines.count; ++line) code_product(Codes::line_of(a, line));
    return;
  }
  switch (a.width / Vectors::kLanes) {
    case 4:
      return kernels::body::integer_tiles<Vectors, 2, 4>(a);
    case 3:
      return kernels::body::integer_tiles<Vectors, 2, 3>(a);
    case 2:
      return kernels::body::integer_tiles<Vectors, 2, 2>(a);
    default:
      return kernels::body::integer_tiles<Vectors, 2, 1>(a);
  }
}
inline void code_elements(const kernels::ElementArgs& a) { kernels::body::code_elements<std::uint8_t>(a); }

inline constexpr kernels::IntegerKernels kCodes{"emulated tiles", Vectors::kLanes, 4 * Vectors::kLanes, 1, 1, 255, 0,
                                                code_elements,    code_product,    Tiles::release,  true};

struct Floats {
  static constexpr int kLanes = 16;
  typedef float Vector __attribute__((vector_size(64)));

  static void load(Vector& v, const float* from) { std::memcpy(&v, from, sizeof v); }
  static void store(float* to, const Vector& v) { std::memcpy(to, &v, sizeof v); }
  static void add(Vector& sum, const Vector& v) { sum += v; }
};

/// False, with nothing done, for products that tiles would not make faster.
inline bool bf16_product(const kernels::Bf16ProductArgs& a) {
  return kernels::body::tile_product<kernels::body::TileBf16<Tiles, Floats>>(a);
}

}  // namespace emulated
}  // namespace spnet
