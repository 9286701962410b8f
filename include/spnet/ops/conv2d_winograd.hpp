// Convolution of floats, and of codes with floats, by Winograd's minimal filtering F(2×2, 3×3) (Lavin and Gray, "Fast
// Algorithms for Convolutional Neural Networks", 2015): of 3×3 taps at stride 1, tiles of 2×2 outputs
// y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A take 16 products of channels instead of 36, and so does the gradient of the weights,
// dg = Gᵀ[(Bᵀ d B) ⊙ (A dy Aᵀ)]G. Against float64 the results are no worse than plain sums, which are nine times as
// long (bench/results.md).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iterator>

#include "spnet/core/memory.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_copy.hpp"
#include "spnet/ops/conv2d_direct.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/conv2d_panels.hpp"
#include "spnet/ops/conv2d_weight_grad.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

/// Whether convolutions of floats may use Winograd's filtering; where false, every output is the plain sum of its
/// products: for comparisons. True by default.
inline std::atomic<bool>& allows_winograd() {
  static std::atomic<bool> allows{true};
  return allows;
}

namespace detail {

/// Transformed floats of one unit of work: they stay in the second-level cache, unless that leaves few tiles for the
/// weights to be read for.
inline constexpr std::int64_t kWinogradFloats = 64 * 1024;
inline constexpr std::int64_t kWinogradTiles = 32;
/// Products of channels and outputs beyond which nothing was measured.
inline constexpr std::int64_t kWinogradWeights = 512 * 512;
inline constexpr std::int64_t kWinogradPositions = 16;

/// True where F(2×2, 3×3) computes c, and is fast for `pixels` outputs.
inline bool suits_winograd(const Correlation& c, std::int64_t pixels, std::int64_t least_pixels) {
  if (!allows_winograd() || pixels < least_pixels) return false;
  if (c.phases.size() != 1 || c.phases[0].taps.size() != 9 || c.stride_h != 1 || c.stride_w != 1) return false;
  if (c.channels % kBlock != 0 || c.outputs % kBlock != 0 || c.channels * c.outputs > kWinogradWeights) return false;
  const Phase& phase = c.phases[0];
  for (std::size_t t = 0; t < 9; ++t) {
    if (phase.taps[t].row != phase.taps[0].row + static_cast<std::int64_t>(t / 3)) return false;
    if (phase.taps[t].col != phase.taps[0].col + static_cast<std::int64_t>(t % 3)) return false;
  }
  return phase.rows >= 4 && phase.cols >= 4;
}
/// Forward the choice goes by one image: its result is the same alone and among others.
inline bool suits_winograd_forward(const Correlation& c) {
  return suits_winograd(c, c.phases[0].rows * c.phases[0].cols, 64);
}
/// Of gradients.
inline bool suits_winograd_backward(const Correlation& c) {
  return suits_winograd(c, c.batch * c.phases[0].rows * c.phases[0].cols, 256);
}

/// The tiles of a convolution in units of work: bands of rows of tiles of a group of images.
struct WinogradUnits {
  std::int64_t tile_rows, tile_cols;
  std::int64_t images, band, bands, count;

