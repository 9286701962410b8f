// The engine of floats that multiplies bf16. A float is the sum of up to two bf16, its parts, and so a sum over
// channels is one over the channels of pairs of parts. That of both lower ones falls below a float's last bits: it may
// be left out. Each task copies what it reads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <optional>
#include <utility>

#include "spnet/core/bf16.hpp"
#include "spnet/core/memory.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_copy.hpp"
#include "spnet/ops/conv2d_direct.hpp"
#include "spnet/ops/conv2d_frame.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/conv2d_panels.hpp"
#include "spnet/ops/float32_precision.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

/// Whether all numbers of a source are known to be bf16: of integers, those of 8 bits.
inline bool is_exact_in_bf16(const float*) { return false; }
inline bool is_exact_in_bf16(const CodeSource& x) { return x.largest <= 256; }

/// How many bf16 stand for a number of each factor.
struct Bf16Parts {
  std::int64_t first, second;

  std::int64_t products() const { return first + second - 1; }
  /// Calls call(i, j) for the parts to be multiplied.
  template <class Call>
  void for_each_product(const Call& call) const {
    for (std::int64_t i = 0; i < first; ++i)
      for (std::int64_t j = 0; i + j <= 1 && j < second; ++j) call(i, j);
  }
};

/// The parts, where the floats of c are to be multiplied as bf16, and that is faster. One is enough for a factor that
/// is exact in bf16.
inline std::optional<Bf16Parts> bf16_parts(const Correlation& c, bool is_first_exact, bool is_second_exact = false) {
  const Float32Precision precision = float32_matmul_precision();
  if (precision == Float32Precision::kHighest) return std::nullopt;
  const std::int64_t count = precision == Float32Precision::kHigh ? 2 : 1;
  const Bf16Parts parts{is_first_exact ? 1 : count, is_second_exact ? 1 : count};
  if (parts.products() > kernels::active().bf16.most_products) return std::nullopt;
  if (c.channels == 0 || c.outputs == 0 || !Frame(c).is_tight(c)) return std::nullopt;
  return parts;
}

/// `count` pixels of `channels`, `step` apart, as Bf16Kernels::split writes them. Codes' values pass through `values`,
/// of row_floats.
inline void split_pixels(const kernels::Bf16Kernels& k, const kernels::Bf16SplitArgs& a, const float* x, float*) {
  kernels::Bf16SplitArgs of_floats = a;
  of_floats.x = x;
  k.split(of_floats);
}
inline void split_pixels(const kernels::Bf16Kernels& k, const kernels::Bf16SplitArgs& a, const CodeSource& x,
                         float* values) {
  split_pixels(k, a, read_row(x, (a.pixels - 1) * a.x_step + a.channels, values), values);
}
inline void split_pixels(const kernels::Bf16Kernels&, const kernels::Bf16SplitArgs& a, const bf16* x, float*) {
  const bool is_one_run = a.x_step == a.channels && a.step == a.channels;
  const std::int64_t runs = is_one_run ? 1 : a.pixels, length = is_one_run ? a.pixels * a.channels : a.channels;
  for (std::int64_t p = 0; p < runs; ++p) {
    std::memcpy(a.high + p * a.step, x + p * a.x_step, static_cast<std::size_t>(length) * sizeof(bf16));
    if (length % 2 != 0) a.high[p * a.step + length] = 0;
  }
}

