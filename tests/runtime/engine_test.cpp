#include "spnet/runtime/engine.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "../counted_news.hpp"
#include "../pack/own_network.hpp"
#include "../temporary_folder.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/pack/pack.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;
using test::error_of;

namespace {

const std::vector<Precision> kSwitches = parse_switches("w1a1,w2a2,w8a8,w32a32");

runtime::Graph make_resnet(const std::vector<Precision>& switches) {
  const auto net = models::make_model("resnet20", {.width = 0.5, .quantization = {.switches = switches}});
  test::settle(*net, switches, {4, 16, 16, 3});
  return pack::pack(*net, {16, 16, 3}, switches);
}
// Made once.
const runtime::Graph& resnet() {
  static const runtime::Graph graph = make_resnet(kSwitches);
  return graph;
}
Tensor<float> images(std::int64_t count) { return testing::random_normal<float>({count, 16, 16, 3}, 5); }

}  // namespace

TEST_CASE("engine: an image alone and among others has the same logits, with any number of threads") {
  const auto model = std::make_shared<const runtime::Model>(resnet());
  const Tensor<float> x = images(9);
  for (const Precision p : kSwitches) {
    runtime::Engine all(model, {.threads = 1});
    all.set_precision(p);
    const Tensor<float> expected = all.run(x);
    for (const int threads : {1, 2, 3, 4, 8}) {
      runtime::Engine one(model, {.threads = threads});
      one.set_precision(p);
      CHECK(testing::bit_equal(one.run(x), expected));
      for (const std::int64_t i : {0, 8})
        CHECK(testing::bit_equal(one.run(x.narrow(0, i, 1)), expected.narrow(0, i, 1)));
    }
  }
}

TEST_CASE("engine: switching back and forth changes no bit, whatever the cache holds") {
  const runtime::Graph& graph = resnet();
  const Tensor<float> x = images(1);
  std::vector<Tensor<float>> expected;
  std::int64_t largest = 0;
  for (const Precision p : kSwitches) {
    runtime::Engine fresh(std::make_shared<const runtime::Model>(graph));
    fresh.set_precision(p);
    expected.push_back(fresh.run(x));
    largest = std::max(largest, fresh.model().cached_bytes());
  }
  for (const std::int64_t cache_bytes : {std::int64_t{0}, largest, std::int64_t{1} << 30}) {
    const auto model =
        std::make_shared<const runtime::Model>(graph, runtime::ModelOptions{.load = {}, .cache_bytes = cache_bytes});
    runtime::Engine engine(model, {.plans = 3});
    Random random(8);
    for (int i = 0; i < 40; ++i) {
      const std::size_t at = random.below(static_cast<std::uint32_t>(kSwitches.size()));
      engine.set_precision(kSwitches[at]);
      CHECK(testing::bit_equal(engine.run(x), expected[at]));
      CHECK(model->cached_bytes() <= cache_bytes);
    }
  }
}

TEST_CASE("engine: sessions at several precisions share one model, whose cache has room for all or for one") {
  const runtime::Graph& graph = resnet();
  const Tensor<float> x = images(1);
  std::vector<Tensor<float>> expected;
  std::int64_t largest = 0;
  for (const Precision p : kSwitches) {
    runtime::Engine fresh(std::make_shared<const runtime::Model>(graph), {.threads = 1});
    fresh.set_precision(p);
    expected.push_back(fresh.run(x));
    largest = std::max(largest, fresh.model().cached_bytes());
  }
  for (const std::int64_t cache_bytes : {std::int64_t{1} << 30, largest}) {
    const auto model =
        std::make_shared<const runtime::Model>(graph, runtime::ModelOptions{.load = {}, .cache_bytes = cache_bytes});
    std::vector<int> wrong(4);
    std::vector<std::thread> threads;
    for (std::size_t session = 0; session < 4; ++session)
      threads.emplace_back([&, session] {
        runtime::Engine engine(model, {.threads = static_cast<int>(session)});  // 0: one per processor
        Random random(session);
        for (int i = 0; i < 30; ++i) {
          const std::size_t at = random.below(static_cast<std::uint32_t>(kSwitches.size()));
          engine.set_precision(kSwitches[at]);
          wrong[session] += !testing::bit_equal(engine.run(x), expected[at]);
        }
      });
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == std::vector<int>(4));
    CHECK(model->cached_bytes() <= cache_bytes);
    CHECK((model->evictions() > 0) == (cache_bytes == largest));
  }
}

