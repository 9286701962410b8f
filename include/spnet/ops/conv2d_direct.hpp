// The engine that reads the input where it lies. Output pixels that see the same taps are multiplied together, with
// those taps alone: nothing is copied, and no zero outside the image is multiplied.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iterator>
#include <utility>

#include "spnet/core/memory.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_copy.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/conv2d_panels.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

/// Bytes of input that a task reads again and again: they stay in the second-level cache beside a panel of weights.
inline constexpr std::int64_t kDirectBytes = 128 * 1024;
/// Channels, the distance of neighbouring pixels, beyond which pixels fall into too few lines of the first-level cache.
inline constexpr std::int64_t kDirectChannels = 128;

/// Outputs that are complete, while they are in the cache: `pixels` of [image][row][column] from `pixel` on, and of
/// each `channels` from `channel` on.
struct OutputBlock {
  std::int64_t pixel, pixels;
  std::int64_t channel, channels;
};
/// Is called once for every output, in blocks, from several threads at once; where it is empty, nothing is.
using OutputConsumer = std::function<void(const OutputBlock&)>;

/// How a convolution is cut into tasks: bands of rows of a group of images, and a part of the panels.
class DirectTasks {
 public:
  struct Task {
    std::int64_t first, last;  // rows
    std::int64_t image, images;
    std::int64_t first_panel, last_panel;
  };

  /// Of `rows` output rows, with so many bytes of weights and of each image.
  DirectTasks(const Correlation& c, std::int64_t rows, std::int64_t panels, std::int64_t weights, std::int64_t image)
      : rows_(rows), batch_(c.batch), panels_(panels) {
    splits_ = std::clamp<std::int64_t>(ceil_div(weights, kGroupBytes), 1, panels);
    group_ = std::clamp<std::int64_t>(
        std::min(kDirectBytes / std::max<std::int64_t>(image, 1), c.batch * splits_ / kLeastTasks), 1, c.batch);
    groups_ = ceil_div(c.batch, group_);
    // Parts of the panels read all of the input, bands all of the weights.
    if (weights > group_ * image) splits_ = std::max(splits_, std::min(panels, ceil_div(kLeastTasks, groups_)));
    const std::int64_t bands =
        std::max(ceil_div(group_ * image, kDirectBytes), ceil_div(kLeastTasks, groups_ * splits_));
    band_ = std::max<std::int64_t>(ceil_div(rows, bands), 1);
    bands_ = ceil_div(rows, band_);
  }
  std::int64_t count() const { return splits_ * groups_ * bands_; }
  /// Largest numbers in one task.
  std::int64_t rows() const { return band_; }
  std::int64_t images() const { return group_; }
  std::int64_t most_panels() const { return ceil_div(panels_, splits_); }
  /// True where a task has all panels of its pixels.
  bool has_all_panels() const { return splits_ == 1; }
  /// Images inside, so that the threads go through them with one part of the weights after another.
  Task operator[](std::int64_t task) const {
    const std::int64_t first = task % bands_ * band_, image = task / bands_ % groups_ * group_;
    const std::int64_t split = task / bands_ / groups_;
    return {first,
            std::min(first + band_, rows_),
            image,
            std::min(group_, batch_ - image),
            split * panels_ / splits_,
            (split + 1) * panels_ / splits_};
  }

  /// The outputs of a task, which are complete.
  void consume(const Correlation& c, const Panels& panels, const Task& task, const OutputConsumer& consume) const {
    const std::int64_t cols = c.phases[0].cols, channel = task.first_panel * panels.panel;
    for (std::int64_t image = task.image; image < task.image + task.images; ++image)
      consume({(image * rows_ + task.first) * cols, (task.last - task.first) * cols, channel,
               panels.between(task.first_panel, task.last_panel)});
  }

 private:
  std::int64_t rows_, batch_, panels_, splits_, group_, groups_, band_, bands_;
};

