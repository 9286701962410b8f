// The engine behind the gradient with respect to the weights: sums over pixels, chunk by chunk. Chunks depend on sizes
// alone and their sums are added in one order, so that the result has the same bits for any number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "spnet/core/memory.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_correlate.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/conv2d_scratch.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

inline constexpr std::int64_t kMostChunks = 16;
/// Partial sums of all chunks together stay below this many floats, down to kLeastChunks chunks.
inline constexpr std::int64_t kPartialFloats = 4 * 1024 * 1024;
inline constexpr std::int64_t kLeastChunks = 2;
/// Pixels of one call of the kernel, where images are small.
inline constexpr std::int64_t kUnitPixels = 512;

/// dw[i] = sum of `chunks` partial sums, `step` apart, added in ascending order.
inline void add_chunks(float* partial, std::int64_t size, std::int64_t chunks) {
  parallel_ranges(size, 4096, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t chunk = 1; chunk < chunks; ++chunk) {
      const float* from = partial + chunk * size;
      for (std::int64_t i = begin; i < end; ++i) partial[i] += from[i];
    }
  });
}

/// Copies `rows` rows of `cols` pixels to blocks [row][block][col][kBlock].
inline void gather_rows(const kernels::ConvKernels& k, const float* dy, std::int64_t rows, std::int64_t row_step,
                        std::int64_t cols, std::int64_t step, std::int64_t channels, float* to) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t b = 0; b < channels; b += kBlock, to += cols * kBlock)
      k.gather({dy + row * row_step + b, step, cols, std::min(kBlock, channels - b), to, row_step});
  }
}

/// A cut of batch × bands into chunks.
struct Chunks {
  std::int64_t units, count;

  Chunks(std::int64_t all, std::int64_t floats)
      : units(all),
        count(std::min(std::clamp(kPartialFloats / std::max<std::int64_t>(floats, 1), kLeastChunks, kMostChunks), all)) {}
  std::int64_t begin(std::int64_t chunk) const { return chunk * units / count; }
};

/// dw[o][c] = sum over `pixels` of dy[p * dy_step + o] · x[p * x_step + c].
inline void pointwise_weight_grad(std::int64_t pixels, std::int64_t outputs, const float* dy, std::int64_t dy_step,
                                  std::int64_t channels, const float* x, std::int64_t x_step, float* dw) {
  const kernels::ConvKernels& k = kernels::active().conv;
  constexpr std::int64_t kBand = 128;
  const std::int64_t count = ceil_div(channels, kBlock), out_blocks = ceil_div(outputs, kBlock);
  const std::int64_t dw_step = count * kBlock, size = out_blocks * kBlock * dw_step;
  const Chunks chunks(ceil_div(pixels, kBand), size);
  const std::int64_t splits = std::min(ceil_div(kLeastTasks, chunks.count), out_blocks);
  PoolVector<std::int64_t> offsets;
  for (std::int64_t b = 0; b < count; ++b) offsets.push_back(b * kBand * kBlock);
  Buffer sums(static_cast<std::size_t>(size * chunks.count) * sizeof(float));
  float* partial = static_cast<float*>(sums.data());
  const std::int64_t scratch_floats = (count + ceil_div(out_blocks, splits)) * kBand * kBlock;
  parallel_for_scratch<float>(chunks.count * splits, scratch_floats, [&](std::int64_t task, float* x_scratch) {
    const std::int64_t chunk = task % chunks.count;
    const std::int64_t first_block = task / chunks.count * out_blocks / splits;
    const std::int64_t last_block = (task / chunks.count + 1) * out_blocks / splits;
    float* dy_scratch = x_scratch + count * kBand * kBlock;
    float* to = partial + chunk * size + first_block * kBlock * dw_step;
    std::fill_n(to, (last_block - first_block) * kBlock * dw_step, 0.0f);
    for (std::int64_t unit = chunks.begin(chunk); unit < chunks.begin(chunk + 1); ++unit) {
      const std::int64_t begin = unit * kBand, cols = std::min(kBand, pixels - begin);
      for (std::int64_t b = 0; b < count; ++b) {
        k.gather({x + begin * x_step + b * kBlock, x_step, cols, std::min(kBlock, channels - b * kBlock),
                  x_scratch + b * kBand * kBlock, kBand * x_step});
      }
      for (std::int64_t b = first_block; b < last_block; ++b) {
        const std::int64_t valid = std::min(kBlock, outputs - b * kBlock);
        float* at = dy_scratch + (b - first_block) * kBand * kBlock;
        k.gather({dy + begin * dy_step + b * kBlock, dy_step, cols, valid, at, kBand * dy_step});
        k.weight_grad({x_scratch, kBlock, 0, 0, at, kBlock, 0, 0, 1, 1, cols, offsets.data(), count,
                       ceil_div(valid, kernels::kGradRows) * kernels::kGradRows,
                       to + (b - first_block) * kBlock * dw_step, dw_step});
      }
    }
  });
  add_chunks(partial, size, chunks.count);
  parallel_ranges(outputs, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; ++o) std::copy_n(partial + o * dw_step, channels, dw + o * channels);
  });
}

