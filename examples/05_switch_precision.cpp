// Switching: one network, set to one precision after another, wholly or layer by layer.
#include <iostream>

#include "spnet/models/resnet.hpp"
#include "spnet/nn/size.hpp"

int main() {
  using namespace spnet;
  const auto switches = parse_switches("w1a1,w2a2,w4a4,w8a8,w32a32");
  const auto net = models::make_model("resnet20", {.quantization = {.switches = switches}});
  net->eval();

  Random random(7);
  Tensor<float> image({1, 32, 32, 3});
  for (float& value : image.span()) value = random.normal();

  NoGradGuard no_grad;
  for (Precision precision : switches) {
    net->set_precision(precision);  // no weight is touched: any order, any number of times
    std::cout << precision << "  weights " << nn::model_size_bytes(*net, precision) << " bytes, first logit "
              << (*net)(image).value()(0, 0) << "\n";
  }

  // The first stage stays at 8 bits, the rest drops to 2.
  net->set_precision({2, 2});
  for (const auto& [name, child] : net->children())
    if (name.starts_with("layer1.")) child->set_precision({8, 8});
  std::cout << "mixed   first logit " << (*net)(image).value()(0, 0) << "\n";

  try {
    net->set_precision({3, 3});
  } catch (const ValueError& error) {
    std::cout << "error: " << error.what() << "\n";
  }
}
