// The engine of convolution on codes: products of bytes, summed exactly in int32.
//
// With integers A = αa·a − za of a code a and αa·W = f·e + g of a packed weight e, the sum over the taps that lie
// within the image is
//   Σ A·W = f · Σ a·e + g · Σ a − za · Σ W,
// whose last sum depends on the output pixel's spans alone. All of it is modulo 2^32, and right where Σ A·W itself fits
// int32.
//
// Of codes of few bits the kernels count instead in which bits they differ. With the planes a_i of a and c_j of a
// weight's code c, of A and B bits, weights W = 2c − (2^B − 1) = Σ_j 2^j·(2c_j − 1) have
//   Σ a·W = Σ_ij 2^(i + j)·(Σ c_j − Σ (a_i ≠ c_j)) = (2^A − 1)·Σ c − Σ_ij 2^(i + j)·Σ (a_i ≠ c_j);
// for others of an even step, Σ a is added.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <mutex>
#include <optional>
#include <span>
#include <utility>

#include "spnet/ops/channel_totals.hpp"
#include "spnet/ops/conv2d_direct.hpp"
#include "spnet/ops/conv2d_frame.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/conv2d_weight_form.hpp"
#include "spnet/ops/conv2d_window_sums.hpp"
#include "spnet/ops/quantize.hpp"
#include "spnet/ops/weight_reader.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

namespace detail {

/// Weights that lines of pixels read one after the other. They come from the second-level cache as fast as they are
/// needed; shorter runs would leave more partial sums.
inline constexpr std::int64_t kRunBytes = 48 * 1024;

/// Sums of neighbouring pixels of one image, in the order of its rows, while they are in the cache: `channels` of each
/// from output `channel` on; pixels lie `step` sums apart.
struct SumsBlock {
  const std::int32_t* sums;
  std::int64_t step;
  std::int64_t image, pixel, pixels;
  std::int64_t channel, channels;
};

/// One group of a convolution of codes, its weights packed once. `c` is its forward correlation; x, y and totals point
/// at the group's first channel; w counts from its first weight.
class IntegerCorrelation {
 public:
  IntegerCorrelation(const Correlation& c, const AffineCodes& x_map, const CodesReader& w, const AffineCodes& w_map,
                     const WeightForm& form)
      : form_(form),
        codes_(c),
        c_(in_elements(c, form_.k)),
        panels_(form_.k, c_.outputs),
        spans_(c_, phase()),
        tasks_(c_, phase().rows, panels_.count(), packed_rows() * panels_.total() * form_.k.element_bytes,
               form_.x_planes * c_.in_rows * row_bytes()),
        frame_(frame_of(c, x_map, form_)),
        pad_(frame_ ? static_cast<std::uint8_t>(x_map.zero_point / x_map.step) : std::uint8_t{0}),
        factor_(wrapped(form_.factor)),
        largest_(largest_sum(x_map, w_map, std::ssize(c.phases[0].taps) * c.channels)) {
    if (form_.offset != 0) windows_.emplace(codes_, codes_.phases[0], spans_, tasks_.rows());
    Correlation padded = c_;
    padded.channels = padded_channels();
    const std::int64_t units = kRunBytes / form_.w_planes / form_.k.element_bytes / (4 * panels_.panel);
    const std::int64_t limit = std::min(units, form_.most_units) * 4 * panels_.panel;
    const PoolVector<PlanePair> planes = plane_pairs();
    if (frame_) {
      Runs& runs = runs_.emplace_back(limit);
      for (std::size_t t = 0; t < phase().taps.size(); ++t) {
        const Tap& tap = phase().taps[t];
        runs.add(tap.row, {frame_->offset(tap) * padded.channels, padded.channels,
                           static_cast<std::int64_t>(t) * padded.channels}, panels_.panel);
      }
      runs.finish();
    }
    for_each_pair([&](const TapSpan& rows, const TapSpan& cols) {
      runs_.push_back(direct_runs(Runs(limit), padded, phase(), spans_, rows, cols, panels_.panel,
                                  [&](std::int64_t t, const Tap&) { return t * padded.channels; }));
      if (planes.size() > 1) runs_.back().repeat(planes);
    });
    packed_ = Buffer(static_cast<std::size_t>(panels_.total() * packed_rows() * form_.k.element_bytes));
    // [tap][output]: Σ c.
    PoolVector<std::int32_t> sums;
    if (x_map.zero_point != 0 || form_.is_of_bits())
      sums.resize(phase().taps.size() * static_cast<std::size_t>(c_.outputs));
    pack(w, sums.empty() ? nullptr : sums.data());
    if (!sums.empty()) add_offsets(sums, x_map, w_map);
  }
  const char* kernel_name() const { return form_.k.name; }

