// What each layer of a network in training would cost at each pair of widths.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "spnet/autograd/conv.hpp"
#include "spnet/nn/size.hpp"
#include "spnet/pack/trace.hpp"
#include "spnet/runtime/graph_check.hpp"
#include "spnet/search/architecture.hpp"
#include "spnet/search/cost_table.hpp"

namespace spnet {
inline namespace v0 {
namespace search {

/// A layer's share in one inference of one image.
struct LayerWork {
  double weights = 0;          ///< elements of its weight
  double inputs = 0;           ///< elements of its input
  double multiplications = 0;
};

/// The work of `architecture.layers()` for images of shape `image` [H,W,C], found by following the network, which is
/// left in evaluation mode at what is decided or likeliest. A layer that is called twice counts twice. Throws
/// ValueError, naming the layer, where one is not called.
inline std::vector<LayerWork> layer_work(nn::Module& model, Architecture& architecture, const Shape& image) {
  architecture.apply_choice();
  const auto& layers = architecture.layers();
  const pack::Trace trace =
      pack::Trace::of(model, Variable<float>(Tensor<float>::zeros(runtime::detail::with_batch(image))));
  std::vector<LayerWork> work(layers.size());
  for (const pack::TracedCall& call : trace.calls()) {
    if (!call.as<traced::Conv2d>() && !call.as<traced::Linear>()) continue;
    const pack::TracedCall* made = trace.call_of(call.inputs[1]);
    const Variable<float>& weight = made && made->as<traced::Quantize>() ? made->inputs[0] : call.inputs[1];
    for (std::size_t l = 0; l < layers.size(); ++l) {
      if (layers[l].layer->weight().id() != weight.id()) continue;
      work[l].weights = static_cast<double>(weight.size());
      work[l].inputs += static_cast<double>(call.inputs[0].size());
      // Each output takes the weights of one filter.
      work[l].multiplications += static_cast<double>(call.output.size()) * work[l].weights / static_cast<double>(weight.dim(0));
    }
  }
  for (std::size_t l = 0; l < layers.size(); ++l)
    check<ValueError>(work[l].multiplications > 0, "search: layer ", layers[l].name, " takes no part in the network");
  return work;
}

/// The table of a cost of layer and precision, for all pairs of candidates.
inline CostTable pair_table(const Candidates& candidates, std::size_t layers,
                            const std::function<double(std::size_t, Precision)>& cost, double fixed = 0) {
  CostTable table{{}, fixed};
  for (std::size_t l = 0; l < layers; ++l) {
    auto& layer = table.layers.emplace_back();
    for (const Precision p : candidates.pairs()) layer.push_back(cost(l, p));
  }
  return table;
}

/// Bits of the model by the size rule of nn::model_size_bits.
inline CostTable size_bits_table(const nn::Module& model, const Architecture& architecture) {
  double fixed = static_cast<double>(nn::model_size_bits(model, {}));
  for (const nn::NamedLayer& l : architecture.layers())
    fixed -= static_cast<double>(l.layer->weight().size() * l.layer->precision().weight_bits);
  return pair_table(
      architecture.candidates(), architecture.layers().size(),
      [&](std::size_t l, Precision p) {
        return static_cast<double>(architecture.layers()[l].layer->weight().size() * p.weight_bits);
      },
      fixed);
}
/// Bit operations of one image, Σ multiplications · weight bits · activation bits over the layers that are searched, a
/// float counting as 32 bits (runtime::Cost counts products with a float apart).
inline CostTable bit_operations_table(const Candidates& candidates, const std::vector<LayerWork>& work) {
  return pair_table(candidates, work.size(), [&](std::size_t l, Precision p) {
    return work[l].multiplications * p.weight_bits * p.activation_bits;
  });
}
/// The mean width of all weights.
inline CostTable mean_weight_bits_table(const Candidates& candidates, const std::vector<LayerWork>& work) {
  double all = 0;
  for (const LayerWork& w : work) all += w.weights;
  return pair_table(candidates, work.size(),
                    [&](std::size_t l, Precision p) { return work[l].weights * p.weight_bits / all; });
}
/// The mean width of all layers' inputs, by their elements.
inline CostTable mean_input_bits_table(const Candidates& candidates, const std::vector<LayerWork>& work) {
  double all = 0;
  for (const LayerWork& w : work) all += w.inputs;
  return pair_table(candidates, work.size(),
                    [&](std::size_t l, Precision p) { return work[l].inputs * p.activation_bits / all; });
}

}  // namespace search
}  // namespace v0
}  // namespace spnet
