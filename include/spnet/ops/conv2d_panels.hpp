// How the outputs and the weights of a convolution are cut into panels and runs, and packed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <utility>

#include "spnet/core/memory.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/weight_reader.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

namespace detail {

using kernels::kBlock;
using kernels::Segment;

/// At least this many tasks where the work allows: by size alone, so that results do not depend on the threads.
inline constexpr std::int64_t kLeastTasks = 8;
/// Weights that a run of products reads again and again: they stay in the second-level cache (cutting them further, for
/// the first level, costs more in partial sums than it gains).
inline constexpr std::int64_t kRunFloats = 64 * 1024;
/// Whether sums over weights [O,kH,kW,C/groups] may be cut into parts, which engines do at places of their own.
inline bool cuts_sums(const Shape& w) { return w[1] * w[2] * w[3] * kernels::active().conv.panel > kRunFloats; }
/// Bytes of weights of one task: they stay in the second-level cache from image to image.
inline constexpr std::int64_t kGroupBytes = 512 * 1024;

/// True of so many bytes of weights that other layers' have driven them out of the second-level cache.
constexpr bool come_from_afar(std::int64_t bytes) { return bytes > kGroupBytes / 2; }

/// How outputs are cut into panels for one table: as many full panels as fit, then a narrower one.
struct Panels {
  std::int64_t panel, lanes, outputs;

  template <class Kernels>
  Panels(const Kernels& k, std::int64_t count) : panel(k.panel), lanes(k.lanes), outputs(count) {}
  std::int64_t count() const { return ceil_div(outputs, panel); }
  std::int64_t valid(std::int64_t p) const { return std::min(panel, outputs - p * panel); }
  /// Outputs of the panels [first, last).
  std::int64_t between(std::int64_t first, std::int64_t last) const {
    return std::min(last * panel, outputs) - first * panel;
  }
  std::int64_t width(std::int64_t p) const { return ceil_div(valid(p), lanes) * lanes; }
  /// Floats of a row of weights, over all panels.
  std::int64_t total() const { return ceil_div(outputs, lanes) * lanes; }
};

/// The weights of a panel's outputs, numbered from the first output's first weight on.
struct PanelSource {
  kernels::PackFloatsArgs form{};  ///< where an output's weights follow each other
  // Else:
  const float* memory = nullptr;  ///< where they lie; null where they are read
  const WeightReader* reader = nullptr;
  std::int64_t begin = 0;

  /// The `count` from number `at` on, perhaps in `scratch`.
  const float* row(std::int64_t at, std::int64_t count, float* scratch) const {
    return memory ? memory + at : reader->values(begin + at, count, scratch);
  }
};

/// The weights of one group: where they lie, or from number `begin` on as they are read, a panel at a time.
class WeightSource {
 public:
  WeightSource(const float* w) : memory_(w) {}
  WeightSource(const WeightReader& reader, std::int64_t begin = 0)
      : memory_(reader.in_memory() ? reader.in_memory() + begin : nullptr), reader_(&reader), begin_(begin) {}
  /// Those from number `count` on.
  WeightSource operator+(std::int64_t count) const {
    return memory_ ? WeightSource(memory_ + count) : WeightSource(*reader_, begin_ + count);
  }

  /// Where they lie; null where they are read.
  const float* memory() const { return memory_; }
  /// Floats of scratch for a panel of `outputs`.
  std::int64_t scratch(const Correlation& c, std::int64_t outputs) const {
    constexpr std::int64_t kFloat = sizeof(float);
    return memory_ || c.w_output == 1 ? 0 : ceil_div(reader_->form_bytes(outputs, c.w_output), kFloat);
  }
  /// Of the `count` outputs from `first` on. Read all at once where those of an output follow each other, else by and by.
  PanelSource panel(const Correlation& c, std::int64_t first, std::int64_t count, float* scratch) const {
    const std::int64_t begin = first * c.w_output;
    if (c.w_output == 1) return {{}, memory_ ? memory_ + begin : nullptr, reader_, begin_ + begin};
    if (!memory_) return {reader_->form(begin_ + begin, count, c.w_output, reinterpret_cast<std::byte*>(scratch))};
    PanelSource out;
    out.form.floats = memory_ + begin;
    out.form.row = c.w_output;
    out.form.outputs = count;
    return out;
  }
  /// The first `count` of all.
  const float* all(std::int64_t count, float* scratch) const {
    return memory_ ? memory_ : reader_->values(begin_, count, scratch);
  }

