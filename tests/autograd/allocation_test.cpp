// A training step in its steady state asks nothing of the heap: this program counts every `operator new`.
#include <doctest/doctest.h>

#include <array>

#include "../counted_news.hpp"
#include "spnet/autograd/activation.hpp"
#include "spnet/autograd/arithmetic.hpp"
#include "spnet/autograd/conv.hpp"
#include "spnet/autograd/dropout.hpp"
#include "spnet/autograd/loss.hpp"
#include "spnet/autograd/norm.hpp"
#include "spnet/autograd/pool.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

TEST_CASE("autograd: a training step does no heap allocation once it has run") {
  const auto parameter = [](const Shape& shape, std::uint64_t seed, double offset = 0) {
    return Variable<float>(testing::random_normal<float>(shape, seed, 0.1, offset), true);
  };
  std::array<Variable<float>, 9> parameters = {
      parameter({16, 3, 3, 3}, 1),  parameter({16}, 2, 1), parameter({16}, 3), parameter({16, 3, 3, 16}, 4),
      parameter({16}, 5, 1),        parameter({16}, 6),    parameter({10, 16}, 7), parameter({10}, 8),
      parameter({16, 3, 3, 1}, 9)};
  const Tensor<float> mean = Tensor<float>::zeros({16}), var = Tensor<float>::ones({16});
  const Variable<float> x(testing::random_normal<float>({8, 12, 12, 3}, 10));
  Tensor<std::int32_t> labels({8});
  for (std::int32_t i = 0; i < 8; ++i) labels(i) = i;
  Random random(11);

  const auto step = [&] {
    auto& [w1, gamma1, beta1, w2, gamma2, beta2, w3, bias, depthwise] = parameters;
    for (auto& p : parameters) p.zero_grad();
    const auto first = batch_norm_relu(conv2d(x, w1, {.padding = 1}), gamma1, beta1, mean, var);
    auto y = conv2d(first, depthwise, {.padding = 1, .groups = 16}) * 0.5f;
    y = batch_norm_add_relu(conv2d(y, w2, {.padding = 1}), first, gamma2, beta2, mean, var);
    y = dropout(max_pool2d(tanh(y), {.kernel = 3, .stride = 2, .padding = 1}), 0.1, random, true);
    const auto logits = linear(global_avg_pool2d(y), w3, bias);
    const auto loss = cross_entropy(logits, labels) + kl_divergence(logits, ops::softmax(logits.value(), 2));
    loss.backward();
    for (auto& p : parameters) {
      float* value = p.value().data();
      const float* grad = p.grad().data();
      for (std::int64_t i = 0; i < p.size(); ++i) value[i] -= 0.1f * grad[i];
    }
    return loss.item();
  };

  // The second step meets what the first left alive.
  const float before = step();
  step();
  const auto pool_before = MemoryPool::global().statistics();
  const std::int64_t news_before = test::news.load();
  float after = 0;
  for (int i = 0; i < 10; ++i) after = step();
  CHECK(test::news.load() == news_before);
  const auto pool_after = MemoryPool::global().statistics();
  CHECK(pool_after.heap_allocations == pool_before.heap_allocations);
  CHECK(pool_after.used_bytes == pool_before.used_bytes);
  CHECK(after < before);
}
