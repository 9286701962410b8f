// Convolutions in float32 (three directions) and on codes (w8a8, w7a7, w2a2, w1a2, w2a1, w1a1), side by side with oneDNN's
// float32 and int8 where it was found: both in one loop, turn by turn, so that a noisy machine disturbs both alike. Ratios
// above 1 mean that spnet is faster. Kinds bf16 and bf16x3 multiply the floats as one and as two bf16 (where the machine
// can; else they are float32 again), beside oneDNN's bf16 and float32: spnet reads and writes floats, and converts them in
// every call, where oneDNN reads and writes bf16 that lie there.
//   conv_bench [--threads T] [--peer-layout nhwc|any] [--cpu-clock] [--json] [--benchmark_filter=fp32/resnet20]
// SPNET_ISA caps both (oneDNN by ONEDNN_MAX_CPU_ISA, unless that is set). --cpu-clock counts the time of the process, not
// of the wall: for one thread on a machine that is busy otherwise. Forward, both have their weights packed beforehand;
// backward, spnet packs them in every call, as training must, and oneDNN still gets them in the layout it likes best for
// free. Of codes both leave the int32 sums.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#if defined(SPNET_BENCH_ONEDNN) && defined(_OPENMP)
#include <omp.h>
#endif

#include "conv_peer.hpp"
#include "problems.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/ops/conv2d.hpp"
#include "spnet/ops/conv2d_codes.hpp"

namespace {

using spnet::AffineCodes;
using spnet::Quantized;
using spnet::Random;
using spnet::Shape;
using spnet::Tensor;
using spnet::bench::ConvProblem;
using spnet::bench::Direction;
using spnet::bench::PeerType;
using spnet::ops::Float32Precision;

/// Bits of weights and of activations; 32: float, of the precision given.
struct Kind {
  const char* name;
  int w_bits, x_bits;
  PeerType peer = PeerType::kInteger;
  Float32Precision precision = Float32Precision::kHighest;

