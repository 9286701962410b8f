// Quantizers against their formulas in PyTorch, values and surrogate gradients.
#include <doctest/doctest.h>

#include <string>

#include "reference_file.hpp"
#include "spnet/quant/dorefa.hpp"

using namespace spnet;

TEST_CASE("reference: dorefa") {
  ReferenceFile file("quantizers");
  DorefaWeights weights;
  DorefaActivations activations;
  for (const std::string prefix : {"dorefa_weights", "dorefa_activations"}) {
    Quantizer& quantizer = prefix == "dorefa_weights" ? static_cast<Quantizer&>(weights) : activations;
    for (const auto& c : file.all<float>(prefix)) {
      const Variable<float> x = c.input("x");
      c.check_gradients(quantize(x, quantizer, static_cast<int>(c.integer("bits")), true), {{"x", x}});
    }
  }
}