  /// Adds the totals of the sums, where they are asked for, while these are in the cache.
  void operator()(const std::uint8_t* x, std::int32_t* y, ChannelTotal* totals = nullptr) const {
    std::mutex mutex;
    for_each_task(x, totals ? TotalsCounter::bytes(c_.outputs) : 0,
                  [&](const DirectTasks::Task& task, const Input& in, std::byte* memory) {
                    std::int32_t* const to = y + task.image * c_.y_image;
                    multiply(in, task, {to, c_.y_image, c_.y_row, c_.y_step});
                    if (!totals) return;
                    const auto [first, last] = outputs_of(task);
                    TotalsCounter counter(memory, last - first, largest_);
                    for (std::int64_t i = 0; i < task.images; ++i)
                      counter.add(to + i * c_.y_image + task.first * c_.y_row + first, c_.y_step,
                                  (task.last - task.first) * phase().cols);
                    const std::lock_guard lock(mutex);
                    counter.add_to(totals + first);
                  });
  }

  /// Calls consume(SumsBlock) for blocks that cover all sums, from several threads at once; outputs count from
  /// `channel`.
  template <class Consume>
  void for_each_block(const std::uint8_t* x, std::int64_t channel, const Consume& consume) const {
    const std::int64_t step = tasks_.most_panels() * panels_.panel, row = phase().cols * step;
    const std::int64_t image = tasks_.rows() * row;
    for_each_task(x, tasks_.images() * image * static_cast<std::int64_t>(sizeof(std::int32_t)),
                  [&](const DirectTasks::Task& task, const Input& in, std::byte* memory) {
                    const auto [first, last] = outputs_of(task);
                    auto* const sums = reinterpret_cast<std::int32_t*>(memory);
                    multiply(in, task, {sums, image, row, step, task.first * row + first, true});
                    for (std::int64_t i = 0; i < task.images; ++i)
                      consume(SumsBlock{sums + i * image, step, task.image + i, task.first * phase().cols,
                                        (task.last - task.first) * phase().cols, channel + first, last - first});
                  });
  }
  /// Of the packed weights.
  std::int64_t bytes() const { return static_cast<std::int64_t>(packed_.size_bytes()); }

 private:
  // What a task reads: elements from `skipped` on of its first image, the distance of images, and the windows' terms.
  struct Input {
    const std::byte* x;
    std::int64_t skipped, image;
    const std::int32_t* windows;
  };

  // Where sums go: from `skipped` sums on. Where the pixels have room for whole vectors, those are written: the sums of
  // outputs that do not exist, too.
  struct Output {
    std::int32_t* y;
    std::int64_t image, row, step;
    std::int64_t skipped = 0;
    bool has_room = false;
  };

  std::pair<std::int64_t, std::int64_t> outputs_of(const DirectTasks::Task& task) const {
    return {task.first_panel * panels_.panel, std::min(task.last_panel * panels_.panel, c_.outputs)};
  }