  struct Unit {
    std::int64_t image, images;
    std::int64_t first, last;  // rows of tiles
  };
  explicit WinogradUnits(const Correlation& c)
      : tile_rows(ceil_div(c.phases[0].rows, 2)), tile_cols(ceil_div(c.phases[0].cols, 2)) {
    const std::int64_t tiles =
        std::max<std::int64_t>(kWinogradFloats / (kWinogradPositions * (c.channels + c.outputs)), kWinogradTiles);
    images = std::clamp<std::int64_t>(std::min(tiles / (tile_rows * tile_cols), c.batch / kLeastTasks), 1, c.batch);
    band = std::clamp<std::int64_t>(tiles / tile_cols, 1, tile_rows);
    band = ceil_div(tile_rows, ceil_div(tile_rows, band));
    bands = ceil_div(tile_rows, band);
    count = ceil_div(c.batch, images) * bands;
  }
  /// Floats from a position's channels of all tiles of a unit to the next one's: a line more than they need, for a
  /// tile's positions to fall into different sets of the cache.
  std::int64_t position(std::int64_t channels) const { return images * band * tile_cols * channels + kBlock; }
  Unit at(const Correlation& c, std::int64_t unit) const {
    const std::int64_t image = unit / bands * images, first = unit % bands * band;
    return {image, std::min(images, c.batch - image), first, std::min(first + band, tile_rows)};
  }
};

/// Transforms what a unit reads of x, floats or a CodeSource, to [position][tile][channel], positions `position` floats
/// apart. `copy` has room for copied_floats of its band's rows.
template <class Source>
void transform_input(const Correlation& c, const WinogradUnits& units, const WinogradUnits::Unit& unit, const Source& x,
                     float* copy, float* out, std::int64_t position) {
  const Tap& tap = c.phases[0].taps.front();
  const std::int64_t x_row = c.in_cols * c.in_step;
  for (std::int64_t n = unit.image; n < unit.image + unit.images; ++n) {
    const ImageRows in =
        read_rows(c, x + n * c.in_rows * x_row, 2 * unit.first, std::min(2 * unit.last, c.phases[0].rows), copy);
    for (std::int64_t i = unit.first; i < unit.last; ++i, out += units.tile_cols * c.channels) {
      kernels::WinogradInputArgs args{{},         c.in_step, tap.col,  c.in_cols, units.tile_cols,
                                      c.channels, out,       position, c.channels};
      for (std::int64_t r = 0; r < 4; ++r) {
        const std::int64_t row = 2 * i + tap.row + r;
        args.rows[r] = row >= 0 && row < c.in_rows ? in.data + (row - in.skipped) * x_row : nullptr;
      }
      kernels::active().conv.winograd_input(args);
    }
  }
}

/// Row `r` of the outputs of row i of tiles, null where it does not exist.
template <class T>
T* output_row(const Correlation& c, T* y, std::int64_t image, std::int64_t i, std::int64_t r) {
  return 2 * i + r < c.phases[0].rows ? y + image * c.y_image + (2 * i + r) * c.y_row : nullptr;
}

/// As DirectCorrelation, where suits_winograd_forward or suits_winograd_backward.
class WinogradCorrelation final : public FloatEngine {
 public:
  WinogradCorrelation(const Correlation& c, const WeightSource& w)
      : c_(c),
        k_(&kernels::active().conv),
        panels_(*k_, c.outputs),
        units_(c),
        weights_(static_cast<std::size_t>(kWinogradPositions * c.channels * panels_.total()) * sizeof(float)) {
    const std::int64_t taps = 9 * c.channels * panels_.panel;
    parallel_for_scratch<float>(
        panels_.count(), taps + w.scratch(c, panels_.panel),
        [&](std::int64_t p, float* scratch) { transform_panel(w, p, scratch, scratch + taps); });
  }

  void operator()(const float* x, float* y, const OutputConsumer& consume = {}) const override { run(x, y, consume); }
  /// Of a group that has all channels.
  void operator()(const CodeSource& x, float* y, const OutputConsumer& consume = {}) const override {
    run(x, y, consume);
  }
  std::int64_t bytes() const override { return static_cast<std::int64_t>(weights_.size_bytes()); }

  const char* name() const override { return name_of(); }
  static const char* name_of() { return "winograd"; }

 private:
  template <class Source>
  void run(const Source& x, float* y, const OutputConsumer& consume) const {
    const std::int64_t in_position = units_.position(c_.channels), out_position = units_.position(c_.outputs);
    const std::int64_t transformed = kWinogradPositions * (in_position + out_position);
    const std::int64_t scratch = transformed + copied_floats<Source>(c_, 2 * units_.band);
    parallel_for_scratch<float>(units_.count, scratch, [&](std::int64_t index, float* in) {
      const WinogradUnits::Unit unit = units_.at(c_, index);
      float* const out = in + kWinogradPositions * in_position;
      transform_input(c_, units_, unit, x, in + transformed, in, in_position);
      const std::int64_t tiles = unit.images * (unit.last - unit.first) * units_.tile_cols;
      const Segment segment{0, c_.channels, 0};
      for (std::int64_t p = 0; p < panels_.count(); ++p)
        for (std::int64_t position = 0; position < kWinogradPositions; ++position)
          k_->product({in + position * in_position,
                       c_.channels,
                       tiles,
                       &segment,
                       1,
                       {panel(p) + position * c_.channels * panels_.width(p), panels_.width(p), panels_.width(p)},
                       panels_.width(p),
                       panels_.valid(p),
                       out + position * out_position + p * panels_.panel,
                       c_.outputs,
                       false,
                       false,
                       come_from_afar(bytes())});
      transform_output(unit, out, out_position, y);
      const Phase& phase = c_.phases[0];
      const std::int64_t first = 2 * unit.first, last = std::min(2 * unit.last, phase.rows);
      for (std::int64_t n = unit.image; consume && n < unit.image + unit.images; ++n)
        consume({(n * phase.rows + first) * phase.cols, (last - first) * phase.cols, 0, c_.outputs});
    });
  }
  float* panel(std::int64_t p) const {
    return static_cast<float*>(weights_.data()) + p * panels_.panel * kWinogradPositions * c_.channels;
  }
  // As [position][channel][width of the panel].
  void transform_panel(const WeightSource& w, std::int64_t p, float* taps, float* scratch) {
    const PanelSource from = w.panel(c_, p * panels_.panel, panels_.valid(p), scratch);
    pack_panel(c_, c_.phases[0], from, panels_.valid(p), panels_.width(p), taps);
    k_->winograd_weights({taps, c_.channels * panels_.width(p), panel(p)});
  }
  void transform_output(const WinogradUnits::Unit& unit, const float* in, std::int64_t position, float* y) const {
    for (std::int64_t n = unit.image; n < unit.image + unit.images; ++n) {
      for (std::int64_t i = unit.first; i < unit.last; ++i, in += units_.tile_cols * c_.outputs)
        k_->winograd_output({in,
                             position,
                             c_.outputs,
                             units_.tile_cols,
                             c_.outputs,
                             {output_row(c_, y, n, i, 0), output_row(c_, y, n, i, 1)},
                             c_.y_step,
                             c_.phases[0].cols});
    }
  }