/// As DirectCorrelation, with products of bf16: for floats, for a CodeSource, or for bf16, which are their own and only
/// part. The copies have the zeros around the image, so that all pixels see all taps.
///
/// A pixel's parts lie side by side and meet the weights' upper part twice, so that a row of taps is one segment. Their
/// lower part meets the pixel's upper one; or both, where that takes no longer.
class Bf16Correlation final : public FloatEngine {
 public:
  /// `parts` of the input and of the weights. The input's channels are multiplied by `scale` first, where there is one,
  /// and all outputs by `factor` in the end.
  Bf16Correlation(const Correlation& c, const WeightSource& w, const Bf16Parts& parts, const float* scale = nullptr,
                  float factor = 1)
      : k_(&kernels::active().bf16),
        parts_(parts),
        x_(c),
        channels_(c.channels),
        c_(copied(c)),
        frame_(c_),
        pixel_(parts.first * c_.channels),
        panels_(*k_, c.outputs) {
    if (scale) scale_.assign(scale, scale + c.channels);
    if (factor != 1) {
      factors_.assign(static_cast<std::size_t>(c.outputs), factor);
      factors_.resize(static_cast<std::size_t>(2 * c.outputs));  // and as many zeros
    }
    constexpr auto kBytes = static_cast<std::int64_t>(sizeof(std::uint16_t));
    std::int64_t elements = 0;
    for (const Phase& phase : c_.phases) {
      starts_.push_back(elements);
      elements += packed_rows(phase) * panels_.total();
    }
    packed_ = Buffer(static_cast<std::size_t>(elements * kBytes));
    const std::int64_t floats = 2 * channels_ * panels_.panel;  // a tap, and its parts
    parallel_for_scratch<float>(std::ssize(c_.phases) * panels_.count(), floats + w.scratch(c_, panels_.panel),
                                [&](std::int64_t task, float* scratch) {
                                  const std::int64_t p = task % panels_.count();
                                  pack(static_cast<std::size_t>(task / panels_.count()), p,
                                       w.panel(c_, p * panels_.panel, panels_.valid(p), scratch + floats), scratch);
                                });
    tasks_.emplace(c_, c_.most_rows(), panels_.count(), elements * kBytes, c_.in_rows * row() * kBytes);
    for (const Phase& phase : c_.phases) runs_.push_back(runs_of(phase));
  }

  void operator()(const float* x, float* y, const OutputConsumer& consume = {}) const override { run(x, y, consume); }
  void operator()(const CodeSource& x, float* y, const OutputConsumer& consume = {}) const override {
    run(x, y, consume);
  }
  /// Of one part, without a scale.
  void operator()(const bf16* x, float* y) const {
    check(parts_.first == 1 && scale_.empty(), "conv2d: bf16 given to products of ", parts_.first,
          " parts, or with scales");
    run(x, y, {});
  }

  std::int64_t bytes() const override { return static_cast<std::int64_t>(packed_.size_bytes()); }
  const char* name() const override { return name_of(parts_); }
  static const char* name_of(const Bf16Parts& parts) {
    constexpr const char* kNames[] = {"bf16", "bf16x2", "bf16x3"};
    return kNames[parts.products() - 1];
  }

 private:
  // Weights of a run: they stay in the first-level cache from image to image.
  static constexpr std::int64_t kRunElements = 16 * 1024;

  // Where the pixels lie that are copied.
  struct Pixels {
    std::int64_t begin, step, row, image;

    explicit Pixels(const Correlation& c)
        : begin(0), step(c.in_step), row(c.in_cols * c.in_step), image(c.in_rows * row) {
      if (!reads_single_pixels(c)) return;
      begin = c.phases[0].taps[0].row * row + c.phases[0].taps[0].col * step;
      step *= c.stride_w;
      row *= c.stride_h;
    }
  };
  // One tap within the image, at a stride: other pixels need not be copied.
  static bool reads_single_pixels(const Correlation& c) {
    return c.phases.size() == 1 && c.phases[0].taps.size() == 1 && reads_inside(c);
  }
  // With channels padded to a whole number of pairs.
  static Correlation copied(Correlation c) {
    if (reads_single_pixels(c)) {
      Phase& phase = c.phases[0];
      phase.taps[0].row = phase.taps[0].col = 0;
      c.stride_h = c.stride_w = 1;
      c.in_rows = phase.rows;
      c.in_cols = phase.cols;
    }
    c.channels = ceil_div(c.channels, 2) * 2;
    return c;
  }
  // Elements of a row of the copy, and of an image of which `rows` output rows are asked for.
  std::int64_t row() const { return frame_.cols * pixel_; }
  std::int64_t image(std::int64_t rows) const { return frame_.rows(c_, rows) * row(); }

