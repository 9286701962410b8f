// Convolution where output channel i reads input channel i alone, and its gradient with respect to the weights.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "spnet/core/memory.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_direct.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/conv2d_scratch.hpp"
#include "spnet/ops/conv2d_weight_grad.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

using kernels::DepthwiseTap;

/// Of one phase: its weights as [block][tap][kBlock], and for every pair of spans the taps that it sees, where pixels are
/// c.in_step apart.
template <class T>
class DepthwisePhase {
 public:
  /// weight(i, tap): that of channel i.
  template <class Weight>
  DepthwisePhase(const Correlation& c, const Phase& phase, const Weight& weight)
      : spans_(c, phase), packed_(static_cast<std::size_t>(ceil_div(c.channels, kBlock) * kBlock) * phase.taps.size() * sizeof(T)) {
    T* to = static_cast<T*>(packed_.data());
    for (std::int64_t b = 0; b < c.channels; b += kBlock)
      for (const Tap& tap : phase.taps)
        for (std::int64_t i = b; i < b + kBlock; ++i) *to++ = i < c.channels ? weight(i, tap) : T{};
    for (const TapSpan& rows : spans_.rows) {
      for (const TapSpan& cols : spans_.cols) {
        PoolVector<DepthwiseTap>& taps = taps_.emplace_back();
        for (std::int64_t ky = rows.first; ky < rows.last; ++ky) {
          for (std::int64_t kx = cols.first; kx < cols.last; ++kx) {
            const std::int64_t t = ky * spans_.row_taps + kx;
            const Tap& tap = phase.taps[static_cast<std::size_t>(t)];
            taps.push_back({(tap.row * c.in_cols + tap.col) * c.in_step, t * kBlock});
          }
        }
      }
    }
  }
  const T* weights() const { return static_cast<const T*>(packed_.data()); }
  /// Calls call(line, taps, pair of spans) for the pixels of rows [first, last) of one image.
  template <class Call>
  void for_each_line(const Correlation& c, const Phase& phase, std::int64_t first, std::int64_t last, const Call& call) const {
    std::size_t pair = 0;
    for (const TapSpan& row_span : spans_.rows) {
      const TapSpan rows = row_span.within(first, last);
      for (const TapSpan& cols : spans_.cols) {
        if (rows.size() > 0)
          detail::for_each_line(c, phase, rows, cols, 1, 0, 0, [&](const Line& line) { call(line, taps_[pair], pair); });
        ++pair;
      }
    }
  }
  const TapSpans& spans() const { return spans_; }

 private:
  TapSpans spans_;
  Buffer packed_;
  PoolVector<PoolVector<DepthwiseTap>> taps_;  // [row span][column span]
};

/// Bands of rows of one image.
struct DepthwiseTasks {
  std::int64_t rows, band, bands, count;

  explicit DepthwiseTasks(const Correlation& c)
      : rows(c.most_rows()),
        band(std::max<std::int64_t>(ceil_div(rows, ceil_div(kLeastTasks, c.batch)), 1)),
        bands(ceil_div(rows, band)),
        count(c.batch * bands) {}
};

/// All groups of a depthwise convolution of floats: weights w[channel * w_step + tap.weight].
class DepthwiseCorrelation final : public FloatEngine {
 public:
  DepthwiseCorrelation(const Correlation& c, std::int64_t w_step, const float* w) : c_(c), tasks_(c) {
    for (const Phase& phase : c.phases)
      phases_.emplace_back(c, phase, [=](std::int64_t i, const Tap& tap) { return w[i * w_step + tap.weight]; });
  }
  void operator()(const float* x, float* y) const override {
    const kernels::ConvKernels& k = kernels::active().conv;
    const std::int64_t image = c_.in_rows * c_.in_cols * c_.in_step;
    parallel_for(tasks_.count, [&](std::int64_t task) {
      const std::int64_t n = task / tasks_.bands, first = task % tasks_.bands * tasks_.band;
      for (std::size_t i = 0; i < c_.phases.size(); ++i) {
        const Phase& phase = c_.phases[i];
        phases_[i].for_each_line(c_, phase, first, std::min(first + tasks_.band, phase.rows), [&](const Line& line, const auto& taps, std::size_t) {
          k.depthwise({x + n * image + line.x, line.x_step, line.pixels, taps.data(), std::ssize(taps), phases_[i].weights(),
                       std::ssize(phase.taps) * kBlock, c_.channels, y + n * c_.y_image + phase.y + line.y, line.y_step});
        });
      }
    });
  }

 private:
  Correlation c_;
  DepthwiseTasks tasks_;
  PoolVector<DepthwisePhase<float>> phases_;
};

