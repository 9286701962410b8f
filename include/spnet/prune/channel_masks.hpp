// Masks on channels, and their removal for good.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "spnet/prune/channel_graph.hpp"

namespace spnet {
inline namespace v0 {
namespace prune {

/// Numbers of channels, ascending.
using Channels = std::vector<std::int64_t>;

namespace detail {

// Calls f(offset in the whole tensor, offset in the part, length) for all stretches of the part that keeps `kept` of an
// axis of `whole`.
template <class F>
void for_each_kept(const Shape& whole, int axis, std::span<const std::int64_t> kept, const F& f) {
  std::int64_t outer = 1, inner = 1;
  for (int i = 0; i < axis; ++i) outer *= whole[i];
  for (int i = axis + 1; i < whole.rank(); ++i) inner *= whole[i];
  std::int64_t at = 0;
  for (std::int64_t o = 0; o < outer; ++o)
    for (const std::int64_t k : kept) {
      f((o * whole[axis] + k) * inner, at, inner);
      at += inner;
    }
}

inline Tensor<float> gather(const Tensor<float>& whole, int axis, std::span<const std::int64_t> kept) {
  const Tensor<float> from = whole.contiguous();
  Shape shape = whole.shape();
  shape[axis] = static_cast<std::int64_t>(kept.size());
  Tensor<float> part(shape);
  for_each_kept(whole.shape(), axis, kept, [&](std::int64_t w, std::int64_t p, std::int64_t length) {
    std::copy_n(from.data() + w, length, part.data() + p);
  });
  return part;
}

inline void scatter(const Tensor<float>& part, int axis, std::span<const std::int64_t> kept, Tensor<float>& whole) {
  const Tensor<float> from = part.contiguous();
  for_each_kept(whole.shape(), axis, kept, [&](std::int64_t w, std::int64_t p, std::int64_t length) {
    std::copy_n(from.data() + p, length, whole.data() + w);
  });
}

}  // namespace detail

/// Masks on the channels of a network. A masked network computes with the channels that it keeps, and with nothing
/// else: its parameters and running statistics hold these alone, so that quantizers see what they will see after the
/// removal (ranges over a layer, codes that know no zero), and training costs less by what is masked. The others wait
/// here with the values they had, and come back where a later mask keeps them. `remove` forgets them: the outputs stay
/// the same, bit for bit. Optimizers are made after a mask has changed, as shapes have.
class ChannelMasks {
 public:
  explicit ChannelMasks(ChannelGraph graph) : graph_(std::move(graph)), whole_(graph_.tensors.size()) {
    for (const ChannelGroup& g : graph_.groups) kept_.push_back(all(g));
  }
  ChannelMasks(const ChannelMasks&) = delete;
  ChannelMasks& operator=(const ChannelMasks&) = delete;

  const ChannelGraph& graph() const { return graph_; }
  /// The channels of each group that are not masked.
  const std::vector<Channels>& kept() const { return kept_; }

  /// Keeps `kept[g]` of every group. Throws ValueError, with nothing changed, unless there is a list for each group,
  /// not empty, ascending, within its channels, and whole where the group has an obstacle.
  void keep(std::vector<Channels> kept) {
    check<ValueError>(kept.size() == graph_.groups.size(), "prune: ", kept.size(), " masks given, the network has ",
                      graph_.groups.size(), " groups of channels");
    for (std::size_t g = 0; g < kept.size(); ++g) require_mask(graph_.groups[g], kept[g]);
    for (std::size_t t = 0; t < whole_.size(); ++t) mask(t, kept);
    kept_ = std::move(kept);
  }
  /// Keeps these channels of one group, and what is kept of the others. Throws as `keep`.
  void keep(std::size_t group, Channels channels) {
    std::vector<Channels> kept = kept_;
    kept.at(group) = std::move(channels);
    keep(std::move(kept));
  }
  /// Takes all masks off.
  void keep_all() {
    std::vector<Channels> kept;
    for (const ChannelGroup& g : graph_.groups) kept.push_back(all(g));
    keep(std::move(kept));
  }

  /// Forgets what is masked: the network is now the smaller one, and the numbers of its channels begin anew.
  void remove() {
    for (auto& whole : whole_) whole = {};
    for (std::size_t g = 0; g < kept_.size(); ++g) {
      graph_.groups[g].channels = static_cast<std::int64_t>(kept_[g].size());
      kept_[g] = all(graph_.groups[g]);
    }
  }

 private:
  static Channels all(const ChannelGroup& group) {
    Channels out(static_cast<std::size_t>(group.channels));
    std::iota(out.begin(), out.end(), std::int64_t{0});
    return out;
  }
  static void require_mask(const ChannelGroup& group, const Channels& kept) {
    const auto count = static_cast<std::int64_t>(kept.size());
    check<ValueError>(count > 0, "prune: all ", group.channels, " channels of ", group.name,
                      " are to go; a layer keeps at least one");
    check<ValueError>(kept.front() >= 0 && kept.back() < group.channels &&
                          std::adjacent_find(kept.begin(), kept.end(), std::greater_equal<>()) == kept.end(),
                      "prune: the channels of ", group.name, " to keep are not ascending numbers within 0..",
                      group.channels - 1);
    check<ValueError>(group.obstacle.empty() || count == group.channels, "prune: channels of ", group.name,
                      " cannot be removed: ", group.obstacle);
  }

  // Along an axis, of the whole tensor.
  Channels positions(const ChannelAxis& axis, const std::vector<Channels>& kept) const {
    Channels out;
    std::int64_t begin = 0;
    for (const std::size_t g : axis.groups) {
      for (const std::int64_t c : kept[g]) out.push_back(begin + c);
      begin += graph_.groups[g].channels;
    }
    return out;
  }

  void mask(std::size_t t, const std::vector<Channels>& kept) {
    const ChannelTensor& tensor = graph_.tensors[t];
    const auto is_whole = [&](const std::vector<Channels>& k) {
      return std::all_of(tensor.axes.begin(), tensor.axes.end(), [&](const ChannelAxis& axis) {
        return std::all_of(axis.groups.begin(), axis.groups.end(), [&](std::size_t g) {
          return static_cast<std::int64_t>(k[g].size()) == graph_.groups[g].channels;
        });
      });
    };
    if (is_whole(kept) && is_whole(kept_)) return;
    Tensor<float>& value = tensor.value();
    Tensor<float>& whole = whole_[t];
    if (is_whole(kept_))
      whole = value;
    else
      restore(tensor, value, whole);
    Tensor<float> part = whole;
    if (is_whole(kept))
      whole = {};
    else
      for (const ChannelAxis& axis : tensor.axes) part = detail::gather(part, axis.axis, positions(axis, kept));
    value = part;
    if (tensor.parameter.defined()) Variable<float>(tensor.parameter).zero_grad();
  }
  // Writes the values of the masked tensor to the whole one.
  void restore(const ChannelTensor& tensor, const Tensor<float>& value, Tensor<float>& whole) const {
    // From the last axis gathered to the first: each has the axes before it narrow.
    std::vector<Tensor<float>> parts{whole};
    for (const ChannelAxis& axis : tensor.axes)
      parts.push_back(detail::gather(parts.back(), axis.axis, positions(axis, kept_)));
    parts.back() = value;
    for (std::size_t i = tensor.axes.size(); i-- > 0;)
      detail::scatter(parts[i + 1], tensor.axes[i].axis, positions(tensor.axes[i], kept_), parts[i]);
    whole = parts.front();
  }

  ChannelGraph graph_;
  std::vector<Channels> kept_;
  std::vector<Tensor<float>> whole_;  // of tensors that are masked; the others are undefined
};

}  // namespace prune
}  // namespace v0
}  // namespace spnet