 private:
  const float* memory_ = nullptr;
  const WeightReader* reader_ = nullptr;
  std::int64_t begin_ = 0;
};

/// Packs the weights w[channel * w_channel + output * w_output] of `channels` of a tap and `valid` outputs as
/// [channel][width of the panel]; one of the two steps is 1.
inline void pack_tap(const Correlation& c, const Tap& tap, std::int64_t channels, const PanelSource& w,
                     std::int64_t valid, std::int64_t width, float* to, bool stream = false) {
  if (c.w_output == 1) {
    for (std::int64_t channel = 0; channel < channels; ++channel, to += width) {
      const float* const row = w.row(tap.weight + channel * c.w_channel, valid, to);
      if (row != to) std::copy_n(row, valid, to);
      std::fill_n(to + valid, width - valid, 0.0f);
    }
    return;
  }
  kernels::PackFloatsArgs args = w.form;
  if (args.floats) args.floats += tap.weight;
  if (args.codes) args.codes += tap.weight;
  args.channels = channels;
  args.panel = to;
  args.width = width;
  args.stream = stream;
  kernels::active().codes.pack_floats(args);
}
/// Those of every tap, as [tap][channel][width of the panel].
inline void pack_panel(const Correlation& c, const Phase& phase, const PanelSource& w, std::int64_t valid,
                       std::int64_t width, float* to, bool stream = false) {
  for (const Tap& tap : phase.taps) {
    pack_tap(c, tap, c.channels, w, valid, width, to, stream);
    to += c.channels * width;
  }
}

/// One bit of every code and one of every weight: where their planes begin, in the terms of a segment, and whether what was
/// counted before is doubled.
struct PlanePair {
  std::int64_t offset, weights;
  bool doubles;
};

/// Segments of a phase in the order of its weights, those of neighbouring channels `step` apart, cut into runs of at most
/// `limit` weights.
class Runs {
 public:
  using Part = std::span<const Segment>;

  explicit Runs(std::int64_t limit = kRunFloats, std::int64_t step = 1) : limit_(limit), step_(step) {}

  /// A segment of a tap at `row`; rows come in ascending order.
  void add(std::int64_t row, const Segment& segment, std::int64_t width) {
    const std::int64_t largest = std::min<std::int64_t>(64, limit_ / width);
    for (std::int64_t at = 0; at < segment.channels; at += largest) {
      const std::int64_t piece = std::min(largest, segment.channels - at);
      if (begins_.empty() || (in_run_ + piece) * width > limit_) {
        begins_.push_back(segments_.size());
        in_run_ = 0;
      }
      add_piece(row, {segment.offset + at, piece, segment.weights + at * step_});
      in_run_ += piece;
    }
  }
  void finish() {
    if (begins_.empty()) begins_.push_back(0);
    begins_.push_back(segments_.size());
  }
  /// Repeats every run for each pair of planes; what is left of it is `whole`.
  void repeat(std::span<const PlanePair> pairs) {
    const Runs once = std::move(*this);
    *this = Runs(limit_, step_);
    for (std::size_t r = 0; r < once.count(); ++r) {
      begins_.push_back(segments_.size());
      for (const PlanePair& pair : pairs) {
        bool doubles = pair.doubles;
        for (const Segment& s : once.whole(r)) {
          segments_.push_back({s.offset + pair.offset, s.channels, s.weights + pair.weights, doubles});
          doubles = false;
        }
      }
    }
    begins_.push_back(segments_.size());
  }
  std::size_t count() const { return begins_.size() - 1; }
  /// All of run `r`.
  Part whole(std::size_t r) const { return {segments_.data() + begins_[r], segments_.data() + begins_[r + 1]}; }
  /// Run `r` without the taps above and below an image of `in_rows` rows, for outputs whose taps count from row `at`: where
  /// only zeros are read, nothing needs to be multiplied.
  Part inside(std::size_t r, std::int64_t at, std::int64_t in_rows) const {
    std::size_t begin = begins_[r], end = begins_[r + 1];
    while (begin < end && at + rows_[begin] < 0) ++begin;
    while (begin < end && at + rows_[end - 1] >= in_rows) --end;
    return {segments_.data() + begin, segments_.data() + end};
  }