inline void correlate_depthwise(const Correlation& c, std::int64_t w_step, const float* x, const float* w, float* y) {
  DepthwiseCorrelation(c, w_step, w)(x, y);
}
/// The same of codes, by way of a copy of their values.
inline void correlate_depthwise(const Correlation& c, std::int64_t w_step, const CodeSource& x, const float* w, float* y) {
  const kernels::ConvKernels& k = kernels::active().conv;
  const Phase& phase = c.phases[0];
  const DepthwisePhase<float> packed(c, phase, [=](std::int64_t i, const Tap& tap) { return w[i * w_step + tap.weight]; });
  const std::int64_t band = ScratchLayout::band_rows(c, ceil_div(kLeastTasks, c.batch), kBandFloats, false);
  const std::int64_t bands = ceil_div(phase.rows, band), image = c.in_rows * c.in_cols * c.in_step;
  const ScratchLayout layout(c, band, false);
  PoolVector<DepthwiseTap> taps;
  for (const Tap& tap : phase.taps) taps.push_back({layout.offset(tap, 0), std::ssize(taps) * kBlock});
  parallel_for_scratch<float>(c.batch * bands, layout.elements(), [&](std::int64_t task, float* scratch) {
    const std::int64_t first = task % bands * band, n = task / bands, count = std::min(band, phase.rows - first);
    layout.fill(copy_of(x + n * image, scratch), first, count);
    for (std::int64_t row = 0; row < count; ++row) {
      for (std::int64_t b = 0; b < layout.blocks(); ++b) {
        k.depthwise({scratch + row * layout.row_step() + b * layout.block_step(), kBlock, phase.cols, taps.data(),
                     std::ssize(taps), packed.weights() + b * std::ssize(taps) * kBlock, 0, layout.channels(b),
                     y + n * c.y_image + (first + row) * c.y_row + b * kBlock, c.y_step});
      }
    }
  });
}

/// The depthwise form: dw[channel * w_step + tap.weight].
template <class Source>
void correlate_depthwise_grad(const Correlation& c, std::int64_t w_step, const float* dy, const Source& x, float* dw) {
  const kernels::ConvKernels& k = kernels::active().conv;
  const Phase& phase = c.phases[0];
  const std::int64_t band = ScratchLayout::band_rows(c, ceil_div(kLeastTasks, c.batch), kBandFloats / 2);
  const std::int64_t bands = ceil_div(phase.rows, band);
  const ScratchLayout layout(c, band);
  PoolVector<std::int64_t> offsets;
  for (const Tap& tap : phase.taps) offsets.push_back(layout.offset(tap, 0));
  const auto taps = static_cast<std::int64_t>(offsets.size());
  const std::int64_t blocks = layout.blocks();
  const std::int64_t size = blocks * taps * kBlock;
  const Chunks chunks(c.batch * bands, size);
  Buffer sums(static_cast<std::size_t>(size * chunks.count) * sizeof(float));
  float* partial = static_cast<float*>(sums.data());
  const std::int64_t image = c.in_rows * c.in_cols * c.in_step;
  const std::int64_t x_floats = (layout.elements() + kBlock - 1) / kBlock * kBlock;
  const std::int64_t scratch_floats = x_floats + band * blocks * phase.cols * kBlock;
  parallel_for_scratch<float>(chunks.count, scratch_floats, [&](std::int64_t chunk, float* scratch) {
    float* dy_scratch = scratch + x_floats;
    std::fill_n(partial + chunk * size, size, 0.0f);
    for (std::int64_t unit = chunks.begin(chunk); unit < chunks.begin(chunk + 1); ++unit) {
      const std::int64_t first = unit % bands * band;
      const std::int64_t rows = std::min(band, phase.rows - first);
      layout.fill(copy_of(x + unit / bands * image, scratch), first, rows);
      gather_rows(k, dy + unit / bands * c.y_image + first * c.y_row, rows, c.y_row, phase.cols, c.y_step, c.channels,
                  dy_scratch);
      for (std::int64_t b = 0; b < blocks; ++b) {
        k.depthwise_grad({scratch + b * layout.block_step(), kBlock, layout.row_step(),
                          dy_scratch + b * phase.cols * kBlock, kBlock, blocks * phase.cols * kBlock, rows, phase.cols,
                          offsets.data(), taps, partial + chunk * size + b * taps * kBlock});
      }
    }
  });
  add_chunks(partial, size, chunks.count);
  for (std::int64_t i = 0; i < c.channels; ++i) {
    for (std::int64_t t = 0; t < taps; ++t)
      dw[i * w_step + phase.taps[static_cast<std::size_t>(t)].weight] =
          partial[((i / kBlock) * taps + t) * kBlock + i % kBlock];
  }
}

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
