// The hot element-wise passes on one activation of ResNet-20 (batch 128), in bytes that have to move, beside a copy.
#include <benchmark/benchmark.h>

#include <cstring>

#include "spnet/autograd/norm.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/ops/activation.hpp"
#include "spnet/ops/batch_norm.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;

namespace {

const Shape kShape{128, 32, 32, 16};

Tensor<float> activation(std::uint64_t seed) { return testing::random_normal<float>(kShape, seed); }

// `streams` tensors are read or written.
void finish(benchmark::State& state, double streams) {
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(streams * 4.0 * static_cast<double>(element_count(kShape))));
}

ops::ChannelAffine<float> affine() {
  return {testing::random_normal<float>({16}, 1), testing::random_normal<float>({16}, 2)};
}

ops::NormalizeContext<float> context(kernels::GradientMask mask) {
  const auto x = activation(3);
  const auto moments = ops::channel_moments(x);
  return {.input = {x, {}},
          .y = activation(4),
          .affine = affine(),
          .mean = moments.mean,
          .variance = moments.variance,
          .epsilon = 1e-5,
          .mask = mask,
          .training = true};
}

void copy(benchmark::State& state) {
  const auto x = activation(1);
  Tensor<float> y(kShape);
  for (auto _ : state)
    parallel_ranges(x.size(), 32768, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(y.data() + begin, x.data() + begin, static_cast<std::size_t>(end - begin) * sizeof(float));
    });
  finish(state, 2);
}
BENCHMARK(copy)->UseRealTime();

void add_in_place(benchmark::State& state) {
  auto x = activation(1);
  const auto y = activation(2);
  for (auto _ : state) ops::add_(x, y);
  finish(state, 3);
}
BENCHMARK(add_in_place)->UseRealTime();

void relu(benchmark::State& state) {
  const auto x = activation(1);
  for (auto _ : state) benchmark::DoNotOptimize(ops::relu(x));
  finish(state, 2);
}
BENCHMARK(relu)->UseRealTime();

void relu_backward_in_place(benchmark::State& state) {
  const auto y = activation(1), g = activation(2);
  for (auto _ : state) benchmark::DoNotOptimize(ops::relu_backward(g, y, g));
  finish(state, 3);
}
BENCHMARK(relu_backward_in_place)->UseRealTime();

void channel_moments(benchmark::State& state) {
  const auto x = activation(1);
  for (auto _ : state) benchmark::DoNotOptimize(ops::channel_moments(x));
  finish(state, 1);
}
BENCHMARK(channel_moments)->UseRealTime();

void normalize(benchmark::State& state) {
  const auto x = activation(1);
  const auto map = affine();
  for (auto _ : state) benchmark::DoNotOptimize(ops::normalize(x, map, {}, true));
  finish(state, 2);
}
BENCHMARK(normalize)->UseRealTime();

void normalize_add_relu(benchmark::State& state) {
  const auto x = activation(1), r = activation(2);
  const auto map = affine();
  for (auto _ : state) benchmark::DoNotOptimize(ops::normalize(x, map, r, true));
  finish(state, 3);
}
BENCHMARK(normalize_add_relu)->UseRealTime();

void normalize_relu_backward(benchmark::State& state) {
  const auto c = context(kernels::GradientMask::kInput);
  const auto g = activation(5);
  for (auto _ : state) benchmark::DoNotOptimize(ops::normalize_backward(g, c, ops::NormalizedGradient::kValues, g));
  finish(state, 5);  // gradient and x twice, dx over the gradient
}
BENCHMARK(normalize_relu_backward)->UseRealTime();

void normalize_add_relu_backward(benchmark::State& state) {
  const auto c = context(kernels::GradientMask::kOutput);
  const auto g = activation(5);
  for (auto _ : state) benchmark::DoNotOptimize(ops::normalize_backward(g, c, ops::NormalizedGradient::kValues, g));
  finish(state, 7);  // gradient, x, y; the masked gradient over the gradient; that, x and dx
}
BENCHMARK(normalize_add_relu_backward)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
