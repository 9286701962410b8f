// The contract of the float convolution kernels. They see a convolution as a sum over *segments* (a tap and a block of
// channels) of a *scratch*: a zero-padded copy of the input in blocks of kBlock channels, where neighbouring output
// pixels lie kBlock elements apart whatever the stride, so that no kernel checks a border. Who makes the copy may
// convert the elements on the way.
#pragma once

#include <cstdint>

namespace spnet {
inline namespace v0 {
namespace kernels {

/// Channels in one block of scratch: one cache line of floats.
inline constexpr std::int64_t kBlock = 16;

/// One tap and one run of channels: where it begins, relative to an output pixel's base, how many channels it has, and in
/// which row of the panel its weights begin.
struct Segment {
  std::int64_t offset;
  std::int64_t channels;
  std::int64_t weights;
  bool doubles = false;  ///< sums of counted bits so far count twice from here on: see integer.hpp
};

/// Lines of as many pixels each: their number, and how far the next one's begin lies in x and in y, in elements.
struct Lines {
  std::int64_t count = 1, x = 0, y = 0;
};

/// The weights of a panel of outputs: w[s.weights + c][o] is data[s.weights * unit + c * step + o].
struct PanelWeights {
  const float* data;
  std::int64_t unit, step;
};

/// y[p][o] (+)= sum over segments s and channels c of x[p * x_step + s.offset + c] * w[s.weights + c][o], in this
/// order, for one panel of outputs. `w` holds `width` outputs a row, a multiple of ConvKernels::lanes and at most
/// ConvKernels::panel; the first `outputs` of them exist in y. Sums that `stream` past the caches do not accumulate,
/// every row of y lies on a multiple of 64 bytes, and fence_streams() must follow. Where the weights behind these are
/// to be read `next`, they may be brought into the second-level cache meanwhile.
struct ProductArgs {
  const float* x;
  std::int64_t x_step;
  std::int64_t pixels;
  const Segment* segments;
  std::int64_t segment_count;
  PanelWeights w;
  std::int64_t width;
  std::int64_t outputs;
  float* y;
  std::int64_t y_step;
  bool accumulate;
  bool stream = false;
  bool next = false;
};

/// Makes what was streamed visible to other threads.
inline void fence_streams() {
#if defined(__x86_64__)
  __builtin_ia32_sfence();
#endif
}

/// dw[i * dw_step + targets[b] + l] (+)= sum over pixels p of scalars[p][i] * vectors[p][offsets[b] + l], for `outputs` scalars
/// i, `count` blocks b and lanes l of kBlock. Pixels are `images` of `rows` rows of `cols`.
struct WeightGradArgs {
  /// Where a pixel's elements lie, and how far the next pixel's, row's and image's.
  struct Side {
    const float* data;
    std::int64_t step, row, image;
  };
  Side vectors, scalars;
  std::int64_t images, rows, cols;
  const std::int64_t* offsets;
  const std::int64_t* targets;
  std::int64_t count;
  std::int64_t outputs;
  float* dw;
  std::int64_t dw_step;
  bool accumulate;
};

/// A tap of a depthwise convolution: where it lies relative to an output pixel's base, and where its weights begin in those
/// of a block of channels.
struct DepthwiseTap {
  std::int64_t offset;
  std::int64_t weights;
};

/// y[p * y_step + c] = sum over taps t of x[p * x_step + t.offset + c] * w[c / kBlock * w_block + t.weights + c % kBlock].
struct DepthwiseArgs {
  const float* x;
  std::int64_t x_step;
  std::int64_t pixels;
  const DepthwiseTap* taps;
  std::int64_t tap_count;
  const float* w;
  std::int64_t w_block;
  std::int64_t channels;
  float* y;
  std::int64_t y_step;
};

/// dw[c / kBlock * dw_block + t.weights + c % kBlock] += sum over pixels p of dy[p][c] * x[p][t.offset + c].
struct DepthwiseGradArgs {
  const float* x;
  std::int64_t x_step, x_row;
  const float* dy;
  std::int64_t dy_step, dy_row;
  std::int64_t rows, cols;
  const DepthwiseTap* taps;
  std::int64_t tap_count;
  std::int64_t channels;
  float* dw;
  std::int64_t dw_block;
};

/// Copies `pixels` runs of `channels` <= kBlock elements, `step` apart, into blocks; the rest of each block is zeroed.
/// What follows in `ahead` elements is likely to be gathered next, and is fetched into the cache.
struct GatherArgs {
  const float* source;
  std::int64_t step;
  std::int64_t pixels;
  std::int64_t channels;
  float* blocks;
  std::int64_t ahead;
};

/// A row of `tiles` neighbouring tiles of Winograd's F(2×2, 3×3), each two columns right of the one before, and their 16
/// positions, a plane each: out[position * out_position + tile * out_step + channel]. Channels are a multiple of kBlock.
/// Tiles of 4×4 inputs, the first from column `col` on: the rows' column 0, of `cols`; null where a row lies outside.
struct WinogradInputArgs {
  const float* rows[4];
  std::int64_t step, col, cols;
  std::int64_t tiles, channels;
  float* out;
  std::int64_t out_position, out_step;
};
/// Tiles of 2×2 outputs: the first tile's rows, null where a row does not exist, and how many columns do from there on.
struct WinogradOutputArgs {
  const float* in;
  std::int64_t in_position, in_step;
  std::int64_t tiles, channels;
  float* rows[2];
  std::int64_t step, cols;
};
struct WinogradGradientArgs {
  const float* rows[2];
  std::int64_t step, cols;
  std::int64_t tiles, channels;
  float* out;
  std::int64_t out_position, out_step;
};
/// `count` kernels as nine planes of taps and as 16 planes of positions, and back; a multiple of kBlock.
struct WinogradWeightsArgs {
  const float* taps;
  std::int64_t count;
  float* positions;
};
struct WinogradWeightGradArgs {
  const float* positions;
  std::int64_t position;  // floats from one plane to the next
  std::int64_t count;
  float* taps;
  std::int64_t tap;
};

/// One instruction set's convolution kernels.
struct ConvKernels {
  std::int64_t lanes;  ///< outputs are handled in multiples of this
  std::int64_t panel;  ///< widest panel of packed weights
  void (*gather)(const GatherArgs&);
  void (*product)(const ProductArgs&);
  void (*weight_grad)(const WeightGradArgs&);
  void (*depthwise)(const DepthwiseArgs&);
  void (*depthwise_grad)(const DepthwiseGradArgs&);
  void (*winograd_input)(const WinogradInputArgs&);
  void (*winograd_output)(const WinogradOutputArgs&);
  void (*winograd_gradient)(const WinogradGradientArgs&);
  void (*winograd_weights)(const WinogradWeightsArgs&);
  void (*winograd_weight_grad)(const WinogradWeightGradArgs&);
};

}  // namespace kernels
}  // namespace v0
}  // namespace spnet