  // Calls call(rows, cols) for the pairs of spans whose pixels see the same taps; in a frame all pixels do.
  template <class Call>
  void for_each_pair(const Call& call) const {
    if (!frame_) spans_.for_each_pair([&](const TapSpan& rows, const TapSpan& cols, std::size_t) { call(rows, cols); });
  }
  // What tasks copy, where they copy it with the code of zero around it: for kernels that like lines, where there is such
  // a code, and it is 0 or the sums of windows, which know no other, are not asked for.
  static std::optional<Frame> frame_of(const Correlation& c, const AffineCodes& x_map, const WeightForm& form) {
    const std::int64_t pad = x_map.zero_point / x_map.step;
    if (!form.k.takes_lines || reads_inside(c) || x_map.zero_point % x_map.step != 0 || pad < 0 || pad > 255 ||
        (pad != 0 && form.offset != 0))
      return std::nullopt;
    const Frame frame(c);
    return frame.is_tight(c) ? std::optional(frame) : std::nullopt;
  }

  // Calls body(task, Input, memory), `bytes` of memory that are its own, for all tasks on several threads.
  template <class Body>
  void for_each_task(const std::uint8_t* x, std::int64_t bytes, const Body& body) const {
    const std::int64_t image = codes_.in_rows * codes_.in_cols * codes_.in_step;
    const std::int64_t copies = frame_             ? tasks_.images() * frame_bytes(tasks_.rows())
                                : reads_in_place() ? 0
                                                   : form_.x_planes * plane_bytes();
    const std::int64_t copy_bytes = ceil_div(copies, 64) * 64;
    const std::int64_t terms = windows_ ? tasks_.images() * tasks_.rows() * phase().cols : 0;
    const std::int64_t sums = windows_ ? windows_->scratch() : 0;
    const std::int64_t window_bytes =
        ceil_div((terms + sums) * static_cast<std::int64_t>(sizeof(std::int32_t)), 64) * 64;
    parallel_for_scratch<std::byte>(tasks_.count(), copy_bytes + window_bytes + bytes,
                                    [&](std::int64_t index, std::byte* scratch) {
                                      const DirectTasks::Task task = tasks_[index];
                                      const std::uint8_t* const codes = x + task.image * image;
                                      Input in{reinterpret_cast<const std::byte*>(codes), 0, image, nullptr};
                                      if (frame_)
                                        in = copy_frame(codes, task, scratch);
                                      else if (!reads_in_place())
                                        in = copy(codes, task, scratch);
                                      if (windows_) {
                                        auto* const windows = reinterpret_cast<std::int32_t*>(scratch + copy_bytes);
                                        const std::int64_t of_image = (task.last - task.first) * phase().cols;
                                        for (std::int64_t i = 0; i < task.images; ++i)
                                          (*windows_)(codes + i * image, task.first, task.last, wrapped(form_.offset),
                                                      windows + terms, windows + i * of_image);
                                        in.windows = windows;
                                      }
                                      body(task, in, scratch + copy_bytes + window_bytes);
                                      if (form_.k.release) form_.k.release();
                                    });
  }

  static std::int32_t wrapped(std::int64_t v) { return static_cast<std::int32_t>(static_cast<std::uint32_t>(v)); }
  static bool is_in_place(const IntegerKernels& k, std::int64_t channels) {
    return k.element_bytes == 1 && k.element_codes == 1 && channels % 4 == 0;
  }
  // Channels and weights counted in elements; pixels as far apart as in the copy, if there is one.
  static Correlation in_elements(Correlation c, const IntegerKernels& k) {
    if (is_in_place(k, c.channels)) return c;
    const std::int64_t codes = c.channels;
    c.channels = ceil_div(codes, k.element_codes);
    c.w_output = c.w_output / codes * c.channels;
    c.in_step = ceil_div(c.channels, 4) * 4;
    for (Phase& phase : c.phases)
      for (Tap& tap : phase.taps) tap.weight = tap.weight / codes * c.channels;
    return c;
  }
  const Phase& phase() const { return c_.phases[0]; }
  bool reads_in_place() const { return is_in_place(form_.k, codes_.channels); }
  std::int64_t padded_channels() const { return ceil_div(c_.channels, 4) * 4; }
  // Of one plane, and of all.
  std::int64_t plane_rows() const { return static_cast<std::int64_t>(phase().taps.size()) * padded_channels(); }
  std::int64_t packed_rows() const { return form_.w_planes * plane_rows(); }
  std::int64_t row_bytes() const { return c_.in_cols * c_.in_step * form_.k.element_bytes; }
  std::int64_t plane_bytes() const { return tasks_.images() * c_.most_input_rows(tasks_.rows()) * row_bytes(); }