  std::int64_t packed_rows(const Phase& phase) const { return std::ssize(phase.taps) * parts_.second * pixel_; }
  std::uint16_t* weights(std::size_t phase, std::int64_t p) const {
    return static_cast<std::uint16_t*>(packed_.data()) + starts_[phase] +
           p * panels_.panel * packed_rows(c_.phases[phase]);
  }

  // The weights' rows are [part][tap][part of the input] of channels each.
  Runs runs_of(const Phase& phase) const {
    constexpr std::int64_t kWhole = 32;  // channels of which products come, where they come in tiles
    const std::int64_t taps = std::ssize(phase.taps), low = c_.channels % kWhole == 0 ? c_.channels : pixel_;
    const auto is_in_first_row = [&](const Tap& tap) { return tap.row == phase.taps[0].row; };
    const std::int64_t row_taps = std::count_if(phase.taps.begin(), phase.taps.end(), is_in_first_row);
    // Cut where the segments' shapes stay what they are.
    const std::int64_t unit = pixel_ % kWhole == 0 ? 2 * kWhole : std::max<std::int64_t>(row_taps, 1) * pixel_;
    const std::int64_t rows = taps * (pixel_ + (parts_.second - 1) * low);
    const std::int64_t count = std::max<std::int64_t>(ceil_div(rows * panels_.panel, kRunElements), 1);
    Runs runs(std::max<std::int64_t>(ceil_div(rows, count * unit), 1) * unit * panels_.panel);
    for (std::int64_t part = 0; part < parts_.second; ++part) {
      const std::int64_t channels = part > 0 ? low : pixel_;
      for (std::int64_t t = 0; t < taps; ++t) {
        const Tap& tap = phase.taps[static_cast<std::size_t>(t)];
        runs.add(tap.row, {frame_.offset(tap) * pixel_, channels, (part * taps + t) * pixel_}, panels_.panel);
      }
    }
    runs.finish();
    return runs;
  }
  void pack(std::size_t i, std::int64_t p, const PanelSource& w, float* floats) const {
    const Phase& phase = c_.phases[i];
    const std::int64_t width = panels_.width(p), count = c_.channels * width;
    std::uint16_t* to = weights(i, p);
    std::uint16_t* low = parts_.second > 1 ? to + std::ssize(phase.taps) * parts_.first * count : nullptr;
    auto* const high_part = reinterpret_cast<std::uint16_t*>(floats + channels_ * width);
    std::uint16_t* const low_part = low ? high_part + channels_ * width : nullptr;
    const auto append = [&](std::uint16_t*& at, const std::uint16_t* part) {
      k_->interleave({part, width, channels_, width, at, width});
      if (parts_.first > 1) std::copy_n(at, count, at + count);
      at += parts_.first * count;
    };
    for (const Tap& tap : phase.taps) {
      pack_tap(c_, tap, channels_, w, panels_.valid(p), width, floats);
      k_->split({floats, width, channels_, width, high_part, low_part, width});
      append(to, high_part);
      if (low) append(low, low_part);
    }
  }

