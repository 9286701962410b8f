// The contract of the integer convolution kernels: codes of 8 bits at most times signed weights, summed in int32, with
// the same result on every instruction set. They see a convolution as the float kernels do (conv.hpp), as segments.
// Both factors come in units of 32 bits: four bytes (codes unsigned, weights signed), or two int16.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "spnet/kernels/conv.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels {

/// y[p][o] (+)= factor * sum over segments s and channels c of x[p * x_step + s.offset + c] * w[s.weights + c][o]
///              + initial[o] + pixel_terms[p * pixel_terms_step], modulo 2^32;
/// of elements of bits, sums are doubled before a segment that says so. `initial` and `pixel_terms` may be null. `x_step`
/// counts bytes, offsets and channels count elements; channels are a multiple of 4. `w` holds units of consecutive
/// channels, `width` outputs a row of units: a multiple of IntegerKernels::lanes and at most IntegerKernels::panel;
/// `initial` is readable for as many.
struct IntegerProductArgs {
  const std::byte* x;
  std::int64_t x_step;
  std::int64_t pixels;
  const Segment* segments;
  std::int64_t segment_count;
  const std::byte* w;
  std::int64_t width;
  std::int64_t outputs;
  std::int32_t* y;
  std::int64_t y_step;
  bool accumulate;
  std::int32_t factor;
  const std::int32_t* initial;
  const std::int32_t* pixel_terms;
  std::int64_t pixel_terms_step;
  Lines lines = {};  ///< more than one for kernels that take such only; their x in bytes
  std::int64_t pixel_terms_line = 0;
};

/// The elements of `pixels` runs of codes, `code_step` codes apart: as many as the `channels` codes of a run fill, the
/// last with zeros, and zeros up to `element_step` elements. Elements of bits take bit `bit` of every code, in an order
/// of their own that `channels` decides. What lies between the runs may be read.
struct ElementArgs {
  const std::uint8_t* codes;
  std::int64_t code_step;
  std::int64_t pixels;
  std::int64_t channels;
  std::int64_t element_step;
  std::byte* elements;
  int bit;
};

/// Copies `pixels` runs of `channels` <= kBlock codes, `step` apart, to blocks of floats: float(step * code - zero_point); the
/// rest of each block is zeroed.
struct ValueGatherArgs {
  const std::uint8_t* source;
  std::int64_t step;
  std::int64_t pixels;
  std::int64_t channels;
  std::int32_t code_step, zero_point;
  float* blocks;
};

/// An element of bit `bit` of eight codes, the first lowest.
[[gnu::always_inline]] inline std::uint8_t pack_bits(const std::uint8_t* codes, int bit) {
  std::uint64_t eight;
  std::memcpy(&eight, codes, sizeof eight);
  if constexpr (std::endian::native == std::endian::big) eight = __builtin_bswap64(eight);
  // Moves bit 8·i to 56 + i; no two of the other products meet.
  return static_cast<std::uint8_t>(((eight >> bit & 0x0101010101010101) * 0x0102040810204080) >> 56);
}

/// How a code follows from t, the number that a prefix of its bits holds.
enum class PrefixCode : std::uint8_t {
  kAsIs,
  kRounded,  ///< (t + 1) / 2
  kLowered,  ///< t - 1, of 0 none
};

/// codes[i] = what follows from the number of bit i of each plane, the first plane's the highest; at most `most`. Bit i
/// of a plane is bit i % 8 of its byte i / 8. Planes are at most 8, and lie `plane_step` bytes apart.
struct UnpackPlanesArgs {
  const std::byte* planes;
  std::int64_t plane_step, plane_count;
  std::int64_t count;
  PrefixCode code;
  std::uint8_t most;
  std::uint8_t* codes;
};

/// A panel of weights in the order of IntegerProductArgs::w: elements step * code - shift, modulo their size, of
/// `channels` codes of each of `outputs` outputs, `code_step` apart; zeros up to `padded` channels, a multiple of 4,
/// and up to `width` outputs, a multiple of IntegerKernels::lanes.
struct PackWeightsArgs {
  const std::uint8_t* codes;
  std::int64_t code_step;
  std::int64_t outputs, channels;
  int step, shift;
  std::byte* panel;
  std::int64_t width, padded;
};