  bool is_float() const { return w_bits == 32; }
};
constexpr Kind kKinds[] = {{"fp32", 32, 32, PeerType::kFloat},
                           {"bf16", 32, 32, PeerType::kBf16, Float32Precision::kMedium},
                           {"bf16x3", 32, 32, PeerType::kFloat, Float32Precision::kHigh},
                           {"int8", 8, 8},
                           {"w7a7", 7, 7},
                           {"w2a2", 2, 2},
                           {"w1a2", 1, 2},
                           {"w2a1", 2, 1},
                           {"w1a1", 1, 1}};
constexpr const char* kDirectionNames[] = {"forward", "backward_data", "backward_weight"};

Tensor<float> random_tensor(const Shape& shape) {
  Tensor<float> t(shape);
  Random random(1);
  for (float& v : t.span()) v = random.uniform(-1.0f, 1.0f);
  return t;
}

Quantized random_codes(const Shape& shape, AffineCodes map) {
  Quantized q{Tensor<std::uint8_t>(shape), std::move(map)};
  Random random(1);
  const auto count = static_cast<std::uint32_t>(std::get<AffineCodes>(q.map).qmax) + 1;
  for (auto& code : q.codes.span()) code = static_cast<std::uint8_t>(random.below(count));
  return q;
}

/// Our call, and what it runs on.
struct Own {
  std::function<void()> call;
  std::string kernel;
};

Own make_own(const ConvProblem& p, Kind kind, Direction direction) {
  const spnet::ops::Conv2dOptions options{.stride = p.stride, .padding = p.padding(), .groups = p.groups};
  const Shape x_shape{p.n, p.size, p.size, p.c}, w_shape{p.o, p.kernel, p.kernel, p.c / p.groups};
  if (!kind.is_float()) {
    const Tensor<float> one = Tensor<float>::ones({1});
    const int x_levels = (1 << kind.x_bits) - 1, w_levels = (1 << kind.w_bits) - 1;
    const AffineCodes sign = spnet::ops::sign_map(one), unsigned_codes{.scale = one, .qmin = 0, .qmax = x_levels},
                      centred{.scale = one, .step = 2, .zero_point = w_levels, .qmin = 0, .qmax = w_levels};
    const Quantized x = random_codes(x_shape, kind.x_bits == 1 ? sign : unsigned_codes);
    const Quantized w = random_codes(w_shape, centred);
    const auto packed =
        std::make_shared<spnet::ops::PackedCodesConv2d>(x_shape, std::get<AffineCodes>(x.map), w, options);
    return {[=] { benchmark::DoNotOptimize((*packed)(x)); }, packed->kernel_name()};
  }
  const Tensor<float> x = random_tensor(x_shape), w = random_tensor(w_shape);
  const Tensor<float> y = random_tensor({p.n, p.out_size(), p.out_size(), p.o});
  if (direction == Direction::kForward) {
    const auto packed = std::make_shared<spnet::ops::PackedConv2d>(x_shape, w, options);
    return {[=] { benchmark::DoNotOptimize((*packed)(x)); }, packed->kernel_name()};
  }
  if (direction == Direction::kBackwardData)
    return {[=] { benchmark::DoNotOptimize(spnet::ops::conv2d_backward_data(y, w, x_shape, options)); },
            spnet::ops::conv2d_backward_data_kernel(x_shape, w_shape, options)};
  return {[=] { benchmark::DoNotOptimize(spnet::ops::conv2d_backward_weight(y, x, w_shape, options)); },
          spnet::ops::conv2d_backward_weight_kernel(x_shape, w_shape, options)};
}

struct Arguments {
  int threads = 2;
  bool any_layout = false, cpu_clock = false, json = false;
} arguments;

double now_ms() {
  if (arguments.cpu_clock) return static_cast<double>(std::clock()) * 1e3 / CLOCKS_PER_SEC;
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double milliseconds(const std::function<void()>& call) {
  const double begin = now_ms();
  call();
  return now_ms() - begin;
}

struct Result {
  std::string kind, direction, problem, kernel;
  double ms = 0, peer_ms = 0;

  double ratio() const { return peer_ms / ms; }
};
/// By name of the benchmark: the last run of a problem, the longest, counts.
std::map<std::string, Result> results;

void run(benchmark::State& state, const ConvProblem& p, Kind kind, Direction direction, const std::string& name) {
  spnet::ops::float32_matmul_precision() = kind.precision;
  const Own own = make_own(p, kind, direction);
  const auto peer = spnet::bench::make_peer(p, direction, kind.peer, arguments.any_layout);
  Result result{kind.name, kDirectionNames[static_cast<int>(direction)], p.name(), own.kernel, 1e300, 1e300};
  own.call();
  if (peer) peer();
  for (auto _ : state) {
    const double ms = milliseconds(own.call);
    result.ms = std::min(result.ms, ms);
    if (peer) result.peer_ms = std::min(result.peer_ms, milliseconds(peer));
    state.SetIterationTime(ms * 1e-3);
  }
  state.SetLabel(result.kernel);
  state.counters["ms"] = result.ms;
  state.counters["GMAC/s"] = p.macs() / result.ms * 1e-6;
  if (peer) {
    state.counters["peer_ms"] = result.peer_ms;
    state.counters["ratio"] = result.ratio();
  } else {
    result.peer_ms = 0;
  }
  results[name] = result;
}

/// Ratios of one kind and direction.
struct Summary {
  double logarithms = 0;
  int count = 0;
  const Result* worst = nullptr;

  double geomean() const { return std::exp(logarithms / count); }
};

void print_summary() {
  std::map<std::array<std::string, 3>, Summary> summaries;  // of kind, direction and network, or of all networks
  for (const auto& [name, r] : results) {
    if (arguments.json)
      std::printf(R"({"kind": "%s", "direction": "%s", "problem": "%s", "kernel": "%s", "ms": %.4f, "peer_ms": %.4f, "ratio": %.3f})"
                  "\n",
                  r.kind.c_str(), r.direction.c_str(), r.problem.c_str(), r.kernel.c_str(), r.ms, r.peer_ms,
                  r.peer_ms > 0 ? r.ratio() : 0);
    if (r.peer_ms == 0) continue;
    for (const std::string& network : {std::string("all"), r.problem.substr(0, r.problem.find('/'))}) {
      Summary& s = summaries[{r.kind, r.direction, network}];
      s.logarithms += std::log(r.ratio());
      ++s.count;
      if (!s.worst || r.ratio() < s.worst->ratio()) s.worst = &r;
    }
  }
  if (!arguments.json && !summaries.empty())
    std::printf("\n%-40s %9s %7s  %s\n", "ratio to oneDNN", "geomean", "worst", "worst problem");
  for (const auto& [key, s] : summaries) {
    const auto& [kind, direction, network] = key;
    if (arguments.json) {
      std::printf(R"({"kind": "%s", "direction": "%s", "network": "%s", "geomean": %.3f, "worst": %.3f, "worst_problem": "%s"})"
                  "\n",
                  kind.c_str(), direction.c_str(), network.c_str(), s.geomean(), s.worst->ratio(),
                  s.worst->problem.c_str());
    } else {
      std::printf("%-40s %9.2f %7.2f  %s\n", (kind + ' ' + direction + ' ' + network).c_str(), s.geomean(),
                  s.worst->ratio(), s.worst->problem.c_str());
    }
  }
}

class Silent : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>&) override {}
};

