// The engines of floats that copy their input or go pixel by pixel, and the choice among all of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <type_traits>

#include "spnet/core/memory.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_bf16.hpp"
#include "spnet/ops/conv2d_bf16_weight_grad.hpp"
#include "spnet/ops/conv2d_direct.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/conv2d_panels.hpp"
#include "spnet/ops/conv2d_scratch.hpp"
#include "spnet/ops/conv2d_winograd.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

/// Products of `rows` rows of `cols` pixels with the panels [first, last) of a phase's weights; the taps of row i count
/// from row `at` + i·`stride` of an image of `in_rows` rows.
struct RowProducts {
  const kernels::ConvKernels& k;
  const Panels& panels;
  const Runs& runs;
  const PhaseWeights& weights;
  std::size_t phase;
  const float* x;
  std::int64_t x_step, x_row;
  float* y;
  std::int64_t y_step, y_row;
  std::int64_t rows, cols;
  std::int64_t at, stride, in_rows;
  bool stream = false;

  void operator()(std::int64_t first, std::int64_t last) const {
    for (std::int64_t p = first; p < last; ++p) {
      const kernels::PanelWeights w = weights.panel(phase, p);
      for (std::size_t r = 0; r < runs.count(); ++r) {
        for (std::int64_t row = 0; row < rows; ++row) {
          const Runs::Part part = runs.inside(r, at + row * stride, in_rows);
          if (r > 0 && part.empty()) continue;
          k.product({x + row * x_row, x_step, cols, part.data(), std::ssize(part), w, panels.width(p), panels.valid(p),
                     y + row * y_row + p * panels.panel, y_step, r > 0, stream, weights.follow()});
        }
      }
    }
  }
};

/// True where every output pixel is a product of its own input pixel's channels, and pixels lie as close in the output
/// as in the input: no copy is needed.
inline bool is_pointwise(const Correlation& c) {
  return c.phases.size() == 1 && c.phases[0].taps.size() == 1 && c.stride_h == 1 && c.stride_w == 1 &&
         c.phases[0].taps[0].row == 0 && c.phases[0].taps[0].col == 0 && c.phases[0].rows == c.in_rows &&
         c.phases[0].cols == c.in_cols && c.y_row == c.in_cols * c.y_step && c.y_image == c.in_rows * c.y_row;
}

/// As DirectCorrelation, where is_pointwise: pixels are cut into runs whatever their rows.
class PointwiseCorrelation final : public FloatEngine {
 public:
  PointwiseCorrelation(const Correlation& c, const WeightSource& w)
      : c_(c),
        k_(&kernels::active().conv),
        panels_(*k_, c.outputs),
        weights_(c, panels_, w),
        runs_(kRunFloats, weights_.step()) {
    const Tap& tap = c.phases[0].taps[0];
    runs_.add(0, {0, c.channels, weights_.of_tap(0, tap)}, panels_.panel);
    runs_.finish();
  }

  void operator()(const float* x, float* y, const OutputConsumer& consume = {}) const override {
    const std::int64_t pixels = c_.batch * c_.in_rows * c_.in_cols;
    // Short runs, so that their inputs stay in the first-level cache from panel to panel.
    const std::int64_t run =
        std::clamp<std::int64_t>(4096 / std::max<std::int64_t>(c_.channels, 1) / 56 * 56, 56, 1120);
    const std::int64_t split = pixels >= run * kLeastTasks ? 1 : std::min(panels_.count(), kLeastTasks);
    const std::int64_t pieces = ceil_div(pixels, run);
    float* const first = y + c_.phases[0].y;
    const bool stream = !consume && streams(first, pixels), fetch = pixels * c_.channels >= kCachedFloats;
    parallel_for(pieces * split, [&](std::int64_t task) {
      const std::int64_t begin = task % pieces * run, part = task / pieces, count = std::min(run, pixels - begin);
      // All at once: a tile's pixels are too many short streams for the hardware to foresee.
      for (std::int64_t p = begin; fetch && p < begin + count; ++p)
        for (std::int64_t i = 0; i < c_.channels; i += kBlock) __builtin_prefetch(x + p * c_.in_step + i);
      const std::int64_t first_panel = part * panels_.count() / split,
                         last_panel = (part + 1) * panels_.count() / split;
      RowProducts{*k_,        panels_, runs_,
                  weights_,   0,       x + begin * c_.in_step,
                  c_.in_step, 0,       first + begin * c_.y_step,
                  c_.y_step,  0,       1,
                  count,      0,       0,
                  1,          stream}(first_panel, last_panel);
      if (stream) kernels::fence_streams();
      if (consume) consume({begin, count, first_panel * panels_.panel, panels_.between(first_panel, last_panel)});
    });
  }