/// Adds to `runs` the segments of the taps that lie within the image for the pixels of two spans, where pixels are
/// c.in_step apart and the weights of tap number t begin at of_tap(t, tap).
template <class OfTap>
Runs direct_runs(Runs runs, const Correlation& c, const Phase& phase, const TapSpans& spans, const TapSpan& rows,
                 const TapSpan& cols, std::int64_t panel, const OfTap& of_tap) {
  spans.for_each_tap(phase, rows, cols, [&](std::int64_t t, const Tap& tap) {
    runs.add(tap.row, {(tap.row * c.in_cols + tap.col) * c.in_step, c.channels, of_tap(t, tap)}, panel);
  });
  runs.finish();
  return runs;
}

/// Output pixels at equal distances: where the first lies and how far the next, in elements of x and of y, and counted
/// in pixels of [image][row][column] of the output.
struct Line {
  std::int64_t pixels;
  std::int64_t x, x_step;
  std::int64_t y, y_step;
  std::int64_t pixel, pixel_step;
};

/// How far the next image, row and pixel of the output lies.
struct LineOutput {
  std::int64_t image, row, step;

  LineOutput(std::int64_t of_image, std::int64_t of_row, std::int64_t of_step)
      : image(of_image), row(of_row), step(of_step) {}
  explicit LineOutput(const Correlation& c) : LineOutput(c.y_image, c.y_row, c.y_step) {}
};

/// Calls call(Line) for lines that cover the pixels of two spans in `images` images of `x_image` elements and
/// `rows_in_image` rows of pixels: along a row where that is long enough, and on where a line's end meets the next
/// one's begin.
template <class Call>
void for_each_line(const Correlation& c, const Phase& phase, const TapSpan& rows, const TapSpan& cols,
                   std::int64_t images, std::int64_t x_image, std::int64_t rows_in_image, const Call& call,
                   const LineOutput& out) {
  struct Direction {
    std::int64_t count, x, y, pixel;
    bool continues(const Direction& inner) const {
      return x == inner.count * inner.x && y == inner.count * inner.y && pixel == inner.count * inner.pixel;
    }
  };
  constexpr std::int64_t kLongEnough = 4;
  const std::int64_t x_row = c.in_cols * c.in_step;
  Direction pixels{cols.size(), c.stride_w * c.in_step, out.step, 1};
  Direction outer{rows.size(), c.stride_h * x_row, out.row, phase.cols};
  Direction outermost{images, x_image, out.image, rows_in_image * phase.cols};
  if (outer.continues(pixels)) {
    pixels.count *= std::exchange(outer.count, 1);
    if (outermost.continues(pixels)) pixels.count *= std::exchange(outermost.count, 1);
  }
  if (pixels.count < kLongEnough && outer.count > pixels.count) std::swap(pixels, outer);
  if (pixels.count < kLongEnough && outermost.count > pixels.count) std::swap(pixels, outermost);
  const std::int64_t x = rows.begin * c.stride_h * x_row + cols.begin * c.stride_w * c.in_step;
  const std::int64_t y = rows.begin * out.row + cols.begin * out.step;
  const std::int64_t pixel = rows.begin * phase.cols + cols.begin;
  for (std::int64_t a = 0; a < outermost.count; ++a) {
    for (std::int64_t b = 0; b < outer.count; ++b) {
      call(Line{pixels.count, x + a * outermost.x + b * outer.x, pixels.x, y + a * outermost.y + b * outer.y, pixels.y,
                pixel + a * outermost.pixel + b * outer.pixel, pixels.pixel});
    }
  }
}

template <class Call>
void for_each_line(const Correlation& c, const Phase& phase, const TapSpan& rows, const TapSpan& cols,
                   std::int64_t images, std::int64_t x_image, std::int64_t rows_in_image, const Call& call) {
  for_each_line(c, phase, rows, cols, images, x_image, rows_in_image, call, LineOutput(c));
}

/// True where reading the input as it lies is fast. Of few channels at a stride the copy's prefetches are missed.
inline bool may_read_directly(const Correlation& c) {
  return c.channels >= (c.stride_w == 1 ? kBlock : 2 * kBlock) && c.in_step <= kDirectChannels &&
         std::all_of(c.phases.begin(), c.phases.end(), [](const Phase& p) { return p.rows > 0 && p.cols > 0; });
}