/// dw of one group; `c` is its forward correlation, dy and x point at the group's first channel. x is floats or a
/// CodeSource.
template <class Source>
void correlate_weight_grad(const Correlation& c, const float* dy, const Source& x, float* dw) {
  constexpr bool kFloats = std::is_pointer_v<Source>;
  if constexpr (kFloats) {
    if (is_pointwise(c)) {
      pointwise_weight_grad(c.batch * c.in_rows * c.in_cols, c.outputs, dy, c.y_step, c.channels, x, c.in_step, dw);
      return;
    }
  }
  const kernels::ConvKernels& k = kernels::active().conv;
  const Phase& phase = c.phases[0];
  const std::int64_t band = ScratchLayout::band_rows(c, ceil_div(kLeastTasks, c.batch), kBandFloats / 2, kFloats);
  const std::int64_t bands = ceil_div(phase.rows, band);
  const ScratchLayout layout(c, band, kFloats);
  PoolVector<std::int64_t> offsets;
  for (std::size_t t = 0; t < phase.taps.size(); ++t) {
    if (layout.folded() && t > 0 && phase.taps[t].row == phase.taps[t - 1].row) continue;
    for (std::int64_t b = 0; b < layout.blocks(); ++b) offsets.push_back(layout.offset(phase.taps[t], b));
  }
  const auto count = static_cast<std::int64_t>(offsets.size());
  const std::int64_t dw_step = count * kBlock;
  const std::int64_t out_blocks = ceil_div(c.outputs, kBlock);
  const std::int64_t size = out_blocks * kBlock * dw_step;
  // A unit is a band of an image, or several whole images where they are small: sums stay in registers for longer.
  const std::int64_t x_floats = (layout.elements() + kBlock - 1) / kBlock * kBlock;
  const std::int64_t pixels = band * phase.cols;
  const std::int64_t images =
      bands > 1 ? 1
                : std::clamp<std::int64_t>(std::min(kUnitPixels / pixels, 2 * kBandFloats / (x_floats + pixels * kBlock)),
                                           1, ceil_div(c.batch, kLeastTasks));
  const Chunks chunks(ceil_div(c.batch, images) * bands, size);
  // Where there are few chunks, the outputs are cut too.
  const std::int64_t splits = std::min(ceil_div(kLeastTasks, chunks.count), out_blocks);
  Buffer sums(static_cast<std::size_t>(size * chunks.count) * sizeof(float));
  float* partial = static_cast<float*>(sums.data());
  const bool copy_dy = c.outputs != kBlock || c.y_step != kBlock;
  const std::int64_t image = c.in_rows * c.in_cols * c.in_step;

  const std::int64_t dy_floats = copy_dy ? pixels * ceil_div(out_blocks, splits) * kBlock : 0;
  const std::int64_t scratch_floats = images * (x_floats + dy_floats);
  parallel_for_scratch<float>(chunks.count * splits, scratch_floats, [&](std::int64_t task, float* scratch) {
    const std::int64_t chunk = task % chunks.count;
    const std::int64_t first_block = task / chunks.count * out_blocks / splits;
    const std::int64_t last_block = (task / chunks.count + 1) * out_blocks / splits;
    const std::int64_t outputs = std::min(last_block * kBlock, c.outputs) - first_block * kBlock;
    float* dy_scratch = scratch + images * x_floats;
    float* to = partial + chunk * size + first_block * kBlock * dw_step;
    std::fill_n(to, (last_block - first_block) * kBlock * dw_step, 0.0f);
    for (std::int64_t unit = chunks.begin(chunk); unit < chunks.begin(chunk + 1); ++unit) {
      const std::int64_t first = unit % bands * band, first_image = unit / bands * images;
      const std::int64_t rows = std::min(band, phase.rows - first);
      const std::int64_t here = std::min(images, c.batch - first_image);
      const float* at = dy + first_image * c.y_image + first * c.y_row + first_block * kBlock;
      for (std::int64_t i = 0; i < here; ++i) {
        layout.fill(copy_of(x + (first_image + i) * image, scratch + i * x_floats), first, rows);
        if (copy_dy)
          gather_rows(k, at + i * c.y_image, rows, c.y_row, phase.cols, c.y_step, outputs, dy_scratch + i * dy_floats);
      }
      const std::int64_t at_row = copy_dy ? (last_block - first_block) * phase.cols * kBlock : c.y_row;
      if (copy_dy) at = dy_scratch;
      for (std::int64_t b = 0; b < last_block - first_block; ++b) {
        const std::int64_t valid = std::min(kBlock, outputs - b * kBlock);
        k.weight_grad({scratch, kBlock, layout.row_step(), x_floats, at + b * phase.cols * kBlock, kBlock, at_row,
                       copy_dy ? dy_floats : c.y_image, here, rows, phase.cols, offsets.data(), count,
                       ceil_div(valid, kernels::kGradRows) * kernels::kGradRows, to + b * kBlock * dw_step, dw_step});
      }
    }
  });
  add_chunks(partial, size, chunks.count);

  // From blocks of kBlock channels to dense ones: segments lie in the order of the weights.
  parallel_ranges(c.outputs, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; ++o) {
      float* to = dw + o * c.w_output;
      for (std::int64_t s = 0; s < count; ++s) {
        const std::int64_t channels = layout.channels(s % layout.blocks());
        to = std::copy_n(partial + o * dw_step + s * kBlock, channels, to);
      }
    }
  });
}

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