  Input copy(const std::uint8_t* codes, const DirectTasks::Task& task, std::byte* to) const {
    const auto [first, last] = c_.input_rows(task.first, task.last);
    const std::int64_t rows = last - first;
    for (std::int64_t i = 0; i < task.images; ++i)
      for (std::int64_t plane = 0; plane < form_.x_planes; ++plane)
        form_.k.elements({codes + (i * c_.in_rows + first) * c_.in_cols * codes_.in_step, codes_.in_step,
                          rows * c_.in_cols, codes_.channels, c_.in_step,
                          to + plane * plane_bytes() + i * rows * row_bytes(), static_cast<int>(plane)});
    return {to, first * c_.in_cols * c_.in_step, rows * c_.in_cols * c_.in_step, nullptr};
  }

  // Of one image.
  std::int64_t frame_bytes(std::int64_t rows) const {
    return frame_->rows(c_, rows) * frame_->cols * padded_channels();
  }
  Input copy_frame(const std::uint8_t* codes, const DirectTasks::Task& task, std::byte* to) const {
    const std::int64_t image = frame_bytes(task.last - task.first), pixel = padded_channels();
    for (std::int64_t n = 0; n < task.images; ++n) {
      const auto pad = [&](std::int64_t at, std::int64_t count) {
        std::fill_n(to + n * image + at * pixel, count * pixel, std::byte{pad_});
      };
      const auto copy = [&](std::int64_t at, std::int64_t row, std::int64_t col, std::int64_t count) {
        form_.k.elements({codes + ((n * c_.in_rows + row) * c_.in_cols + col) * codes_.in_step, codes_.in_step, count,
                          codes_.channels, pixel, to + n * image + at * pixel, 0});
      };
      frame_->for_each_row(c_, task.first, task.last, pad, copy);
    }
    return {to, 0, image, nullptr};
  }

  // All pairs of planes, the highest first: their sums are doubled on the way until they count as much as they should.
  PoolVector<PlanePair> plane_pairs() const {
    PoolVector<PlanePair> pairs;
    for (std::int64_t power = form_.x_planes + form_.w_planes - 2; power >= 0; --power) {
      bool doubles = power < form_.x_planes + form_.w_planes - 2;
      for (std::int64_t plane = 0; plane < form_.x_planes; ++plane) {
        if (power - plane < 0 || power - plane >= form_.w_planes) continue;
        pairs.push_back({plane * plane_bytes(), (power - plane) * plane_rows(), doubles});
        doubles = false;
      }
    }
    return pairs;
  }
  // A panel's codes stay in the cache on their way. With the taps' sums of codes, where asked for.
  void pack(const CodesReader& w, std::int32_t* sums) {
    const std::int64_t row = codes_.w_output, codes = ceil_div(std::min(panels_.panel, c_.outputs) * row + 8, 64) * 64;
    const std::int64_t bits = form_.is_of_bits() ? std::min(panels_.panel, c_.outputs) * c_.w_output : 0;
    parallel_for_scratch<std::uint8_t>(panels_.count(), codes + bits, [&](std::int64_t p, std::uint8_t* scratch) {
      const std::int64_t first = p * panels_.panel, valid = panels_.valid(p);
      const std::uint8_t* const from = w(first * row, valid * row, scratch);
      for (std::size_t t = 0; sums && t < phase().taps.size(); ++t)
        kernels::active().codes.sum_pixels({from + codes_.phases[0].taps[t].weight, row, codes_.channels, valid,
                                            sums + static_cast<std::int64_t>(t) * c_.outputs + first});
      if (!form_.is_of_bits()) return pack_panel(from, p, 0, form_.step, form_.shift);
      for (std::int64_t plane = 0; plane < form_.w_planes; ++plane) {
        const std::int64_t runs = valid * c_.w_output / c_.channels;
        form_.k.elements({from, codes_.channels, runs, codes_.channels, c_.channels,
                          reinterpret_cast<std::byte*>(scratch + codes), static_cast<int>(plane)});
        pack_panel(scratch + codes, p, plane, 1, 0);
      }
    });
  }

