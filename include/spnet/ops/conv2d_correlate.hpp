// The engine behind the forward pass and the gradient with respect to the input.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "spnet/core/memory.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_direct.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/conv2d_panels.hpp"
#include "spnet/ops/conv2d_scratch.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

/// Products of `rows` rows of `cols` pixels with the panels [first, last) of the packed weights; the taps of row i count
/// from row `at` + i·`stride` of an image of `in_rows` rows.
struct RowProducts {
  const kernels::ConvKernels& k;
  const Panels& panels;
  const Runs& runs;
  const float* weights;
  const float* x;
  std::int64_t x_step, x_row;
  float* y;
  std::int64_t y_step, y_row;
  std::int64_t rows, cols;
  std::int64_t at, stride, in_rows;

  void operator()(std::int64_t first, std::int64_t last) const {
    for (std::int64_t p = first; p < last; ++p) {
      const float* w = weights + p * panels.panel * runs.total();
      for (std::size_t r = 0; r < runs.count(); ++r) {
        for (std::int64_t row = 0; row < rows; ++row) {
          const Runs::Part part = runs.inside(r, at + row * stride, in_rows);
          if (r > 0 && part.empty()) continue;
          k.product({x + row * x_row, x_step, cols, part.data(), std::ssize(part), w, panels.width(p), panels.valid(p),
                     y + row * y_row + p * panels.panel, y_step, r > 0});
        }
      }
    }
  }
};

/// True where every output pixel is a product of its own input pixel's channels, and pixels lie as close in the output as
/// in the input: no copy is needed.
inline bool is_pointwise(const Correlation& c) {
  return c.phases.size() == 1 && c.phases[0].taps.size() == 1 && c.stride_h == 1 && c.stride_w == 1 &&
         c.phases[0].taps[0].row == 0 && c.phases[0].taps[0].col == 0 && c.phases[0].rows == c.in_rows &&
         c.phases[0].cols == c.in_cols && c.y_row == c.in_cols * c.y_step && c.y_image == c.in_rows * c.y_row;
}

inline void correlate_pointwise(const Correlation& c, const float* x, const float* w, float* y) {
  const kernels::ConvKernels& k = kernels::active().conv;
  const Panels panels(k, c.outputs);
  const Phase& phase = c.phases[0];
  Buffer packed(static_cast<std::size_t>(panels.total() * c.channels) * sizeof(float));
  float* weights = static_cast<float*>(packed.data());
  pack(c, phase, panels, w, weights);
  Runs runs;
  runs.add(0, 0, c.channels, panels.panel);
  runs.finish();
  const std::int64_t pixels = c.batch * c.in_rows * c.in_cols;
  // Short runs of pixels, so that their inputs stay in the first-level cache from panel to panel.
  const std::int64_t run = std::clamp<std::int64_t>(4096 / std::max<std::int64_t>(c.channels, 1) / 56 * 56, 56, 1120);
  const std::int64_t split = pixels >= run * kLeastTasks ? 1 : std::min(panels.count(), kLeastTasks);
  const std::int64_t pieces = ceil_div(pixels, run);
  parallel_for(pieces * split, [&](std::int64_t task) {
    const std::int64_t begin = task % pieces * run;
    const std::int64_t part = task / pieces;
    RowProducts{k, panels, runs, weights, x + begin * c.in_step, c.in_step, 0, y + phase.y + begin * c.y_step, c.y_step,
                0, 1, std::min(run, pixels - begin), 0, 0, 1}(part * panels.count() / split,
                                                     (part + 1) * panels.count() / split);
  });
}

