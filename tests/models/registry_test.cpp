#include "spnet/models/registry.hpp"

#include <doctest/doctest.h>

#include <memory>

#include "spnet/autograd/pool.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/nn/conv.hpp"
#include "spnet/nn/linear.hpp"

using namespace spnet;

namespace {

// A network from outside: one quantized convolution, then a classifier.
class OneLayer : public nn::Classifier {
 public:
  explicit OneLayer(const models::ModelOptions& options) : OneLayer(options, Random(options.seed)) {}
  Variable<float> features(const Variable<float>& x) override { return global_avg_pool2d(conv_.forward(x)); }
  Variable<float> classify(const Variable<float>& features) override { return classifier_.forward(features); }

 private:
  OneLayer(const models::ModelOptions& options, Random random)
      : conv_(3, 8, 3, {.padding = 1}, options.quantization, random), classifier_(8, options.classes, random) {
    register_module("conv", conv_);
    register_module("fc", classifier_);
  }
  nn::Conv2d conv_;
  nn::Linear classifier_;
};

}  // namespace

TEST_CASE("models: a network from outside is made by its name") {
  models::register_model("one_layer", [](const models::ModelOptions& o) { return std::make_unique<OneLayer>(o); });
  const auto net =
      models::make_model("one_layer", {.classes = 4, .quantization = {.switches = parse_switches("w2a2,w32a32")}});
  net->set_precision({2, 2});
  CHECK(net->forward(Variable<float>(Tensor<float>::ones({2, 5, 5, 3}))).shape() == Shape{2, 4});
}
