// Convolution where output channel i reads input channel i alone, and its gradient with respect to the weights.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <type_traits>

#include "spnet/core/memory.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_copy.hpp"
#include "spnet/ops/conv2d_direct.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/conv2d_weight_grad.hpp"

namespace spnet {
inline namespace v0 {
namespace ops::detail {

using kernels::DepthwiseTap;

/// For every pair of spans of a phase, the taps that it sees. Weights are packed as [block][tap][kBlock].
class DepthwisePairs {
 public:
  DepthwisePairs(const Correlation& c, const Phase& phase) : spans_(c, phase) {
    spans_.for_each_pair([&](const TapSpan& rows, const TapSpan& cols, std::size_t) {
      PoolVector<DepthwiseTap>& taps = taps_.emplace_back();
      spans_.for_each_tap(phase, rows, cols, [&](std::int64_t t, const Tap& tap) {
        taps.push_back({(tap.row * c.in_cols + tap.col) * c.in_step, t * kBlock});
      });
    });
  }
  /// Calls call(rows, cols, taps, pair) for the pairs that have pixels in rows [first, last).
  template <class Call>
  void operator()(std::int64_t first, std::int64_t last, const Call& call) const {
    spans_.for_each_pair(first, last, [&](const TapSpan& rows, const TapSpan& cols, std::size_t pair) {
      call(rows, cols, taps_[pair], static_cast<std::int64_t>(pair));
    });
  }
  const TapSpans& spans() const { return spans_; }

 private:
  TapSpans spans_;
  PoolVector<PoolVector<DepthwiseTap>> taps_;  // [row span][column span]
};

/// weight(channel, tap) of all channels and taps, packed.
template <class T, class Weight>
Buffer pack_depthwise(const Correlation& c, const Phase& phase, const Weight& weight) {
  Buffer packed(static_cast<std::size_t>(ceil_div(c.channels, kBlock) * kBlock) * phase.taps.size() * sizeof(T));
  T* to = static_cast<T*>(packed.data());
  for (std::int64_t b = 0; b < c.channels; b += kBlock)
    for (const Tap& tap : phase.taps)
      for (std::int64_t i = b; i < b + kBlock; ++i) *to++ = i < c.channels ? weight(i, tap) : T{};
  return packed;
}

/// Bands of rows of one image.
struct DepthwiseTasks {
  std::int64_t rows, band, bands, count;

  explicit DepthwiseTasks(const Correlation& c)
      : rows(c.most_rows()),
        band(std::max<std::int64_t>(ceil_div(rows, ceil_div(kLeastTasks, c.batch)), 1)),
        bands(ceil_div(rows, band)),
        count(c.batch * bands) {}
};

/// All groups of a depthwise convolution of floats, or of codes with float weights: w[channel * w_step + tap.weight].
class DepthwiseCorrelation final : public FloatEngine {
 public:
  DepthwiseCorrelation(const Correlation& c, std::int64_t w_step, const float* w) : c_(c), tasks_(c) {
    for (const Phase& phase : c.phases) {
      pairs_.emplace_back(c, phase);
      packed_.push_back(
          pack_depthwise<float>(c, phase, [=](std::int64_t i, const Tap& tap) { return w[i * w_step + tap.weight]; }));
    }
  }
  void operator()(const float* x, float* y, const OutputConsumer& consume = {}) const override { run(x, y, consume); }
  void operator()(const CodeSource& x, float* y, const OutputConsumer& consume = {}) const override {
    run(x, y, consume);
  }

  std::int64_t bytes() const override {
    std::int64_t sum = 0;
    for (const Buffer& packed : packed_) sum += static_cast<std::int64_t>(packed.size_bytes());
    return sum;
  }
  const char* name() const override { return name_of(); }
  static const char* name_of() { return "depthwise"; }

 private:
  template <class Source>
  void run(const Source& x, float* y, const OutputConsumer& consume) const {
    const kernels::ConvKernels& k = kernels::active().conv;
    const std::int64_t row = c_.in_cols * c_.in_step;
    parallel_for_scratch<float>(
        tasks_.count, copied_floats<Source>(c_, tasks_.band), [&](std::int64_t task, float* scratch) {
          const std::int64_t n = task / tasks_.bands, first = task % tasks_.bands * tasks_.band;
          const std::int64_t last = std::min(first + tasks_.band, tasks_.rows), cols = c_.phases[0].cols;
          const ImageRows in = read_rows(c_, x + n * c_.in_rows * row, first, last, scratch);
          for (std::size_t i = 0; i < c_.phases.size(); ++i) {
            const Phase& phase = c_.phases[i];
            float* const to = y + n * c_.y_image + phase.y;
            pairs_[i](first, std::min(first + tasks_.band, phase.rows),
                      [&](const TapSpan& rows, const TapSpan& cols, const auto& taps, std::int64_t) {
                        for_each_line(c_, phase, rows, cols, 1, 0, 0, [&](const Line& line) {
                          k.depthwise({in.data + line.x - in.skipped * row, line.x_step, line.pixels, taps.data(),
                                       std::ssize(taps), static_cast<const float*>(packed_[i].data()),
                                       std::ssize(phase.taps) * kBlock, c_.channels, to + line.y, line.y_step});
                        });
                      });
          }
          if (consume) consume({(n * tasks_.rows + first) * cols, (last - first) * cols, 0, c_.channels});
        });
  }

  Correlation c_;
  DepthwiseTasks tasks_;
  PoolVector<DepthwisePairs> pairs_;  // of each phase
  PoolVector<Buffer> packed_;         // of each phase
};

/// The gradient with respect to the weights: dw[channel * w_step + tap.weight]. x is floats or a CodeSource.
template <class Source>
void correlate_depthwise_grad(const Correlation& c, std::int64_t w_step, const float* dy, const Source& x, float* dw) {
  const kernels::ConvKernels& k = kernels::active().conv;
  const Phase& phase = c.phases[0];
  // Codes, and channels so many that pixels fall into few lines of the cache, are copied, a block at a time; at a stride
  // floats are not read often enough for that.
  const bool copies = !std::is_pointer_v<Source> || (c.in_step > kDirectChannels && c.stride_w == 1);
  Correlation read = c;
  if (copies) {
    read.in_step = read.y_step = kBlock;
    read.y_row = phase.cols * kBlock;
  }
  const DepthwisePairs pairs(read, phase);
  const auto taps = std::ssize(phase.taps);
  // One block of channels is read after the other.
  const GradUnits units(c, (c.in_rows * c.in_cols + phase.rows * phase.cols) * kBlock, 1);
  const std::int64_t blocks = ceil_div(c.channels, kBlock), size = blocks * kBlock * taps;
  const Buffer sums(static_cast<std::size_t>(size) * sizeof(float));
  const GradChunks chunks(units.count, size, static_cast<float*>(sums.data()));
  const std::int64_t x_row = c.in_cols * c.in_step, in_row = c.in_cols * read.in_step;
  const std::int64_t copied = copies ? c.most_input_rows(units.band) * in_row : 0;
  const std::int64_t scratch_floats = copied + (copies ? units.band * read.y_row : 0);
  // Where there are few chunks, the channels are cut too.
  const std::int64_t splits = std::min(ceil_div(kLeastTasks, chunks.count()), blocks);
  parallel_for_scratch<float>(chunks.count() * splits, scratch_floats, [&](std::int64_t task, float* scratch) {
    const std::int64_t chunk = task % chunks.count(), split = task / chunks.count();
    const std::int64_t begin = split * blocks / splits * kBlock,
                       end = std::min((split + 1) * blocks / splits * kBlock, c.channels);
    float* const to = chunks.sums(chunk) + begin * taps;
    std::fill_n(to, ceil_div(end - begin, kBlock) * kBlock * taps, 0.0f);
    const auto multiply = [&](const ImageRows& in, const ImageRows& out, const GradUnits::Unit& unit,
                              std::int64_t first, std::int64_t channels) {
      pairs(unit.first, unit.last, [&](const TapSpan& rows, const TapSpan& cols, const auto& of_pair, std::int64_t) {
        k.depthwise_grad(
            {in.data + (rows.begin * c.stride_h - in.skipped) * in_row + cols.begin * c.stride_w * read.in_step,
             c.stride_w * read.in_step, c.stride_h * in_row,
             out.data + (rows.begin - out.skipped) * read.y_row + cols.begin * read.y_step, read.y_step, read.y_row,
             rows.size(), cols.size(), of_pair.data(), std::ssize(of_pair), channels, to + (first - begin) * taps,
             taps * kBlock});
      });
    };
    for (std::int64_t i = chunks.begin(chunk); i < chunks.begin(chunk + 1); ++i) {
      const GradUnits::Unit unit = units.at(c, i);
      const auto [first_row, last_row] = c.input_rows(unit.first, unit.last);
      for (std::int64_t n = unit.image; n < unit.image + unit.images; ++n) {
        if constexpr (std::is_pointer_v<Source>) {
          if (!copies) {
            multiply({x + n * c.in_rows * x_row + begin, 0}, {dy + n * c.y_image + begin, 0}, unit, begin, end - begin);
            continue;
          }
        }
        for (std::int64_t b = begin; b < end; b += kBlock) {
          const std::int64_t channels = std::min(kBlock, end - b);
          copy_of(x + (n * c.in_rows + first_row) * x_row, scratch)
              .gather(b, c.in_step, (last_row - first_row) * c.in_cols, channels, 0, kBlock);
          for (std::int64_t row = unit.first; row < unit.last; ++row)
            copy_of(dy + n * c.y_image + row * c.y_row, scratch + copied)
                .gather(b, c.y_step, phase.cols, channels, (row - unit.first) * read.y_row, kBlock);
          multiply({scratch, first_row}, {scratch + copied, unit.first}, unit, b, channels);
        }
      }
    }
  });
  chunks.add();
  const float* const from = chunks.sums(0);
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::int64_t lanes = std::min(kBlock, c.channels - b * kBlock);
    for (std::int64_t t = 0; t < taps; ++t) {
      const float* const lane = from + (b * taps + t) * kBlock;
      float* const to = dw + b * kBlock * w_step + phase.taps[static_cast<std::size_t>(t)].weight;
      for (std::int64_t i = 0; i < lanes; ++i) to[i * w_step] = lane[i];
    }
  }
}

}  // namespace ops::detail
}  // namespace v0
}  // namespace spnet