#if defined(__linux__)
TEST_CASE("engine: a session of one thread opens no parallel region") {
  const auto model = std::make_shared<const runtime::Model>(resnet());
  // A thread that never ran a parallel region before has no helpers yet: one would start them.
  const auto helpers = [&](int threads) {
    std::ptrdiff_t count = 0;
    std::thread([&] {
      const auto tasks = [] {
        return std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                             std::filesystem::directory_iterator());
      };
      const std::ptrdiff_t before = tasks();
      runtime::Engine engine(model, {.threads = threads});
      for (const Precision p : kSwitches) {
        engine.set_precision(p);
        engine.run(images(2));
      }
      count = std::max<std::ptrdiff_t>(tasks() - before, 0);  // one that was joined may have been dying still
    }).join();
    return count;
  };
  CHECK(helpers(1) == 0);
#if defined(_OPENMP) && !defined(__clang__)  // LLVM's helpers serve all threads
  CHECK(helpers(3) > 0);
#endif
}
#endif

TEST_CASE("engine: what a tight cache gives up does not stay in memory") {
  const runtime::Graph& graph = resnet();
  const auto waiting = [] {
    const auto s = MemoryPool::global().statistics();
    return static_cast<std::int64_t>(s.reserved_bytes - s.used_bytes);
  };
  for (const std::int64_t cache_bytes : {std::int64_t{0}, std::int64_t{1} << 16}) {
    runtime::Engine engine(
        std::make_shared<const runtime::Model>(graph, runtime::ModelOptions{.load = {}, .cache_bytes = cache_bytes}));
    for (int i = 0; i < 8; ++i) {
      engine.set_precision(kSwitches[static_cast<std::size_t>(i) % kSwitches.size()]);
      const std::uint64_t evictions = engine.model().evictions();
      engine.prepare();
      if (engine.model().evictions() > evictions) CHECK(waiting() <= cache_bytes);
    }
    CHECK(engine.model().evictions() > 0);
  }
}

TEST_CASE("engine: a run allocates nothing, and neither does a switch to what was used before") {
  runtime::Engine engine(std::make_shared<const runtime::Model>(resnet()), {.threads = 1});
  const Tensor<float> x = images(1);
  const auto run_all = [&] {
    for (const Precision p : {Precision{1, 1}, Precision{8, 8}, Precision{32, 32}}) {
      engine.set_precision(p);
      engine.run(x);
    }
  };
  run_all();
  run_all();
  const auto before = MemoryPool::global().statistics().heap_allocations;
  engine.set_precision({8, 8});
  engine.run(x);
  const std::int64_t news = test::news;
  engine.run(x);
  CHECK(test::news == news);
  run_all();
  CHECK(MemoryPool::global().statistics().heap_allocations == before);
}

TEST_CASE("engine: wrong images and precisions are refused, and change nothing") {
  runtime::Engine engine(std::make_shared<const runtime::Model>(resnet()));
  CHECK(error_of<ShapeError>([&] {
          engine.run(Tensor<float>::ones({1, 8, 16, 3}));
        }) == "engine: images [1,8,16,3] given, expected [-1,16,16,3]");
  CHECK(error_of<ShapeError>([&] { engine.run(Tensor<float>::ones({0, 16, 16, 3})); }) != "");
  CHECK(error_of<ValueError>([&] {
          engine.set_precision({3, 3});
        }) == "engine: w3a3 given, the network was packed for w1a1, w2a2, w8a8, w32a32");
  CHECK(error_of<ValueError>([&] {
          runtime::Engine(std::make_shared<const runtime::Model>(resnet()), {.threads = -1});
        }) == "engine: -1 threads given, expected 0 to 1024");
  engine.set_precision({2, 2});
  Tensor<float> x = images(1);
  const Tensor<float> expected = engine.run(x);
  Tensor<float> bad = x.clone();
  bad(0, 3, 3, 0) = std::numeric_limits<float>::quiet_NaN();
  CHECK(error_of<NumericError>([&] { engine.run(bad); }) ==
        "engine: values that become codes after node 2 (normalize) are not finite");
  CHECK(testing::bit_equal(engine.run(x), expected));
}