  Correlation c_;
  const kernels::ConvKernels* k_;
  Panels panels_;
  WinogradUnits units_;
  Buffer weights_;
};

/// As correlate_weight_grad, where suits_winograd_backward. Of a CodeSource the group has all channels.
template <class Source>
void winograd_weight_grad(const Correlation& c, const float* dy, const Source& x, float* dw) {
  const kernels::ConvKernels& k = kernels::active().conv;
  const Phase& phase = c.phases[0];
  const WinogradUnits units(c);
  const std::int64_t x_position = units.position(c.channels), dy_position = units.position(c.outputs);
  // Sums [position][output][channel].
  const std::int64_t plane = c.outputs * c.channels;
  const Buffer sums(static_cast<std::size_t>(kWinogradPositions * plane) * sizeof(float));
  const GradChunks chunks(units.count, kWinogradPositions * plane, static_cast<float*>(sums.data()), kLeastTasks);
  // Where there are few chunks, the outputs are cut too.
  const std::int64_t out_blocks = c.outputs / kBlock,
                     splits = std::min(ceil_div(kLeastTasks, chunks.count()), out_blocks);
  PoolVector<std::int64_t> blocks;
  for (std::int64_t channel = 0; channel < c.channels; channel += kBlock) blocks.push_back(channel);
  const std::int64_t transformed = kWinogradPositions * (x_position + dy_position);
  const std::int64_t scratch = transformed + copied_floats<Source>(c, 2 * units.band);
  parallel_for_scratch<float>(chunks.count() * splits, scratch, [&](std::int64_t task, float* x_tiles) {
    const std::int64_t chunk = task % chunks.count(), split = task / chunks.count();
    const std::int64_t begin = split * out_blocks / splits * kBlock,
                       outputs = (split + 1) * out_blocks / splits * kBlock - begin;
    float* const dy_tiles = x_tiles + kWinogradPositions * x_position;
    for (std::int64_t i = chunks.begin(chunk); i < chunks.begin(chunk + 1); ++i) {
      const WinogradUnits::Unit unit = units.at(c, i);
      transform_input(c, units, unit, x, x_tiles + transformed, x_tiles, x_position);
      float* to = dy_tiles;
      for (std::int64_t n = unit.image; n < unit.image + unit.images; ++n)
        for (std::int64_t row = unit.first; row < unit.last; ++row, to += units.tile_cols * outputs)
          k.winograd_gradient({{output_row(c, dy + begin, n, row, 0), output_row(c, dy + begin, n, row, 1)},
                               c.y_step,
                               phase.cols,
                               units.tile_cols,
                               outputs,
                               to,
                               dy_position,
                               outputs});
      const std::int64_t tiles = unit.images * (unit.last - unit.first) * units.tile_cols;
      for (std::int64_t position = 0; position < kWinogradPositions; ++position)
        k.weight_grad({{x_tiles + position * x_position, c.channels, 0, 0},
                       {dy_tiles + position * dy_position, outputs, 0, 0},
                       1,
                       1,
                       tiles,
                       blocks.data(),
                       blocks.data(),
                       std::ssize(blocks),
                       outputs,
                       chunks.sums(chunk) + position * plane + begin * c.channels,
                       c.channels,
                       i > chunks.begin(chunk)});
    }
  });
  chunks.add();
  parallel_ranges(c.outputs, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; ++o)
      k.winograd_weight_grad(
          {chunks.sums(0) + o * c.channels, plane, c.channels, dw + o * c.w_output + phase.taps[0].weight, c.channels});
  });
}

}  // namespace detail
}  // namespace ops
}  // namespace v0
}  // namespace spnet