/// Computes one group of a convolution; x and y point at the group's first channel, w at its first weight. x is floats
/// or a CodeSource.
template <class Source>
void correlate(const Correlation& c, const Source& x, const float* w, float* y) {
  constexpr bool kFloats = std::is_pointer_v<Source>;
  if constexpr (kFloats) {
    if (is_pointwise(c)) return correlate_pointwise(c, x, w, y);
    if (may_read_directly(c)) return correlate_direct(c, x, w, y);
  }
  const kernels::ConvKernels& k = kernels::active().conv;
  const Panels panels(k, c.outputs);
  std::int64_t most_rows = 0, all_weights = 0;
  for (const Phase& phase : c.phases) {
    most_rows = std::max(most_rows, phase.rows);
    all_weights += static_cast<std::int64_t>(phase.taps.size()) * c.channels * panels.total();
  }
  const std::int64_t splits = std::clamp<std::int64_t>(ceil_div(all_weights * static_cast<std::int64_t>(sizeof(float)), kGroupBytes), 1, panels.count());
  const std::int64_t band = ScratchLayout::band_rows(c, ceil_div(kLeastTasks, c.batch * splits), kBandFloats, kFloats);
  const std::int64_t bands = ceil_div(most_rows, band);
  const ScratchLayout layout(c, band, kFloats);

  Buffer packed(static_cast<std::size_t>(all_weights) * sizeof(float));
  PoolVector<const float*> weights(c.phases.size());
  PoolVector<Runs> runs(c.phases.size());
  float* next = static_cast<float*>(packed.data());
  for (std::size_t i = 0; i < c.phases.size(); ++i) {
    const Phase& phase = c.phases[i];
    pack(c, phase, panels, w, next);
    weights[i] = next;
    next += static_cast<std::int64_t>(phase.taps.size()) * c.channels * panels.total();
    for (std::size_t t = 0; t < phase.taps.size(); ++t) {
      if (layout.folded() && t > 0 && phase.taps[t].row == phase.taps[t - 1].row) continue;
      for (std::int64_t b = 0; b < layout.blocks(); ++b)
        runs[i].add(phase.taps[t].row, layout.offset(phase.taps[t], b), layout.channels(b), panels.panel);
    }
    runs[i].finish();
  }

  const std::int64_t image = c.in_rows * c.in_cols * c.in_step;
  // Where a stride skips pixels, and all the band's outputs are this task's, zeros are written in one go.
  const bool clear = c.whole_rows && splits == 1 &&
                     std::any_of(c.phases.begin(), c.phases.end(), [](const Phase& p) { return p.taps.empty(); });
  // Images inside, so that the threads go through them with one part of the weights after another.
  parallel_for_scratch<float>(splits * c.batch * bands, layout.elements(), [&](std::int64_t task, float* scratch) {
    const std::int64_t first = task % bands * band;
    const std::int64_t n = task / bands % c.batch;
    const std::int64_t split = task / bands / c.batch;
    const std::int64_t count = std::min(band, most_rows - first);
    layout.fill(copy_of(x + n * image, scratch), first, count);
    float* y_image = y + n * c.y_image;
    if (clear) std::fill(y_image + first * c.y_row, y_image + std::min((first + count) * c.y_row, c.y_image), 0.0f);
    for (std::size_t i = 0; i < c.phases.size(); ++i) {
      const Phase& phase = c.phases[i];
      if (clear && phase.taps.empty()) continue;
      RowProducts{k, panels, runs[i], weights[i], scratch, kBlock, layout.row_step(),
                  y_image + phase.y + first * c.y_row, c.y_step, c.y_row,
                  std::clamp<std::int64_t>(phase.rows - first, 0, count), phase.cols, first * c.stride_h, c.stride_h,
                  c.in_rows}(
          split * panels.count() / splits, (split + 1) * panels.count() / splits);
    }
  });
}

/// The depthwise form: output channel i reads input channel i alone; weights w[channel * w_output + tap.weight].
template <class Source>
void correlate_depthwise(const Correlation& c, std::int64_t w_step, const Source& x, const float* w, float* y) {
  const kernels::ConvKernels& k = kernels::active().conv;
  std::int64_t most_rows = 0;
  std::size_t all_taps = 0;
  for (const Phase& phase : c.phases) {
    most_rows = std::max(most_rows, phase.rows);
    all_taps += phase.taps.size();
  }
  const std::int64_t blocks = ceil_div(c.channels, kBlock);
  const std::int64_t band = ScratchLayout::band_rows(c, ceil_div(kLeastTasks, c.batch));
  const std::int64_t bands = ceil_div(most_rows, band);
  const ScratchLayout layout(c, band);
  // Weights and offsets, phase after phase: [block][tap][kBlock] and [tap].
  Buffer packed(static_cast<std::size_t>(blocks * kBlock) * all_taps * sizeof(float));
  float* to = static_cast<float*>(packed.data());
  PoolVector<std::int64_t> offsets;
  for (const Phase& phase : c.phases) {
    for (std::int64_t b = 0; b < blocks; ++b) {
      for (const Tap& tap : phase.taps) {
        for (std::int64_t i = b * kBlock; i < (b + 1) * kBlock; ++i)
          *to++ = i < c.channels ? w[i * w_step + tap.weight] : 0.0f;
      }
    }
    for (const Tap& tap : phase.taps) offsets.push_back(layout.offset(tap, 0));
  }
  const std::int64_t image = c.in_rows * c.in_cols * c.in_step;
  parallel_for_scratch<float>(c.batch * bands, layout.elements(), [&](std::int64_t task, float* scratch) {
    const std::int64_t first = task % bands * band;
    const std::int64_t n = task / bands;
    const std::int64_t count = std::min(band, most_rows - first);
    layout.fill(copy_of(x + n * image, scratch), first, count);
    const float* weights = static_cast<const float*>(packed.data());
    const std::int64_t* at = offsets.data();
    for (const Phase& phase : c.phases) {
      const auto taps = static_cast<std::int64_t>(phase.taps.size());
      for (std::int64_t row = 0; row < std::min(count, phase.rows - first); ++row) {
        for (std::int64_t b = 0; b < blocks; ++b) {
          k.depthwise({scratch + row * layout.row_step() + b * layout.block_step(), kBlock, phase.cols, at, taps,
                       weights + b * taps * kBlock, layout.channels(b),
                       y + n * c.y_image + phase.y + (first + row) * c.y_row + b * kBlock, c.y_step});
        }
      }
      weights += blocks * taps * kBlock;
      at += taps;
    }
  });
}

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
