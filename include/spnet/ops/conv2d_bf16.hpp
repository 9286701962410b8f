// The engine of floats that multiplies bf16. A float is the sum of up to two bf16, its parts, and so a sum over
// channels is one over the channels of up to three pairs of parts: all but that of both lower ones, which falls below a
// float's last bits. Each task copies the rows that it reads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>

#include "spnet/core/memory.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_copy.hpp"
#include "spnet/ops/conv2d_direct.hpp"
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

/// The parts, where floats are to be multiplied as bf16, and that is faster. One is enough for a first factor that is
/// exact in bf16.
inline std::optional<Bf16Parts> bf16_parts(bool is_first_exact) {
  const Float32Precision precision = float32_matmul_precision();
  if (precision == Float32Precision::kHighest) return std::nullopt;
  const std::int64_t count = precision == Float32Precision::kHigh ? 2 : 1;
  const Bf16Parts parts{is_first_exact ? 1 : count, count};
  if (parts.products() > kernels::active().bf16.most_products) return std::nullopt;
  return parts;
}

/// As DirectCorrelation, with products of bf16: for floats, or for a CodeSource.
class Bf16Correlation final : public FloatEngine {
 public:
  /// `parts` of the input and of the weights.
  Bf16Correlation(const Correlation& c, const WeightSource& w, const Bf16Parts& parts)
      : k_(&kernels::active().bf16),
        parts_(parts),
        x_(c),
        channels_(c.channels),
        c_(copied(c)),
        panels_(*k_, c.outputs) {
    std::int64_t elements = 0;
    for (const Phase& phase : c_.phases) {
      starts_.push_back(elements);
      elements += packed_rows(phase) * panels_.total();
      spans_.emplace_back(c_, phase);
      PoolVector<Runs>& runs = runs_.emplace_back();
      spans_.back().for_each_pair([&](const TapSpan& rows, const TapSpan& cols, std::size_t) {
        runs.push_back(runs_of(phase, spans_.back(), rows, cols));
      });
    }
    constexpr auto kBytes = static_cast<std::int64_t>(sizeof(std::uint16_t));
    packed_ = Buffer(static_cast<std::size_t>(elements * kBytes));
    const std::int64_t floats = channels_ * panels_.panel;
    parallel_for_scratch<float>(std::ssize(c_.phases) * panels_.count(), floats + w.scratch(c_, panels_.panel),
                                [&](std::int64_t task, float* scratch) {
                                  const std::int64_t p = task % panels_.count();
                                  pack(static_cast<std::size_t>(task / panels_.count()), p,
                                       w.outputs(c_, p * panels_.panel, panels_.valid(p), scratch + floats), scratch);
                                });
    tasks_.emplace(c_, c_.most_rows(), panels_.count(), elements * kBytes, c_.in_rows * row() * kBytes);
  }

  void operator()(const float* x, float* y, const OutputConsumer& consume = {}) const override { run(x, y, consume); }
  void operator()(const CodeSource& x, float* y, const OutputConsumer& consume = {}) const override {
    run(x, y, consume);
  }

  std::int64_t bytes() const override { return static_cast<std::int64_t>(packed_.size_bytes()); }
  const char* name() const override {
    constexpr const char* kNames[] = {"bf16", "bf16x2", "bf16x3"};
    return kNames[parts_.products() - 1];
  }

 private:
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
  // What a task reads: elements from `skipped` on of its first image, and the distance of images.
  struct Input {
    const std::uint16_t* x;
    std::int64_t skipped, image;
  };

  // One tap within the image, at a stride: other pixels need not be copied.
  static bool reads_single_pixels(const Correlation& c) {
    if (c.phases.size() != 1 || c.phases[0].taps.size() != 1) return false;
    const Phase& phase = c.phases[0];
    const Tap& tap = phase.taps[0];
    return tap.row >= 0 && tap.col >= 0 && (phase.rows - 1) * c.stride_h + tap.row < c.in_rows &&
           (phase.cols - 1) * c.stride_w + tap.col < c.in_cols;
  }
  // With the channels of all parts, each padded to a whole number of pairs.
  Correlation copied(Correlation c) const {
    if (reads_single_pixels(c)) {
      Phase& phase = c.phases[0];
      phase.taps[0].row = phase.taps[0].col = 0;
      c.stride_h = c.stride_w = 1;
      c.in_rows = phase.rows;
      c.in_cols = phase.cols;
    }
    c.channels = ceil_div(c.channels, 2) * 2;
    c.in_step = parts_.first * c.channels;
    return c;
  }
  std::int64_t row() const { return c_.in_cols * c_.in_step; }
  std::int64_t packed_rows(const Phase& phase) const { return std::ssize(phase.taps) * parts_.second * c_.channels; }
  std::uint16_t* weights(std::size_t phase, std::int64_t p) const {
    return static_cast<std::uint16_t*>(packed_.data()) + starts_[phase] +
           p * panels_.panel * packed_rows(c_.phases[phase]);
  }