/// A panel of weights [channel][output] of floats, or of what codes stand for: scale * (step * code - zero_point), as
/// DecodeArgs; then, where `scaled`, factor * weight + 0. Of `channels` weights of each of `outputs` outputs, `row`
/// apart; zeros up to `width` outputs, a multiple of ConvKernels::lanes. Past the caches where asked to `stream`, to a
/// multiple of 64 bytes; fence_streams() must follow.
struct PackFloatsArgs {
  const float* floats;  ///< null: codes
  const std::uint8_t* codes;
  std::int64_t row;
  std::int64_t outputs, channels;
  std::int32_t step, zero_point;
  const float* scales;  ///< of output o: scales[o * scale_step]
  std::int64_t scale_step;
  bool scaled;
  float factor;
  float* panel;
  std::int64_t width;
  bool stream = false;
};

/// One way to multiply codes on one instruction set.
struct IntegerKernels {
  const char* name;
  std::int64_t lanes;          ///< outputs are handled in multiples of this
  std::int64_t panel;          ///< widest panel of packed weights
  std::int64_t element_bytes;  ///< 1: codes are uint8 and weights int8; 2: both are int16
  std::int64_t element_codes;  ///< in one element
  std::int64_t largest_code;   ///< that it takes
  std::int64_t lane_limit;     ///< largest sum of one product that its lanes hold; 0: any that fits int32
  void (*elements)(const ElementArgs&);
  void (*product)(const IntegerProductArgs&);
  void (*release)() = nullptr;  ///< gives up what a thread's products keep, at the end of a task; may be null
  /// Whether products may have several lines, and are faster so: what lies in x between their pixels may be read, too.
  bool takes_lines = false;
};

/// sums[p] = the sum of the `channels` codes from codes[p * step] on.
struct PixelSumArgs {
  const std::uint8_t* codes;
  std::int64_t step, channels;
  std::int64_t pixels;
  std::int32_t* sums;
};

/// terms[p] = factor * Σ over taps t of sums[p * stride + offsets[t]], modulo 2^32.
struct WindowSumArgs {
  const std::int32_t* sums;
  std::int64_t stride;
  const std::int64_t* offsets;
  std::int64_t taps;
  std::int64_t pixels;
  std::int32_t factor;
  std::int32_t* terms;
};

/// As DepthwiseArgs: y[p * y_step + c] = initial[c] + sum over taps of a code and a weight within int16; `initial` may be null.
struct CodeDepthwiseArgs {
  const std::uint8_t* x;
  std::int64_t x_step;
  std::int64_t pixels;
  const DepthwiseTap* taps;
  std::int64_t tap_count;
  const std::int32_t* w;
  std::int64_t w_block;
  const std::int32_t* initial;
  std::int64_t channels;
  std::int32_t* y;
  std::int64_t y_step;
};

/// sums[c] = Σ y[p * step + c], squares[c] = Σ y[p * step + c]² over the pixels p, for sums of magnitudes within int32 and
/// squares within uint64. Overwrites.
struct TotalsArgs {
  const std::int32_t* y;
  std::int64_t step;
  std::int64_t pixels, channels;
  std::int64_t* sums;
  std::uint64_t* squares;
};

/// The integer kernels of one instruction set.
struct CodeKernels {
  /// Exact where a product's segments are short enough for its lanes, which sum two products of every unit. Without
  /// functions where the machine has nothing faster than `small` for it.
  IntegerKernels narrow;
  /// Exact where every sum of two products of a code and a weight stays within int16.
  IntegerKernels small;
  /// Exact wherever sums stay within int32.
  IntegerKernels exact;
  /// Of bits of codes, several in a byte on both sides: its sums count those that differ; where its lanes are limited,
  /// a lane sums those of one byte of every unit. Without functions where the machine has nothing faster than `small`.
  IntegerKernels bits;
  /// So many pairs of planes, at most, `bits` counts in less time than the other kernels take for whole codes; more
  /// than one pair only where a code is read at least `plane_reads` times for each of its planes.
  std::int64_t plane_pairs, plane_reads;
  void (*depthwise)(const CodeDepthwiseArgs&);
  void (*sum_pixels)(const PixelSumArgs&);
  void (*sum_windows)(const WindowSumArgs&);
  void (*totals)(const TotalsArgs&);
  void (*gather_values)(const ValueGatherArgs&);
  void (*unpack_planes)(const UnpackPlanesArgs&);
  void (*pack_bytes)(const PackWeightsArgs&);  ///< to elements of one byte
  void (*pack_words)(const PackWeightsArgs&);  ///< of two
  void (*pack_floats)(const PackFloatsArgs&);
  /// Output pixels from which on `small` is faster than `bits`.
  std::int64_t many_pixels = std::numeric_limits<std::int64_t>::max();
};

}  // namespace kernels
}  // namespace v0
}  // namespace spnet