 private:
  // Lengthens the last segment of the run where it can.
  void add_piece(std::int64_t row, const Segment& piece) {
    if (segments_.size() > begins_.back() && rows_.back() == row) {
      Segment& last = segments_.back();
      if (last.offset + last.channels == piece.offset && last.weights + last.channels * step_ == piece.weights) {
        last.channels += piece.channels;
        return;
      }
    }
    segments_.push_back(piece);
    rows_.push_back(row);
  }

  std::int64_t limit_, step_, in_run_ = 0;  // channels of the last run
  PoolVector<Segment> segments_;
  PoolVector<std::int64_t> rows_;   // of each segment's tap
  PoolVector<std::size_t> begins_;  // of the runs, and the end
};

/// Pixels for which packing pays: fewer read their weights where they lie, if that is in rows of outputs.
inline constexpr std::int64_t kPackedPixels = 256;

/// The weights of all phases of a convolution of floats, packed for one table as [tap][channel][width of the panel]; or,
/// of few pixels, where they lie: such are good for one call, while w is there.
class PhaseWeights {
 public:
  PhaseWeights(const Correlation& c, const Panels& panels, const WeightSource& w)
      : panels_(panels), channels_(c.channels), w_channel_(c.w_channel) {
    if (w.memory() && c.w_output == 1 && c.channels % kBlock == 0 && c.outputs % panels.lanes == 0 &&
        c.batch * c.phases[0].rows * c.phases[0].cols <= kPackedPixels) {
      in_place_ = w.memory();
      for (const Phase& phase : c.phases)
        bytes_ += std::ssize(phase.taps) * channels_ * c.outputs * static_cast<std::int64_t>(sizeof(float));
      return;
    }
    std::int64_t floats = 0;
    for (const Phase& phase : c.phases) {
      starts_.push_back(floats);
      rows_.push_back(static_cast<std::int64_t>(phase.taps.size()) * channels_);
      floats += rows_.back() * panels.total();
    }
    bytes_ = floats * static_cast<std::int64_t>(sizeof(float));
    packed_ = Buffer(static_cast<std::size_t>(bytes_));
    auto* const to = static_cast<float*>(packed_.data());
    const bool stream = come_from_afar(bytes_);  // as they will when they are read
    const auto pack = [&](std::int64_t task, float* scratch) {
      const auto i = static_cast<std::size_t>(task / panels.count());
      const std::int64_t p = task % panels.count(), first = p * panels_.panel, valid = panels_.valid(p);
      pack_panel(c, c.phases[i], w.panel(c, first, valid, scratch), valid, panels_.width(p),
                 to + starts_[i] + first * rows_[i], stream);
      if (stream) kernels::fence_streams();
    };
    const std::int64_t tasks = std::ssize(c.phases) * panels.count();
    const std::int64_t scratch = w.scratch(c, std::min(panels.panel, c.outputs));
    if (floats < 16 * 1024) {
      const Buffer buffer(static_cast<std::size_t>(scratch) * sizeof(float));
      for (std::int64_t task = 0; task < tasks; ++task) pack(task, static_cast<float*>(buffer.data()));
    } else {
      parallel_for_scratch<float>(tasks, scratch, pack);
    }
  }
  kernels::PanelWeights panel(std::size_t phase, std::int64_t p) const {
    if (in_place_) return {in_place_ + p * panels_.panel, 1, w_channel_};
    const auto* const packed = static_cast<const float*>(packed_.data());
    return {packed + starts_[phase] + p * panels_.panel * rows_[phase], panels_.width(p), panels_.width(p)};
  }
  /// Where the weights of tap number t begin, and how far the next channel's, in units of PanelWeights.
  std::int64_t of_tap(std::int64_t t, const Tap& tap) const { return in_place_ ? tap.weight : t * channels_; }
  std::int64_t step() const { return in_place_ ? w_channel_ : 1; }
  std::int64_t bytes() const { return bytes_; }
  /// Whether panels are to follow each other from beyond the second-level cache: see ProductArgs::next.
  bool follow() const { return !in_place_ && come_from_afar(bytes_); }

 private:
  Panels panels_;
  std::int64_t channels_, w_channel_, bytes_ = 0;
  const float* in_place_ = nullptr;
  PoolVector<std::int64_t> starts_, rows_;  // of each phase
  Buffer packed_;
};

}  // namespace detail
}  // namespace ops
}  // namespace v0
}  // namespace spnet