/// Holds the peer to the instruction set that SPNET_ISA names.
void cap_peer() {
  const std::string own = spnet::kernels::active().name;
  const char* cap = own == "avx2"                 ? "AVX2"
                    : own == "avx2_vnni"          ? "AVX2_VNNI"
                    : own == "avx512"             ? "AVX512_CORE"
                    : own == "avx512_bf16"        ? "AVX512_CORE_BF16"
                    : own.starts_with("avx512_v") ? "AVX512_CORE_VNNI"
                                                  : nullptr;
  if (cap && std::getenv("SPNET_ISA")) setenv("ONEDNN_MAX_CPU_ISA", cap, 0);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> rest{argv[0]};
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--threads" && i + 1 < argc) {
      arguments.threads = std::atoi(argv[++i]);
    } else if (arg == "--peer-layout" && i + 1 < argc) {
      arguments.any_layout = std::string(argv[++i]) == "any";
    } else if (arg == "--cpu-clock") {
      arguments.cpu_clock = true;
    } else if (arg == "--json") {
      arguments.json = true;
    } else {
      rest.push_back(argv[i]);
    }
  }
  cap_peer();
  spnet::set_num_threads(arguments.threads);
#if defined(SPNET_BENCH_ONEDNN) && defined(_OPENMP)
  omp_set_num_threads(arguments.threads);
#endif
  for (const Kind kind : kKinds) {
    for (const ConvProblem& p : spnet::bench::conv_problems()) {
      if (!kind.is_float() && p.c < 16) continue;  // first layers stay float
      for (Direction d : {Direction::kForward, Direction::kBackwardData, Direction::kBackwardWeight}) {
        if (!kind.is_float() && d != Direction::kForward) continue;
        const std::string name =
            std::string(kind.name) + '/' + p.name() + '/' + kDirectionNames[static_cast<int>(d)];
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run(state, p, kind, d, name); })
            ->UseManualTime()
            ->Unit(benchmark::kMillisecond)
            ->MinTime(0.1);
      }
    }
  }
  int count = static_cast<int>(rest.size());
  benchmark::Initialize(&count, rest.data());
  if (benchmark::ReportUnrecognizedArguments(count, rest.data())) return 2;
  Silent silent;
  if (arguments.json) {
    benchmark::RunSpecifiedBenchmarks(&silent);
  } else {
    benchmark::RunSpecifiedBenchmarks();
  }
  print_summary();
  return 0;
}
