// The engine that reads the input where it lies. Output pixels that see the same taps are multiplied together, with those
// taps alone: nothing is copied, and no zero outside the image is multiplied.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>

#include "spnet/core/memory.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/conv2d_panels.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

/// Input that a task reads again and again: it stays in the second-level cache beside a panel of weights.
inline constexpr std::int64_t kDirectFloats = 32 * 1024;
/// Channels, the distance of neighbouring pixels, beyond which pixels fall into too few lines of the first-level cache.
inline constexpr std::int64_t kDirectChannels = 128;

/// The spans of one phase, and the segments of every pair of them.
struct DirectPhase {
  TapSpans spans;
  PoolVector<Runs> runs;  // [row span][column span]
  const float* weights = nullptr;

  DirectPhase(const Correlation& c, const Phase& phase, std::int64_t panel) : spans(c, phase) {
    for (const TapSpan& r : spans.rows) {
      for (const TapSpan& s : spans.cols) {
        Runs& own = runs.emplace_back();
        for (std::int64_t ky = r.first; ky < r.last; ++ky) {
          for (std::int64_t kx = s.first; kx < s.last; ++kx) {
            const std::int64_t t = ky * spans.row_taps + kx;
            const Tap& tap = phase.taps[static_cast<std::size_t>(t)];
            own.add(tap.row, {(tap.row * c.in_cols + tap.col) * c.in_step, c.channels, t * c.channels}, panel);
          }
        }
        own.finish();
      }
    }
  }
};

/// True where reading the input as it lies is fast. Of few channels at a stride the copy's prefetches are missed.
inline bool may_read_directly(const Correlation& c) {
  return c.channels >= (c.stride_w == 1 ? kBlock : 2 * kBlock) && c.in_step <= kDirectChannels &&
         std::all_of(c.phases.begin(), c.phases.end(), [](const Phase& p) { return p.rows > 0 && p.cols > 0; });
}

/// Output panel p of the pixels of two spans in `images` images: those along one direction are the pixels of a product,
/// along a row where that is long enough.
inline void multiply_spans(const Correlation& c, const TapSpan& rows, const TapSpan& cols, std::int64_t images,
                           const Runs& runs, const kernels::ConvKernels& k, const Panels& panels, std::int64_t p,
                           const float* w, const float* x, float* y) {
  struct Direction {
    std::int64_t count, x_step, y_step;
  };
  constexpr std::int64_t kLongEnough = 4;
  const std::int64_t x_row = c.in_cols * c.in_step;
  Direction pixels{cols.size(), c.stride_w * c.in_step, c.y_step};
  Direction outer{rows.size(), c.stride_h * x_row, c.y_row};
  Direction outermost{images, c.in_rows * x_row, c.y_image};
  if (pixels.count < kLongEnough && outer.count > pixels.count) std::swap(pixels, outer);
  if (pixels.count < kLongEnough && outermost.count > pixels.count) std::swap(pixels, outermost);
  x += rows.begin * c.stride_h * x_row + cols.begin * c.stride_w * c.in_step;
  y += rows.begin * c.y_row + cols.begin * c.y_step + p * panels.panel;
  for (std::size_t r = 0; r < runs.count(); ++r) {
    const Runs::Part part = runs.whole(r);
    for (std::int64_t a = 0; a < outermost.count; ++a) {
      for (std::int64_t b = 0; b < outer.count; ++b) {
        k.product({x + a * outermost.x_step + b * outer.x_step, pixels.x_step, pixels.count, part.data(), std::ssize(part), w,
                   panels.width(p), panels.valid(p), y + a * outermost.y_step + b * outer.y_step, pixels.y_step, r > 0});
      }
    }
  }
}

/// As correlate, for floats.
inline void correlate_direct(const Correlation& c, const float* x, const float* w, float* y) {
  const kernels::ConvKernels& k = kernels::active().conv;
  const Panels panels(k, c.outputs);
  std::int64_t most_rows = 0, all_weights = 0;
  PoolVector<DirectPhase> phases;
  for (const Phase& phase : c.phases) {
    most_rows = std::max(most_rows, phase.rows);
    all_weights += static_cast<std::int64_t>(phase.taps.size()) * c.channels * panels.total();
    phases.emplace_back(c, phase, panels.panel);
  }
  const Buffer packed(static_cast<std::size_t>(all_weights) * sizeof(float));
  auto* next = static_cast<float*>(packed.data());
  for (std::size_t i = 0; i < phases.size(); ++i) {
    pack(c, c.phases[i], panels, w, next);
    phases[i].weights = next;
    next += static_cast<std::int64_t>(c.phases[i].taps.size()) * c.channels * panels.total();
  }

  // Tasks are bands of rows of a group of images, and perhaps a part of the panels.
  const std::int64_t image = c.in_rows * c.in_cols * c.in_step;
  const std::int64_t splits = std::clamp<std::int64_t>(ceil_div(all_weights, kGroupFloats), 1, panels.count());
  const std::int64_t group = std::clamp<std::int64_t>(
      std::min(kDirectFloats / std::max<std::int64_t>(image, 1), c.batch * splits / kLeastTasks), 1, c.batch);
  const std::int64_t groups = ceil_div(c.batch, group);
  const std::int64_t least_bands = std::max(ceil_div(group * image, kDirectFloats), ceil_div(kLeastTasks, groups * splits));
  const std::int64_t band = std::max<std::int64_t>(ceil_div(most_rows, least_bands), 1);
  const std::int64_t bands = ceil_div(most_rows, band);
  const bool clear = c.whole_rows && splits == 1 &&
                     std::any_of(c.phases.begin(), c.phases.end(), [](const Phase& p) { return p.taps.empty(); });

  parallel_for(splits * groups * bands, [&](std::int64_t task) {
    const std::int64_t first = task % bands * band, last = std::min(first + band, most_rows);
    const std::int64_t n = task / bands % groups * group, images = std::min(group, c.batch - n);
    const std::int64_t split = task / bands / groups;
    if (clear) {
      for (std::int64_t i = n; i < n + images; ++i)
        std::fill(y + i * c.y_image + first * c.y_row, y + i * c.y_image + std::min(last * c.y_row, c.y_image), 0.0f);
    }
    for (std::size_t i = 0; i < phases.size(); ++i) {
      const Phase& phase = c.phases[i];
      if (clear && phase.taps.empty()) continue;
      const std::int64_t total = static_cast<std::int64_t>(phase.taps.size()) * c.channels;
      for (std::int64_t p = split * panels.count() / splits; p < (split + 1) * panels.count() / splits; ++p) {
        std::size_t pair = 0;
        for (const TapSpan& row_span : phases[i].spans.rows) {
          const TapSpan rows = row_span.within(first, last);
          for (const TapSpan& cols : phases[i].spans.cols) {
            const Runs& runs = phases[i].runs[pair++];
            if (rows.size() > 0)
              multiply_spans(c, rows, cols, images, runs, k, panels, p, phases[i].weights + p * panels.panel * total,
                             x + n * image, y + n * c.y_image + phase.y);
          }
        }
      }
    }
  });
}

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