  template <class Source>
  void run(const Source& x, float* y, const OutputConsumer& consume) const {
    const bool clear = c_.may_clear_rows() && tasks_->has_all_panels();
    const std::int64_t floats = row_floats<Source>((c_.in_cols - 1) * x_.step + channels_);
    const std::int64_t bytes =
        static_cast<std::int64_t>(sizeof(float)) * floats +
        static_cast<std::int64_t>(sizeof(std::uint16_t)) * tasks_->images() * image(tasks_->rows());
    parallel_for_scratch<std::byte>(tasks_->count(), bytes, [&](std::int64_t index, std::byte* scratch) {
      const DirectTasks::Task task = (*tasks_)[index];
      auto* const values = reinterpret_cast<float*>(scratch);
      auto* const copies = reinterpret_cast<std::uint16_t*>(values + floats);
      copy(x + task.image * x_.image, task, values, copies);
      float* const y_image = y + task.image * c_.y_image;
      for (std::int64_t i = 0; clear && i < task.images; ++i)
        c_.clear_rows(y_image + i * c_.y_image, task.first, task.last);
      for (std::size_t i = 0; i < c_.phases.size(); ++i)
        if (!clear || !c_.phases[i].taps.empty()) multiply(i, copies, task, y_image);
      if (k_->release) k_->release();
      for (std::int64_t i = 0; !factors_.empty() && i < task.images; ++i) scale_outputs(task, y_image + i * c_.y_image);
      if (consume) tasks_->consume(c_, panels_, task, consume);
    });
  }
  template <class Source>
  void copy(const Source& x, const DirectTasks::Task& task, float* values, std::uint16_t* to) const {
    const float* const scale = scale_.empty() ? nullptr : scale_.data();
    for (std::int64_t n = 0; n < task.images; ++n, to += image(task.last - task.first)) {
      const auto pad = [&](std::int64_t at, std::int64_t count) {
        std::fill_n(to + at * pixel_, count * pixel_, std::uint16_t{0});
      };
      const auto split = [&](std::int64_t at, std::int64_t row, std::int64_t col, std::int64_t count) {
        std::uint16_t* const high = to + at * pixel_;
        split_pixels(
            *k_,
            {nullptr, x_.step, count, channels_, high, parts_.first > 1 ? high + c_.channels : nullptr, pixel_, scale},
            x + (n * x_.image + row * x_.row + x_.begin + col * x_.step), values);
      };
      frame_.for_each_row(c_, task.first, task.last, pad, split);
    }
  }

  // Those of one image, while they are in the cache.
  void scale_outputs(const DirectTasks::Task& task, float* y) const {
    const auto kernel = kernels::active().elementwise.of_values.normalize;
    const std::int64_t channel = task.first_panel * panels_.panel;
    for (const Phase& phase : c_.phases) {
      std::int64_t rows = std::min(task.last, phase.rows) - task.first, pixels = phase.cols;
      if (rows > 0 && c_.y_row == pixels * c_.y_step) pixels *= std::exchange(rows, 1);
      for (std::int64_t row = 0; row < rows; ++row) {
        float* const at = y + phase.y + (task.first + row) * c_.y_row + channel;
        kernel({at, nullptr, factors_.data(), factors_.data() + c_.outputs, false, at, pixels,
                panels_.between(task.first_panel, task.last_panel), c_.y_step, c_.y_step});
      }
    }
  }
  void multiply(std::size_t i, const std::uint16_t* x, const DirectTasks::Task& task, float* y) const {
    const Phase& phase = c_.phases[i];
    const std::int64_t last = std::min(task.last, phase.rows);
    if (last <= task.first || phase.cols == 0) return;
    const FrameLines out({phase.cols, c_.stride_w * pixel_, c_.y_step},
                         {last - task.first, c_.stride_h * row(), c_.y_row},
                         {task.images, image(task.last - task.first), c_.y_image});
    float* const y_phase = y + phase.y + task.first * c_.y_row;
    for (std::int64_t p = task.first_panel; p < task.last_panel; ++p) {
      for (std::size_t r = 0; r < runs_[i].count(); ++r) {
        const Runs::Part part = runs_[i].whole(r);
        for (std::int64_t n = 0; n < out.outer.count; ++n)
          k_->product({x + n * out.outer.x, out.pixels.x, out.pixels.count, part.data(), std::ssize(part),
                       weights(i, p), panels_.width(p), panels_.valid(p), y_phase + p * panels_.panel + n * out.outer.y,
                       out.pixels.y, r > 0, out.of_product()});
      }
    }
  }

  const kernels::Bf16Kernels* k_;
  Bf16Parts parts_;  // of the input and of the weights
  Pixels x_;
  std::int64_t channels_;
  Correlation c_;  // of what is copied
  Frame frame_;
  std::int64_t pixel_;  // elements of a pixel of a copy
  Panels panels_;
  PoolVector<float> scale_;          // of the input's channels, or nothing
  PoolVector<float> factors_;        // of the outputs, and what is added to them; or nothing
  PoolVector<std::int64_t> starts_;  // of each phase's weights
  PoolVector<Runs> runs_;            // of each phase
  Buffer packed_;
  std::optional<DirectTasks> tasks_;
};

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