  std::int64_t bytes() const override { return weights_.bytes(); }
  const char* name() const override { return name_of(); }
  static const char* name_of() { return "pointwise"; }

 private:
  // Caches hold no more than these, or hold them for what comes next.
  static constexpr std::int64_t kCachedFloats = 2 * 1024 * 1024;

  // In whole cache lines: fetching them only to overwrite them would cost as much as writing.
  bool streams(const float* y, std::int64_t pixels) const {
    return pixels * c_.outputs >= kCachedFloats && runs_.count() == 1 && c_.y_step % kBlock == 0 &&
           c_.outputs % kBlock == 0 && panels_.panel % kBlock == 0 &&
           reinterpret_cast<std::uintptr_t>(y) % kAlignment == 0;
  }

  Correlation c_;
  const kernels::ConvKernels* k_;
  Panels panels_;
  PhaseWeights weights_;
  Runs runs_;
};

/// As DirectCorrelation, by way of a copy of the input.
class ScratchCorrelation final : public FloatEngine {
 public:
  /// For floats or for a CodeSource, whose channels are not folded.
  ScratchCorrelation(const Correlation& c, const WeightSource& w, bool is_float = true)
      : c_(c),
        k_(&kernels::active().conv),
        panels_(*k_, c.outputs),
        weights_(c, panels_, w),
        splits_(std::clamp<std::int64_t>(ceil_div(weights_.bytes(), kGroupBytes), 1, panels_.count())),
        band_(ScratchLayout::band_rows(c, ceil_div(kLeastTasks, c.batch * splits_), is_float)),
        layout_(c_, band_, is_float) {
    for (const Phase& phase : c.phases) {
      Runs& runs = runs_.emplace_back(kRunFloats, weights_.step());
      for (std::size_t t = 0; t < phase.taps.size(); ++t) {
        const Tap& tap = phase.taps[t];
        if (layout_.folded() && t > 0 && tap.row == phase.taps[t - 1].row) continue;
        const std::int64_t first = weights_.of_tap(static_cast<std::int64_t>(t), tap);
        for (std::int64_t b = 0; b < layout_.blocks(); ++b)
          runs.add(tap.row, {layout_.offset(tap, b), layout_.channels(b), first + b * kBlock * weights_.step()},
                   panels_.panel);
      }
      runs.finish();
    }
  }

  void operator()(const float* x, float* y, const OutputConsumer& consume = {}) const override { run(x, y, consume); }
  void operator()(const CodeSource& x, float* y, const OutputConsumer& consume = {}) const override {
    run(x, y, consume);
  }

  std::int64_t bytes() const override { return weights_.bytes(); }
  const char* name() const override { return name_of(); }
  static const char* name_of() { return "padded copy"; }

 private:
  template <class Source>
  void run(const Source& x, float* y, const OutputConsumer& consume) const {
    const std::int64_t bands = ceil_div(c_.most_rows(), band_), image = c_.in_rows * c_.in_cols * c_.in_step;
    const bool clear = c_.may_clear_rows() && splits_ == 1;
    // Images inside, so that the threads go through them with one part of the weights after another.
    parallel_for_scratch<float>(splits_ * c_.batch * bands, layout_.elements(), [&](std::int64_t task, float* scratch) {
      const std::int64_t first = task % bands * band_, n = task / bands % c_.batch, split = task / bands / c_.batch;
      const std::int64_t count = std::min(band_, c_.most_rows() - first);
      const std::int64_t first_panel = split * panels_.count() / splits_,
                         last_panel = (split + 1) * panels_.count() / splits_;
      layout_.fill(copy_of(x + n * image, scratch), first, count);
      float* const y_image = y + n * c_.y_image;
      if (clear) c_.clear_rows(y_image, first, first + count);
      for (std::size_t i = 0; i < c_.phases.size(); ++i) {
        const Phase& phase = c_.phases[i];
        if (clear && phase.taps.empty()) continue;
        RowProducts{*k_,
                    panels_,
                    runs_[i],
                    weights_,
                    i,
                    scratch,
                    kBlock,
                    layout_.row_step(),
                    y_image + phase.y + first * c_.y_row,
                    c_.y_step,
                    c_.y_row,
                    std::clamp<std::int64_t>(phase.rows - first, 0, count),
                    phase.cols,
                    first * c_.stride_h,
                    c_.stride_h,
                    c_.in_rows}(first_panel, last_panel);
      }
      const std::int64_t cols = c_.phases[0].cols;
      if (consume)
        consume({(n * c_.most_rows() + first) * cols, count * cols, first_panel * panels_.panel,
                 panels_.between(first_panel, last_panel)});
    });
  }