  // As [tap][unit of channels][width of the panel], channels padded with zeros to a multiple of 4. `codes` are those of
  // the panel's outputs, or the bits of a plane.
  void pack_panel(const std::uint8_t* codes, std::int64_t p, std::int64_t plane, std::int64_t step,
                  std::int64_t shift) {
    const std::int64_t width = panels_.width(p), bytes = form_.k.element_bytes;
    const auto kernel = bytes == 1 ? kernels::active().codes.pack_bytes : kernels::active().codes.pack_words;
    kernels::PackWeightsArgs a{codes,
                               c_.w_output,
                               panels_.valid(p),
                               c_.channels,
                               static_cast<int>(step),
                               static_cast<int>(shift),
                               static_cast<std::byte*>(packed_.data()) +
                                   (p * panels_.panel * packed_rows() + plane * plane_rows() * width) * bytes,
                               width,
                               padded_channels()};
    if (c_.channels == padded_channels() && c_.w_output == plane_rows()) {  // all taps follow each other on both sides
      a.channels = a.padded = plane_rows();
      return kernel(a);
    }
    for (const Tap& tap : phase().taps) {
      a.codes = codes + tap.weight;
      kernel(a);
      a.panel += a.padded * width * bytes;
    }
  }

  // −za · Σ W over the taps of every pair of spans, and form_.weights · Σ c: [row span][column
  // span][output, up to whole vectors].
  void add_offsets(std::span<const std::int32_t> sums, const AffineCodes& x_map, const AffineCodes& w_map) {
    const std::int64_t za = x_map.zero_point;
    PoolVector<std::int64_t> of_tap(sums.size());
    for (std::size_t i = 0; i < sums.size(); ++i)
      of_tap[i] =
          form_.weights * sums[i] - za * (std::int64_t{w_map.step} * sums[i] - codes_.channels * w_map.zero_point);
    const auto of_taps = [&](const auto& for_each_tap) {
      for (std::int64_t o = 0; o < panels_.total(); ++o) {
        std::int64_t sum = 0;
        if (o < c_.outputs)
          for_each_tap([&](std::int64_t t) { sum += of_tap[static_cast<std::size_t>(t * c_.outputs + o)]; });
        offsets_.push_back(wrapped(sum));
      }
    };
    if (frame_)
      of_taps([&](const auto& call) {
        for (std::int64_t t = 0; t < std::ssize(phase().taps); ++t) call(t);
      });
    for_each_pair([&](const TapSpan& rows, const TapSpan& cols) {
      of_taps([&](const auto& call) {
        spans_.for_each_tap(phase(), rows, cols, [&](std::int64_t t, const Tap&) { call(t); });
      });
    });
  }

