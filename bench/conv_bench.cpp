// Convolutions in float32, three directions, side by side with oneDNN where it was found: both in one loop, turn by
// turn, so that a noisy machine disturbs both alike. Ratios above 1 mean that spnet is faster.
//   conv_bench [--threads T] [--peer-layout nhwc|any] [--cpu-clock] [--json] [--benchmark_filter=resnet20]
// --cpu-clock counts the time of the process, not of the wall: for one thread on a machine that is busy otherwise.
// oneDNN gets its weights in the layout it likes best for free; spnet packs its own in every call.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#ifdef SPNET_BENCH_ONEDNN
#ifdef _OPENMP
#include <omp.h>
#endif
#include <dnnl.hpp>
#endif

#include "problems.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/core/random.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d.hpp"

namespace {

using spnet::Random;
using spnet::Shape;
using spnet::Tensor;
using spnet::bench::ConvProblem;

enum class Direction { kForward, kBackwardData, kBackwardWeight };
constexpr const char* kDirectionNames[] = {"forward", "backward_data", "backward_weight"};

std::string peer_layout = "nhwc";

Tensor<float> random_tensor(const Shape& shape) {
  Tensor<float> t(shape);
  Random random(1);
  for (float& v : t.span()) v = random.uniform(-1.0f, 1.0f);
  return t;
}

#ifdef SPNET_BENCH_ONEDNN
/// One primitive of oneDNN with its memories; returns a call that runs it to the end.
std::function<void()> make_peer(const ConvProblem& p, Direction direction) {
  using namespace dnnl;
  using tag = memory::format_tag;
  const engine eng(engine::kind::cpu, 0);
  const tag data = peer_layout == "any" ? tag::any : tag::nhwc;
  const memory::desc x({p.n, p.c, p.size, p.size}, memory::data_type::f32, data);
  const memory::desc y({p.n, p.o, p.out_size(), p.out_size()}, memory::data_type::f32, data);
  const memory::desc w = p.groups > 1 ? memory::desc({p.groups, p.o / p.groups, p.c / p.groups, p.kernel, p.kernel},
                                                     memory::data_type::f32, tag::any)
                                      : memory::desc({p.o, p.c, p.kernel, p.kernel}, memory::data_type::f32, tag::any);
  const memory::dims stride{p.stride, p.stride}, pad{p.padding(), p.padding()};
  const auto algorithm = algorithm::convolution_direct;
  const convolution_forward::primitive_desc forward(
      {prop_kind::forward_training, algorithm, x, w, y, stride, pad, pad}, eng);
  auto run = [eng](primitive prim, std::unordered_map<int, memory> memories) {
    for (auto& [index, m] : memories) {
      auto* data = static_cast<float*>(m.get_data_handle());
      const std::size_t size = m.get_desc().get_size() / sizeof(float);
      Random random(1);
      for (std::size_t i = 0; i < size; ++i) data[i] = random.uniform(-1.0f, 1.0f);
    }
    return [prim, memories, s = stream(eng)]() mutable {
      prim.execute(s, memories);
      s.wait();
    };
  };
  if (direction == Direction::kForward) {
    return run(convolution_forward(forward), {{DNNL_ARG_SRC, memory(forward.src_desc(), eng)},
                                              {DNNL_ARG_WEIGHTS, memory(forward.weights_desc(), eng)},
                                              {DNNL_ARG_DST, memory(forward.dst_desc(), eng)}});
  }
  if (direction == Direction::kBackwardData) {
    const convolution_backward_data::primitive_desc d({algorithm, x, w, y, stride, pad, pad}, eng, forward);
    return run(convolution_backward_data(d), {{DNNL_ARG_DIFF_SRC, memory(d.diff_src_desc(), eng)},
                                              {DNNL_ARG_WEIGHTS, memory(d.weights_desc(), eng)},
                                              {DNNL_ARG_DIFF_DST, memory(d.diff_dst_desc(), eng)}});
  }
  const convolution_backward_weights::primitive_desc d({algorithm, x, w, y, stride, pad, pad}, eng, forward);
  return run(convolution_backward_weights(d), {{DNNL_ARG_SRC, memory(d.src_desc(), eng)},
                                               {DNNL_ARG_DIFF_WEIGHTS, memory(d.diff_weights_desc(), eng)},
                                               {DNNL_ARG_DIFF_DST, memory(d.diff_dst_desc(), eng)}});
}
#else
std::function<void()> make_peer(const ConvProblem&, Direction) { return {}; }
#endif

std::function<void()> make_own(const ConvProblem& p, Direction direction) {
  const spnet::ops::Conv2dOptions options{.stride = p.stride, .padding = p.padding(), .groups = p.groups};
  const Tensor<float> x = random_tensor({p.n, p.size, p.size, p.c});
  const Tensor<float> w = random_tensor({p.o, p.kernel, p.kernel, p.c / p.groups});
  const Tensor<float> y = random_tensor({p.n, p.out_size(), p.out_size(), p.o});
  if (direction == Direction::kForward)
    return [=] { benchmark::DoNotOptimize(spnet::ops::conv2d(x, w, options)); };
  if (direction == Direction::kBackwardData)
    return [=] { benchmark::DoNotOptimize(spnet::ops::conv2d_backward_data(y, w, x.shape(), options)); };
  return [=] { benchmark::DoNotOptimize(spnet::ops::conv2d_backward_weight(y, x, w.shape(), options)); };
}

bool cpu_clock = false;

double now_ms() {
  if (cpu_clock) return static_cast<double>(std::clock()) * 1e3 / CLOCKS_PER_SEC;
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double milliseconds(const std::function<void()>& call) {
  const double begin = now_ms();
  call();
  return now_ms() - begin;
}

/// Best ratios by kind ("resnet20 forward").
std::map<std::string, std::map<std::string, double>> ratios;

void run(benchmark::State& state, const ConvProblem& p, Direction direction) {
  const auto own = make_own(p, direction), peer = make_peer(p, direction);
  double best = 1e300, peer_best = 1e300;
  own();
  if (peer) peer();
  for (auto _ : state) {
    const double ms = milliseconds(own);
    best = std::min(best, ms);
    if (peer) peer_best = std::min(peer_best, milliseconds(peer));
    state.SetIterationTime(ms * 1e-3);
  }
  state.SetLabel(spnet::kernels::active().name);
  state.counters["ms"] = best;
  state.counters["GMAC/s"] = p.macs() / best * 1e-6;
  if (!peer) return;
  state.counters["peer_ms"] = peer_best;
  state.counters["ratio"] = peer_best / best;
  // The last run of a problem, the longest, counts.
  ratios[p.network + ' ' + kDirectionNames[static_cast<int>(direction)]][p.name()] = peer_best / best;
}

void print_summary() {
  std::printf("\n%-40s %9s %7s  %s\n", "kind", "geomean", "worst", "worst problem");
  for (const auto& [kind, list] : ratios) {
    double sum = 0.0;
    for (const auto& [name, ratio] : list) sum += std::log(ratio);
    const auto& [name, worst] =
        *std::min_element(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    std::printf("%-40s %9.2f %7.2f  %s\n", kind.c_str(), std::exp(sum / static_cast<double>(list.size())), worst,
                name.c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  int threads = 2;
  bool json = false;
  static char json_flag[] = "--benchmark_format=json";
  std::vector<char*> rest{argv[0]};
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--threads" && i + 1 < argc) {
      threads = std::atoi(argv[++i]);
    } else if (arg == "--peer-layout" && i + 1 < argc) {
      peer_layout = argv[++i];
    } else if (arg == "--cpu-clock") {
      cpu_clock = true;
    } else if (arg == "--json") {
      json = true;
      rest.push_back(json_flag);
    } else {
      rest.push_back(argv[i]);
    }
  }
  spnet::set_num_threads(threads);
#if defined(SPNET_BENCH_ONEDNN) && defined(_OPENMP)
  omp_set_num_threads(threads);
#endif
  for (const ConvProblem& p : spnet::bench::conv_problems()) {
    for (Direction d : {Direction::kForward, Direction::kBackwardData, Direction::kBackwardWeight}) {
      const std::string name = p.name() + '/' + kDirectionNames[static_cast<int>(d)];
      benchmark::RegisterBenchmark(name.c_str(), [p, d](benchmark::State& state) { run(state, p, d); })
          ->UseManualTime()
          ->Unit(benchmark::kMillisecond)
          ->MinTime(0.1);
    }
  }
  int count = static_cast<int>(rest.size());
  benchmark::Initialize(&count, rest.data());
  if (benchmark::ReportUnrecognizedArguments(count, rest.data())) return 2;
  benchmark::RunSpecifiedBenchmarks();
  if (!json && !ratios.empty()) print_summary();
  return 0;
}
