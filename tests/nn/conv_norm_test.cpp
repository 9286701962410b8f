#include "spnet/nn/conv_norm.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {

bool any_negative(const Tensor<float>& t) {
  return std::ranges::any_of(t.span(), [](float v) { return v < 0; });
}

}  // namespace

TEST_CASE("nn: a block ends in ReLU, or in norm where its order says so") {
  const Variable<float> x(testing::random_normal<float>({2, 6, 6, 4}, 1));
  for (const auto order : {nn::BlockOrder::kNormRelu, nn::BlockOrder::kReluNorm}) {
    Random random(2);
    nn::ConvNorm block("conv", "bn", 4, 4, 3, {.padding = 1},
                       {.switches = parse_switches("w2a2,w32a32"), .block_order = order}, random);
    block.train();
    const bool relu_last = order == nn::BlockOrder::kNormRelu;
    for (const Precision p : {Precision{32, 32}, Precision{2, 2}}) {
      block.set_precision(p);
      const Variable<float> y = block.conv.forward(x);
      const auto expected = relu_last ? relu(block.norm().forward(y)) : block.norm().forward(relu(y));
      CHECK(testing::bit_equal(block.forward_relu(x).value(), expected.value()));
      CHECK(any_negative(expected.value()) == !relu_last);

      const auto joined = relu_last ? relu(block.norm().forward(y) + x) : block.norm().forward(relu(y)) + x;
      const auto close = testing::allclose(block.forward_add_relu(x, x).value(), joined.value(), 1e-5, 1e-5);
      CHECK_MESSAGE(close, close.message);
    }
  }
}