  // Weights are packed as [tap][part][pair of channels][width of the panel].
  Runs runs_of(const Phase& phase, const TapSpans& spans, const TapSpan& rows, const TapSpan& cols) const {
    Runs runs(2 * kRunFloats);
    spans.for_each_tap(phase, rows, cols, [&](std::int64_t t, const Tap& tap) {
      parts_.for_each_product([&](std::int64_t i, std::int64_t j) {
        runs.add(tap.row,
                 {(tap.row * c_.in_cols + tap.col) * c_.in_step + i * c_.channels, c_.channels,
                  (t * parts_.second + j) * c_.channels},
                 panels_.panel);
      });
    });
    runs.finish();
    return runs;
  }
  // `w` begins with the panel's.
  void pack(std::size_t i, std::int64_t p, const float* w, float* floats) const {
    const std::int64_t width = panels_.width(p), part = c_.channels * width;
    std::uint16_t* to = weights(i, p);
    for (const Tap& tap : c_.phases[i].taps) {
      pack_tap(c_, tap, channels_, w, panels_.valid(p), width, floats);
      k_->interleave({floats, width, channels_, width, to, parts_.second > 1 ? to + part : nullptr, width});
      to += parts_.second * part;
    }
  }

  template <class Source>
  void run(const Source& x, float* y, const OutputConsumer& consume) const {
    const bool clear = c_.may_clear_rows() && tasks_->has_all_panels();
    const std::int64_t floats = row_floats<Source>((c_.in_cols - 1) * x_.step + channels_);
    const std::int64_t bytes = static_cast<std::int64_t>(sizeof(float)) * floats +
                               static_cast<std::int64_t>(sizeof(std::uint16_t)) * tasks_->images() *
                                   c_.most_input_rows(tasks_->rows()) * row();
    parallel_for_scratch<std::byte>(tasks_->count(), bytes, [&](std::int64_t index, std::byte* scratch) {
      const DirectTasks::Task task = (*tasks_)[index];
      auto* const values = reinterpret_cast<float*>(scratch);
      const Input in = copy(x + task.image * x_.image, task, values, reinterpret_cast<std::uint16_t*>(values + floats));
      float* const y_image = y + task.image * c_.y_image;
      for (std::int64_t i = 0; clear && i < task.images; ++i)
        c_.clear_rows(y_image + i * c_.y_image, task.first, task.last);
      for (std::size_t i = 0; i < c_.phases.size(); ++i)
        if (!clear || !c_.phases[i].taps.empty()) multiply(i, in, task, y_image);
      if (k_->release) k_->release();
      if (consume) tasks_->consume(c_, panels_, task, consume);
    });
  }
  template <class Source>
  Input copy(const Source& x, const DirectTasks::Task& task, float* values, std::uint16_t* to) const {
    const auto [first, last] = c_.input_rows(task.first, task.last);
    const Input in{to, first * row(), (last - first) * row()};
    for (std::int64_t n = 0; n < task.images; ++n) {
      for (std::int64_t i = first; i < last; ++i, to += row())
        k_->split({read_row(x + (n * x_.image + i * x_.row + x_.begin), (c_.in_cols - 1) * x_.step + channels_, values),
                   x_.step, c_.in_cols, channels_, to, parts_.first > 1 ? to + c_.channels : nullptr, c_.in_step});
    }
    return in;
  }
  void multiply(std::size_t i, const Input& in, const DirectTasks::Task& task, float* y) const {
    const Phase& phase = c_.phases[i];
    for (std::int64_t p = task.first_panel; p < task.last_panel; ++p) {
      const auto of_pair = [&](const TapSpan& rows, const TapSpan& cols, std::size_t pair) {
        const Runs& runs = runs_[i][pair];
        for (std::size_t r = 0; r < runs.count(); ++r) {
          const Runs::Part part = runs.whole(r);
          for_each_line(c_, phase, rows, cols, task.images, in.image, c_.in_rows, [&](const Line& line) {
            k_->product({in.x + line.x - in.skipped, line.x_step, line.pixels, part.data(), std::ssize(part),
                         weights(i, p), panels_.width(p), panels_.valid(p), y + phase.y + line.y + p * panels_.panel,
                         line.y_step, r > 0});
          });
        }
      };
      spans_[i].for_each_pair(task.first, task.last, of_pair);
    }
  }

  const kernels::Bf16Kernels* k_;
  Bf16Parts parts_;  // of the input and of the weights
  Pixels x_;
  std::int64_t channels_;
  Correlation c_;  // of the copy
  Panels panels_;
  PoolVector<std::int64_t> starts_;    // of each phase's weights
  PoolVector<TapSpans> spans_;         // of each phase
  PoolVector<PoolVector<Runs>> runs_;  // of each phase [row span][column span]
  Buffer packed_;
  std::optional<DirectTasks> tasks_;
};

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