  Correlation c_;
  const kernels::ConvKernels* k_;
  Panels panels_;
  PhaseWeights weights_;
  std::int64_t splits_, band_;
  ScratchLayout layout_;
  PoolVector<Runs> runs_;  // of each phase
};

/// Calls make.template operator()<Engine>(), and what else its constructor takes, with the fastest engine for c, of
/// which `winograd` tells whether it is to be that one where it can.
template <class Make>
auto with_engine(const Correlation& c, bool winograd, const Make& make) {
  if (const auto parts = bf16_parts(c, false)) return make.template operator()<Bf16Correlation>(*parts);
  if (is_pointwise(c)) return make.template operator()<PointwiseCorrelation>();
  if (winograd) return make.template operator()<WinogradCorrelation>();
  if (may_read_directly(c)) return make.template operator()<DirectCorrelation>();
  return make.template operator()<ScratchCorrelation>();
}
/// The same for codes of integers up to `largest`, forward.
template <class Make>
auto with_codes_engine(const Correlation& c, std::int64_t largest, const Make& make) {
  if (const auto parts = bf16_parts(c, is_exact_in_bf16(CodeSource{nullptr, 1, 0, largest})))
    return make.template operator()<Bf16Correlation>(*parts);
  if (suits_winograd_forward(c) && c.in_step == c.channels) return make.template operator()<WinogradCorrelation>();
  return make.template operator()<ScratchCorrelation>(false);
}
/// The fastest engine for one group forward, of floats, or of codes of integers up to `largest`.
inline std::unique_ptr<FloatEngine> make_engine(const Correlation& c, const WeightSource& w,
                                                std::optional<std::int64_t> largest = {}) {
  const auto make = [&]<class Engine>(const auto&... more) -> std::unique_ptr<FloatEngine> {
    return std::make_unique<Engine>(c, w, more...);
  };
  return largest ? with_codes_engine(c, *largest, make) : with_engine(c, suits_winograd_forward(c), make);
}

/// Computes one group of a convolution; x and y point at the group's first channel, w at its first weight.
inline void correlate_forward(const Correlation& c, const float* x, const WeightSource& w, float* y) {
  with_engine(c, suits_winograd_forward(c), [&]<class Engine>(const auto&... more) { Engine(c, w, more...)(x, y); });
}
inline void correlate_forward(const Correlation& c, const CodeSource& x, const WeightSource& w, float* y) {
  with_codes_engine(c, x.largest, [&]<class Engine>(const auto&... more) { Engine(c, w, more...)(x, y); });
}
/// The same of a convolution's gradient with respect to its input.
inline void correlate_backward(const Correlation& c, const float* x, const WeightSource& w, float* y) {
  with_engine(c, suits_winograd_backward(c), [&]<class Engine>(const auto&... more) { Engine(c, w, more...)(x, y); });
}
inline void correlate_backward(const Correlation& c, const bf16* x, const WeightSource& w, float* y) {
  Bf16Correlation(c, w, Bf16Parts{1, 1})(x, y);
}

/// What correlate_backward of floats runs on.
inline const char* backward_name(const Correlation& c) {
  return with_engine(c, suits_winograd_backward(c),
                     []<class Engine>(const auto&... more) { return Engine::name_of(more...); });
}

/// Whether the gradient of the weights goes well with products of bf16: fewer channels leave most of a panel empty.
inline bool suits_bf16_weight_grad(const Correlation& c) { return c.channels >= kBlock; }

/// dw of one group; `c` is its forward correlation, dy and x point at the group's first channel. x is floats or a
/// CodeSource.
template <class Source>
void correlate_weight_grad(const Correlation& c, const float* dy, const Source& x, float* dw) {
  const auto parts = bf16_parts(c, is_exact_in_bf16(x));
  if (parts && suits_bf16_weight_grad(c)) return Bf16WeightGrad<Source, float>(c, dy, x, *parts)(dw);
  if (suits_winograd_backward(c) && (std::is_pointer_v<Source> || c.in_step == c.channels))
    return winograd_weight_grad(c, dy, x, dw);
  WeightGrad<Source>(c, dy, x)(dw);
}
/// What it runs on, of floats.
inline const char* weight_grad_name(const Correlation& c) {
  const auto parts = bf16_parts(c, false);
  if (parts && suits_bf16_weight_grad(c)) return Bf16Correlation::name_of(*parts);
  return suits_winograd_backward(c) ? WinogradCorrelation::name_of() : DirectCorrelation::name_of();
}
template <class Source>
void correlate_weight_grad(const Correlation& c, const bf16* dy, const Source& x, float* dw) {
  Bf16WeightGrad<Source, bf16>(c, dy, x, Bf16Parts{1, 1})(dw);
}

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