  void multiply_frame(const Input& in, const DirectTasks::Task& task, const Output& out) const {
    const std::int64_t pixel = padded_channels(), rows = task.last - task.first, row = frame_->cols * pixel;
    const FrameLines lines({phase().cols, c_.stride_w * pixel, out.step, 1},
                           {rows, c_.stride_h * row, out.row, phase().cols},
                           {task.images, in.image, out.image, rows * phase().cols});
    const Runs& runs = runs_[0];
    std::int32_t* const y = out.y + task.first * out.row - out.skipped;
    for (std::int64_t p = task.first_panel; p < task.last_panel; ++p) {
      for (std::size_t r = 0; r < runs.count(); ++r) {
        const Runs::Part part = runs.whole(r);
        for (std::int64_t n = 0; n < lines.outer.count; ++n)
          form_.k.product({.x = in.x + n * lines.outer.x,
                           .x_step = lines.pixels.x,
                           .pixels = lines.pixels.count,
                           .segments = part.data(),
                           .segment_count = std::ssize(part),
                           .w = static_cast<const std::byte*>(packed_.data()) + p * panels_.panel * packed_rows(),
                           .width = panels_.width(p),
                           .outputs = out.has_room ? panels_.width(p) : panels_.valid(p),
                           .y = y + n * lines.outer.y + p * panels_.panel,
                           .y_step = lines.pixels.y,
                           .accumulate = r > 0,
                           .factor = factor_,
                           .initial = r == 0 && !offsets_.empty() ? offsets_.data() + p * panels_.panel : nullptr,
                           .pixel_terms = r == 0 && in.windows ? in.windows + n * lines.outer.pixel : nullptr,
                           .pixel_terms_step = lines.pixels.pixel,
                           .lines = lines.of_product(),
                           .pixel_terms_line = lines.lines.pixel});
      }
    }
  }

  void multiply(const Input& in, const DirectTasks::Task& task, const Output& out) const {
    if (frame_) return multiply_frame(in, task, out);
    const std::int64_t bytes = form_.k.element_bytes;
    for (std::int64_t p = task.first_panel; p < task.last_panel; ++p) {
      const std::byte* const w =
          static_cast<const std::byte*>(packed_.data()) + p * panels_.panel * packed_rows() * bytes;
      const auto of_pair = [&](const TapSpan& rows, const TapSpan& cols, std::size_t pair) {
        const Runs& runs = runs_[pair];
        const std::int32_t* const offsets =
            offsets_.empty() ? nullptr
                             : offsets_.data() + static_cast<std::int64_t>(pair) * panels_.total() + p * panels_.panel;
        const std::int64_t first_pixel = task.first * phase().cols;
        for (std::size_t r = 0; r < runs.count(); ++r) {
          const Runs::Part part = runs.whole(r);
          const auto of_line = [&](const Line& line) {
            form_.k.product({.x = in.x + (line.x - in.skipped) * bytes,
                             .x_step = line.x_step * bytes,
                             .pixels = line.pixels,
                             .segments = part.data(),
                             .segment_count = std::ssize(part),
                             .w = w,
                             .width = panels_.width(p),
                             .outputs = out.has_room ? panels_.width(p) : panels_.valid(p),
                             .y = out.y + (line.y + p * panels_.panel - out.skipped),
                             .y_step = line.y_step,
                             .accumulate = r > 0,
                             .factor = factor_,
                             .initial = r == 0 ? offsets : nullptr,
                             .pixel_terms = r == 0 && in.windows ? in.windows + line.pixel - first_pixel : nullptr,
                             .pixel_terms_step = line.pixel_step});
          };
          for_each_line(c_, phase(), rows, cols, task.images, in.image, task.last - task.first, of_line,
                        LineOutput{out.image, out.row, out.step});
        }
      };
      spans_.for_each_pair(task.first, task.last, of_pair);
    }
  }

  WeightForm form_;
  Correlation codes_, c_;  // counted in codes, and in elements
  Panels panels_;
  TapSpans spans_;
  DirectTasks tasks_;
  std::optional<Frame> frame_;  // of what tasks copy, where they copy what lies around an image, too
  std::uint8_t pad_;            // the code of zero, there
  std::int32_t factor_;
  std::int64_t largest_;
  std::optional<WindowSums> windows_;  // where the form asks for Σ a
  PoolVector<Runs> runs_;              // [row span][column span], or one for all
  Buffer packed_;
  PoolVector<std::int32_t> offsets_;
};

}  // namespace detail
}  // namespace ops
}  // namespace v0
}  // namespace spnet