/// A way to compute one group of a convolution of floats, its weights packed once. x and y point at the group's first
/// channel. `consume`, whose channels are the group's, is for engines forward.
class FloatEngine {
 public:
  FloatEngine() = default;
  FloatEngine(const FloatEngine&) = delete;
  FloatEngine& operator=(const FloatEngine&) = delete;
  virtual ~FloatEngine() = default;
  virtual void operator()(const float* x, float* y, const OutputConsumer& consume = {}) const = 0;
  /// The same of codes' values, for engines that were made for such.
  virtual void operator()(const CodeSource&, float*, const OutputConsumer& = {}) const {
    throw Error(message("conv2d: ", name(), " takes no codes"));
  }
  virtual std::int64_t bytes() const = 0;  ///< of the packed weights
  virtual const char* name() const = 0;
};

/// The engine of this file.
class DirectCorrelation final : public FloatEngine {
 public:
  DirectCorrelation(const Correlation& c, const WeightSource& w)
      : c_(c),
        k_(&kernels::active().conv),
        panels_(*k_, c.outputs),
        weights_(c, panels_, w),
        tasks_(c, c.most_rows(), panels_.count(), weights_.bytes(),
               image() * static_cast<std::int64_t>(sizeof(float))) {
    for (const Phase& phase : c.phases) {
      spans_.emplace_back(c, phase);
      PoolVector<Runs>& runs = runs_.emplace_back();
      spans_.back().for_each_pair([&](const TapSpan& rows, const TapSpan& cols, std::size_t) {
        runs.push_back(direct_runs(Runs(kRunFloats, weights_.step()), c, phase, spans_.back(), rows, cols, panels_.panel,
                                   [&](std::int64_t t, const Tap& tap) { return weights_.of_tap(t, tap); }));
      });
    }
  }

  void operator()(const float* x, float* y, const OutputConsumer& consume = {}) const override {
    const bool clear = c_.may_clear_rows() && tasks_.has_all_panels();
    parallel_for(tasks_.count(), [&](std::int64_t index) {
      const DirectTasks::Task task = tasks_[index];
      if (clear) {
        for (std::int64_t i = task.image; i < task.image + task.images; ++i)
          c_.clear_rows(y + i * c_.y_image, task.first, task.last);
      }
      for (std::size_t i = 0; i < c_.phases.size(); ++i) {
        if (!clear || !c_.phases[i].taps.empty())
          multiply(i, task, x + task.image * image(), y + task.image * c_.y_image);
      }
      if (consume) tasks_.consume(c_, panels_, task, consume);
    });
  }

  std::int64_t bytes() const override { return weights_.bytes(); }
  const char* name() const override { return name_of(); }
  static const char* name_of() { return "direct"; }

 private:
  std::int64_t image() const { return c_.in_rows * c_.in_cols * c_.in_step; }
  void multiply(std::size_t i, const DirectTasks::Task& task, const float* x, float* y) const {
    const Phase& phase = c_.phases[i];
    for (std::int64_t p = task.first_panel; p < task.last_panel; ++p) {
      const kernels::PanelWeights w = weights_.panel(i, p);
      float* const y_panel = y + phase.y + p * panels_.panel;
      const auto of_pair = [&](const TapSpan& rows, const TapSpan& cols, std::size_t pair) {
        const Runs& runs = runs_[i][pair];
        for (std::size_t r = 0; r < runs.count(); ++r) {
          const Runs::Part part = runs.whole(r);
          for_each_line(c_, phase, rows, cols, task.images, image(), c_.in_rows, [&](const Line& line) {
            k_->product({x + line.x, line.x_step, line.pixels, part.data(), std::ssize(part), w, panels_.width(p),
                         panels_.valid(p), y_panel + line.y, line.y_step, r > 0, false, weights_.follow()});
          });
        }
      };
      spans_[i].for_each_pair(task.first, task.last, of_pair);
    }
  }

  Correlation c_;
  const kernels::ConvKernels* k_;
  Panels panels_;
  PhaseWeights weights_;
  DirectTasks tasks_;
  PoolVector<TapSpans> spans_;         // of each phase
  PoolVector<PoolVector<Runs>> runs_;  // of each phase [row span][column span]
};

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
