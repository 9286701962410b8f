// How redundant a low-precision filter is.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <numeric>
#include <string>
#include <vector>

#include "spnet/core/random.hpp"
#include "spnet/nn/quantized_layer.hpp"
#include "spnet/prune/channel_masks.hpp"

namespace spnet {
inline namespace v0 {
namespace prune {

/// Between a latent kernel w and the quantized w_q: the angle arccos(⟨w,w_q⟩/(‖w‖·‖w_q‖)), π/2 where one is zero, or
/// the distance ‖w − w_q‖² (arXiv 2002.00523). At 1 bit the angle is arccos(‖w‖₁/(‖w‖₂·√n)), n the number of taps.
enum class Measure { kAngle, kDistance };
/// Which kernels a channel is measured by: the filters that make it, or those slices of the next layers' filters that
/// read it.
enum class Kernels { kOwn, kNext };
/// Which channels go first.
enum class Order { kLargest, kSmallest, kRandom };

struct CriterionOptions {
  Measure measure = Measure::kAngle;
  Kernels kernels = Kernels::kNext;
  Order order = Order::kLargest;
  std::uint64_t seed = 1;  ///< of Order::kRandom
};

namespace detail {

// Of `count` taps, `stride` elements apart.
inline double measure(Measure kind, const float* w, const float* q, std::int64_t count, std::int64_t stride) {
  double ww = 0, qq = 0, wq = 0, distance = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto a = static_cast<double>(w[i * stride]), b = static_cast<double>(q[i * stride]);
    ww += a * a;
    qq += b * b;
    wq += a * b;
    distance += (a - b) * (a - b);
  }
  if (kind == Measure::kDistance) return distance;
  if (ww == 0 || qq == 0) return std::numbers::pi / 2;
  return std::acos(std::clamp(wq / std::sqrt(ww * qq), -1.0, 1.0));
}

// A weight [O,kH,kW,I] or [O,I] as [outputs, taps, inputs].
struct WeightDims {
  explicit WeightDims(const Shape& shape) : outputs(shape[0]), inputs(shape.back()), taps(1) {
    for (int i = 1; i + 1 < shape.rank(); ++i) taps *= shape[i];
  }
  std::int64_t outputs, inputs, taps;
};

// The mean over the kernels of position `at` along `axis`. Kernels of one tap, which have no direction, have their
// angle taken together [ours].
inline double mean_measure(Measure kind, const Tensor<float>& w, const Tensor<float>& q, int axis, std::int64_t at) {
  const WeightDims d(w.shape());
  const bool filter = axis == 0;
  const std::int64_t kernels = filter ? d.inputs : d.outputs;
  const std::int64_t kernel_stride = filter ? 1 : d.taps * d.inputs;
  const std::int64_t begin = filter ? at * d.taps * d.inputs : at;
  if (d.taps == 1) {
    const double joint = measure(kind, w.data() + begin, q.data() + begin, kernels, kernel_stride);
    return kind == Measure::kDistance ? joint / static_cast<double>(kernels) : joint;
  }
  double sum = 0;
  for (std::int64_t k = 0; k < kernels; ++k)
    sum += measure(kind, w.data() + begin + k * kernel_stride, q.data() + begin + k * kernel_stride, d.taps, d.inputs);
  return sum / static_cast<double>(kernels);
}

}  // namespace detail

/// The redundancy of each channel of a group, none of which is masked: the mean over the kernels that
/// `options.kernels` names, over all layers that have such kernels and over all quantized widths among `switches`.
/// Where no quantized layer has such kernels (the next layer is float), those of the other kind count; empty where
/// there are none either. Depthwise filters count as both. `options.order` is not looked at.
inline std::vector<double> channel_scores(const ChannelGraph& graph, std::size_t group,
                                          const std::vector<Precision>& switches, const CriterionOptions& options) {
  const std::int64_t channels = graph.groups.at(group).channels;
  const auto scores_of = [&](Kernels kernels) {
    const ChannelRole role = kernels == Kernels::kOwn ? ChannelRole::kMakes : ChannelRole::kReads;
    std::vector<double> sums(static_cast<std::size_t>(channels), 0);
    int counted = 0;
    for (const ChannelTensor& tensor : graph.tensors) {
      auto* layer = dynamic_cast<nn::QuantizedLayer*>(tensor.module);
      if (!layer || !layer->is_quantized() || layer->weight().id() != tensor.parameter.id()) continue;
      for (const ChannelAxis& axis : tensor.axes) {
        if (axis.role != role && axis.role != ChannelRole::kFollows) continue;
        if (std::find(axis.groups.begin(), axis.groups.end(), group) == axis.groups.end()) continue;
        std::vector<int> widths;
        for (const Precision p : switches)
          if (const int bits = layer->stored_weight_bits(p);
              bits != kFloatBits && std::find(widths.begin(), widths.end(), bits) == widths.end())
            widths.push_back(bits);
        const Tensor<float> w = layer->weight().value().contiguous();
        for (const int bits : widths) {
          const Tensor<float> q = ops::decode(layer->weight_quantizer()->lower(w, bits, /*training=*/false));
          std::int64_t begin = 0;
          for (const std::size_t g : axis.groups) {
            if (g == group) {
              for (std::int64_t c = 0; c < channels; ++c)
                sums[static_cast<std::size_t>(c)] += detail::mean_measure(options.measure, w, q, axis.axis, begin + c);
              ++counted;
            }
            begin += graph.groups[g].channels;
          }
        }
      }
    }
    if (counted == 0) return std::vector<double>();
    for (double& s : sums) s /= counted;
    return sums;
  };
  std::vector<double> scores = scores_of(options.kernels);
  if (scores.empty()) scores = scores_of(options.kernels == Kernels::kOwn ? Kernels::kNext : Kernels::kOwn);
  return scores;
}

/// The channels of a group in the order in which they should go, from their scores.
inline Channels pruning_order(const std::vector<double>& scores, const CriterionOptions& options) {
  Channels order(scores.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const auto score = [&](std::int64_t c) { return scores[static_cast<std::size_t>(c)]; };
  if (options.order == Order::kRandom) {
    Random random(options.seed);
    for (std::size_t i = order.size(); i > 1; --i)
      std::swap(order[i - 1], order[random.below(static_cast<std::uint32_t>(i))]);
    return order;
  }
  const bool largest = options.order == Order::kLargest;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return largest ? score(a) > score(b) : score(a) < score(b); });
  return order;
}

/// The channels that stay, ascending, where the first `count` in the order go. Throws ValueError where there are fewer.
inline Channels kept_without(Channels order, std::int64_t count) {
  check<ValueError>(count >= 0 && count <= std::ssize(order), "prune: ", count, " channels are to go, there are ",
                    order.size());
  order.erase(order.begin(), order.begin() + count);
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace prune
}  // namespace v0
}  // namespace spnet
