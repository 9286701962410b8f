// The contract of the bf16 kernels: products of bf16, the upper halves of floats, summed in float. A float is the sum
// of two bf16, but for its last bits, so that a few such products stand for one of floats. The kernels see a
// convolution as the float kernels do (conv.hpp), as segments; both factors come in units of two bf16. Numbers below
// the normal range of floats may count as zero, and the order of summation is the machine's own.
#pragma once

#include <cstdint>

#include "spnet/kernels/conv.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels {

/// y[p][o] (+)= sum over segments s and channels c of x[p * x_step + s.offset + c] * w[s.weights + c][o], for the pixels p
/// of all lines. Channels and `weights` of segments are even; offsets and steps need not be. `w` holds pairs of
/// consecutive channels, `width` outputs a row of pairs: a multiple of Bf16Kernels::lanes and at most
/// Bf16Kernels::panel. What lies in x between the pixels of two lines may be read, too.
struct Bf16ProductArgs {
  const std::uint16_t* x;
  std::int64_t x_step;
  std::int64_t pixels;
  const Segment* segments;
  std::int64_t segment_count;
  const std::uint16_t* w;
  std::int64_t width;
  std::int64_t outputs;
  float* y;
  std::int64_t y_step;
  bool accumulate;
  Lines lines = {};
};

/// `pixels` runs of `channels` floats, `x_step` apart, as bf16: `high` are they rounded to nearest even (NaN stays
/// NaN), `low`, which may be null, what is left of them, rounded again; zero where high is not finite. Where there is a
/// `scale`, channel c is multiplied by scale[c] first.
struct Bf16SplitArgs {
  const float* x;
  std::int64_t x_step;
  std::int64_t pixels, channels;
  std::uint16_t* high;
  std::uint16_t* low;
  std::int64_t step;  ///< of what is written
  const float* scale = nullptr;
};

/// `pixels` runs of `channels` bf16, `x_step` apart, to be written in another order.
struct Bf16OrderArgs {
  const std::uint16_t* x;
  std::int64_t x_step;
  std::int64_t pixels, channels;
  std::uint16_t* to;
  std::int64_t step;   ///< of what is written
  bool leads = false;  ///< of `interleave`: a zero pixel comes first, is counted in `pixels`, and x begins behind it
};

/// One instruction set's bf16 kernels; without functions where it has none that outrun floats.
struct Bf16Kernels {
  const char* name;
  std::int64_t lanes;  ///< outputs are handled in multiples of this
  std::int64_t panel;  ///< widest panel of packed weights
  /// high[p * step + c], low likewise, and a zero behind an odd number of channels.
  void (*split)(const Bf16SplitArgs&);
  /// to[(p / 2 * step + c) * 2 + p % 2], a row of pairs, zeros up to `step`, a multiple of lanes; and a zero pixel
  /// behind an odd number of them.
  void (*interleave)(const Bf16OrderArgs&);
  /// to[c * step + p].
  void (*transpose)(const Bf16OrderArgs&);
  void (*product)(const Bf16ProductArgs&);
  std::int64_t most_products = 0;  ///< that take less time than one of floats
  void (*release)() = nullptr;  ///< gives up what a thread's products keep, at the end of a task; may be null
};

}  // namespace kernels
}  // namespace v0
}  // namespace spnet