TEST_CASE("engine: sessions made at different precisions of float products share one model") {
  using ops::Float32Precision, ops::Float32PrecisionGuard;
  const std::vector<Precision> switches = parse_switches("w2a32,w32a2,w32a32");
  const runtime::Graph graph = make_resnet(switches);
  const Tensor<float> x = images(2);
  const std::vector<Float32Precision> modes{Float32Precision::kHighest, Float32Precision::kMedium};
  for (const Precision p : switches) {
    const auto logits = [&](runtime::Engine& engine) {
      engine.set_precision(p);
      return engine.run(x);
    };
    std::vector<Tensor<float>> expected;
    for (const Float32Precision mode : modes) {
      const Float32PrecisionGuard guard(mode);
      runtime::Engine fresh(std::make_shared<const runtime::Model>(graph));
      expected.push_back(logits(fresh));
    }
    for (const std::size_t first : {std::size_t{0}, std::size_t{1}}) {
      // The cache holds two or three products, so that some are expanded anew.
      for (const std::int64_t cache_bytes : {std::int64_t{1} << 30, std::int64_t{20000}}) {
        const auto model =
            std::make_shared<const runtime::Model>(graph, runtime::ModelOptions{.load = {}, .cache_bytes = cache_bytes});
        runtime::Engine one(model), other(model);
        for (int i = 0; i < 4; ++i) {
          const std::size_t at = (first + static_cast<std::size_t>(i)) % 2;
          const Float32PrecisionGuard guard(modes[at]);
          CHECK(testing::bit_equal(logits(i < 2 ? one : other), expected[at]));
        }
      }
    }
  }
}

TEST_CASE("engine: batches of no size or too large a one are refused, and the engine goes on") {
  const auto model = std::make_shared<const runtime::Model>(resnet());
  runtime::Engine engine(model);
  const Tensor<float> x = images(1), expected = engine.run(x);
  for (const std::int64_t count : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1} << 25})
    CHECK(error_of<ValueError>([&] { engine.prepare(count); }) ==
          message("engine: ", count, " images given, expected 1 to 16777216"));
  CHECK(testing::bit_equal(engine.run(x), expected));
  // What weights take counts, too.
  const std::int64_t values = engine.plan().memory.bytes;
  runtime::Engine small(model, {.max_bytes = values});
  CHECK(error_of<ValueError>([&] { small.run(x); }).starts_with("engine: the values of 1 images and the weights take "));
  CHECK(error_of<ValueError>([&] { small.prepare(); }) != "");
  small.set_precision({1, 1});
  CHECK(error_of<ValueError>([&] { small.run(images(9)); }) != "");
}

TEST_CASE("engine: what is not finite is refused before a table of codes is looked at") {
  runtime::Graph graph = make_resnet(parse_switches("w2a2,w32a2"));
  for (runtime::Node& node : graph.nodes) {
    auto* const conv = std::get_if<runtime::Conv2d>(&node.op);
    if (!conv || conv->rules.empty()) continue;
    // Codes that begin at 1: what is not finite would be one before them.
    runtime::CodeRule& rule = conv->rules.at(2);
    rule.codes = ops::UniformForm{.factor = 1, .low = 1, .high = 4};
    rule.map = LutCodes{Tensor<float>::ones({4})};
  }
  runtime::Engine engine(std::make_shared<const runtime::Model>(graph));
  for (const Precision p : parse_switches("w2a2,w32a2")) {
    engine.set_precision(p);
    Tensor<float> x = images(1);
    CHECK_NOTHROW(engine.run(x));
    x(0, 3, 3, 0) = std::numeric_limits<float>::quiet_NaN();
    CHECK(error_of<NumericError>([&] { engine.run(x); }) != "");
  }
}

TEST_CASE("engine: what a session no longer uses is given up") {
  const auto model = std::make_shared<const runtime::Model>(resnet());
  runtime::Engine engine(model);
  const Tensor<float> x = images(1);
  for (const Precision p : kSwitches) {
    engine.set_precision(p);
    engine.run(x);
  }
  const std::int64_t all = model->cached_bytes();
  model->trim();
  CHECK(model->cached_bytes() == all);  // the session may switch back
  const Tensor<float> expected = engine.run(x);
  engine.clear();
  model->trim();
  CHECK(model->cached_bytes() == 0);
  CHECK(testing::bit_equal(engine.run(x), expected));
  CHECK(model->cached_bytes() > 0);
  CHECK(model->cached_bytes() < all);
}
