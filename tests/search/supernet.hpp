// A small network that a search may choose widths for.
#pragma once

#include <memory>
#include <string>

#include "spnet/models/resnet.hpp"
#include "spnet/search/architecture.hpp"

namespace spnet::test {

inline const search::Candidates kCandidates{{1, 2, 4}, {2, 4, 8}};

inline std::unique_ptr<nn::Classifier> make_supernet(const std::string& weights = "dorefa",
                                                     const std::string& activations = "lsq", std::uint64_t seed = 3) {
  return models::make_model("resnet20", {.width = 0.25,
                                         .quantization = {.switches = kCandidates.pairs(),
                                                          .weight_quantizer = weights,
                                                          .activation_quantizer = activations,
                                                          .norm = nn::NormKind::kShared},
                                         .seed = seed});
}

/// The operand's logits, which may be written to.
inline Tensor<float> logits_of(const search::Operand& operand) { return Variable<float>(operand.logits).value(); }

}  // namespace spnet::test
