#include "spnet/search/ssps.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "spnet/core/parallel.hpp"
#include "spnet/models/mobilenet_v1.hpp"
#include "spnet/models/mobilenet_v2.hpp"
#include "spnet/optim/sgd.hpp"
#include "spnet/search/pair_costs.hpp"
#include "spnet/testing/compare.hpp"
#include "spnet/train/parameter_groups.hpp"
#include "supernet.hpp"

using namespace spnet;
using test::kCandidates;

namespace {

std::vector<search::NamedConstraint> bit_operations(nn::Classifier& net, double share) {
  search::Architecture architecture(net, kCandidates);
  search::CostTable table =
      search::bit_operations_table(kCandidates, search::layer_work(net, architecture, {8, 8, 3}));
  const double budget = table.least() + share * (table.most() - table.least());
  return {{"bitops", {std::move(table), budget}}};
}

struct Run {
  explicit Run(const char* cell = "softmax", double share = 0.3, double penalty = 1)
      : net(test::make_supernet()),
        optimizer(train::parameter_groups(*net), {}),
        trainer(*net, search::Architecture(*net, kCandidates), bit_operations(*net, share), optimizer,
                {.cell = cell,
                 .last_temperature = 0.5,
                 .penalty = penalty,
                 .learning_rate = 0.05,
                 .steps = 14,
                 .warmup_steps = 2,
                 .decide_every = 3},
                {.name = "none"}, 7),
        images(testing::random_normal<float>({8, 8, 8, 3}, 5)),
        labels({8}) {
    for (std::int64_t i = 0; i < 8; ++i) labels(i) = static_cast<std::int32_t>(i);
  }
  void steps(std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t s = begin; s < end; ++s) trainer.step(images, labels, 0.02, s);
  }
  // All that the next step depends on.
  std::vector<Tensor<float>> state() {
    std::vector<Tensor<float>> out;
    for (const auto& p : net->parameters()) out.push_back(p.variable.value());
    for (const auto& b : net->buffers()) out.push_back(b.tensor);
    for (const auto& s : optimizer.state()) out.push_back(s.tensor);
    for (const auto& s : trainer.state()) out.push_back(s.tensor);
    return out;
  }

  std::unique_ptr<nn::Classifier> net;
  optim::SGD optimizer;
  search::SspsTrainer trainer;
  Tensor<float> images;
  Tensor<std::int32_t> labels;
};

bool same(std::vector<Tensor<float>> a, std::vector<Tensor<float>> b) {
  bool equal = a.size() == b.size();
  for (std::size_t i = 0; equal && i < a.size(); ++i) equal = testing::bit_equal(a[i], b[i]);
  return equal;
}

}  // namespace

TEST_CASE("search: ssps warms up, decides in rounds and ends on its budget") {
  for (const char* cell : {"softmax", "gumbel", "gumbel-hard"}) {
    CAPTURE(std::string(cell));
    Run run(cell);
    const std::size_t all = run.trainer.architecture().undecided();
    const auto alphas = [&] {
      std::vector<float> out;
      for (const auto& o : run.trainer.architecture().operands())
        for (const float alpha : o.logits.value().span()) out.push_back(alpha);
      return out;
    };
    const auto before = alphas();
    run.steps(0, 2);
    CHECK(alphas() == before);
    run.steps(2, 5);
    CHECK(run.trainer.architecture().undecided() == all);
    CHECK(alphas() != before);
    // Three rounds, after steps 5, 8 and 11, leave one interval.
    run.steps(5, 6);
    CHECK(run.trainer.architecture().undecided() == all - (all + 2) / 3);
    run.steps(6, 14);
    CHECK(run.trainer.architecture().undecided() == 0);
    const auto progress = run.trainer.progress();
    CHECK(progress[0] == std::pair<std::string, double>("undecided", 0));
    const double budget = bit_operations(*test::make_supernet(), 0.3)[0].constraint.budget;
    CHECK(progress[1].second <= budget);
    CHECK(progress[1].second >= 0.98 * budget);
  }
}

TEST_CASE("search: decisions are spread over all rounds, also where these are more than the operands") {
  const auto net = test::make_supernet();
  optim::SGD optimizer(train::parameter_groups(*net), {});
  search::SspsTrainer trainer(*net, search::Architecture(*net, kCandidates), bit_operations(*net, 0.4), optimizer,
                              {.steps = 102, .decide_every = 1});
  const std::size_t all = trainer.architecture().undecided();
  REQUIRE(all < 50);
  const Tensor<float> images = testing::random_normal<float>({2, 8, 8, 3}, 5);
  const auto labels = Tensor<std::int32_t>::from({2}, {0, 1});
  for (std::uint64_t s = 0; s < 102; ++s) {
    trainer.step(images, labels, 0.01, s);
    const std::size_t expected = all - std::min(all, (all * s + 100) / 101);
    CHECK(trainer.architecture().undecided() == expected);
  }
}

TEST_CASE("search: it begins on its budget, and the penalty brings it back there") {
  const double budget = bit_operations(*test::make_supernet(), 0.2)[0].constraint.budget;
  std::vector<double> costs;
  for (const double penalty : {0.0, 5.0}) {
    Run run("softmax", 0.2, penalty);
    CHECK(run.trainer.progress()[1].second <= budget);
    CHECK(run.trainer.progress()[1].second > 0.97 * budget);
    for (const auto& o : run.trainer.architecture().operands()) test::logits_of(o).fill(0);
    REQUIRE(run.trainer.progress()[1].second > 1.3 * budget);
    run.steps(0, 5);
    costs.push_back(run.trainer.progress()[1].second);
  }
  CHECK(costs[1] < costs[0]);
}

TEST_CASE("search: operands whose widths do not count begin with all alike") {
  const auto net = test::make_supernet();
  search::Architecture architecture(*net, kCandidates);
  const search::Constraint size{search::size_bits_table(*net, architecture)};
  const double least = size.table.least(), most = size.table.most();
  architecture.begin({{size.table, least + 0.2 * (most - least)}},
                     search::Configuration(architecture.layers().size(), 0));
  const std::size_t last = architecture.operands().size() - 2;
  const auto p = architecture.operands()[last].probabilities(), q = architecture.operands()[last + 1].probabilities();
  CHECK(p[0] > p[2]);
  for (const double share : q) CHECK(share == doctest::Approx(1.0 / 3));
  CHECK_THROWS_AS(architecture.begin({}, {}), ValueError);
}

TEST_CASE("search: operands begin with more bits where these cost less") {
  const auto net = test::make_supernet();
  search::Architecture architecture(*net, kCandidates);
  const auto work = search::layer_work(*net, architecture, {16, 16, 3});
  const std::vector<search::Constraint> constraints{{search::mean_weight_bits_table(kCandidates, work), 2.8},
                                                    {search::mean_input_bits_table(kCandidates, work), 4.4}};
  architecture.begin(constraints, search::Configuration(work.size(), 0));
  const auto expected_bits = [&](std::size_t operand) {
    const search::Operand& o = architecture.operands()[operand];
    double sum = 0;
    for (std::size_t k = 0; k < o.widths.size(); ++k) sum += o.probabilities()[k] * o.widths[k];
    return sum;
  };
  // A weight of layer3 is 16 times as large as one of layer1, its input a quarter as large.
  const std::size_t first = 0, last = work.size() - 1;
  CHECK(work[last].weights == 16 * work[first].weights);
  CHECK(expected_bits(2 * first) > expected_bits(2 * last) + 0.5);
  CHECK(expected_bits(2 * first + 1) + 0.5 < expected_bits(2 * last + 1));
  // Each of two constraints is spent, though the one on inputs is the tighter.
  for (const auto& c : constraints) {
    CHECK(architecture.expected(c.table) <= c.budget);
    CHECK(architecture.expected(c.table) > 0.99 * c.budget);
  }
}

TEST_CASE("search: one that goes on from a copied state ends with the same bits, with any number of threads") {
  for (const std::uint64_t stop : {1u, 4u, 5u, 9u}) {
    CAPTURE(stop);
    Run whole("gumbel"), first("gumbel"), second("gumbel");
    {
      const ThreadCountGuard one(1);
      whole.steps(0, 14);
    }
    const ThreadCountGuard two(2);
    first.steps(0, stop);
    auto to = second.state();
    const auto from = first.state();
    for (std::size_t i = 0; i < to.size(); ++i) to[i].copy_from(from[i]);
    second.steps(stop, 14);
    CHECK(same(whole.state(), second.state()));
  }
}

TEST_CASE("search: a network whose search was restored is set as it was, before any step") {
  Run first, second;
  first.steps(0, 14);
  auto to = second.trainer.state();
  const auto from = first.trainer.state();
  for (std::size_t i = 0; i < to.size(); ++i) to[i].tensor.copy_from(from[i].tensor);
  second.trainer.restored(0);
  for (std::size_t l = 0; l < first.trainer.architecture().layers().size(); ++l)
    CHECK(first.trainer.architecture().layers()[l].layer->precision() ==
          second.trainer.architecture().layers()[l].layer->precision());
  // What no search leaves.
  for (const auto& [name, value] : {std::pair{"search.layer1.0.conv1.weight.decision", 3.0f},
                                    {"search.layer1.0.conv1.weight.decision", 0.5f},
                                    {"search.layer3.2.conv2.input.decision", -2.0f},
                                    {"search.layer3.2.conv2.input.logits", std::nanf("")},
                                    {"search.plan", 9.0f}}) {
    CAPTURE(std::string(name));
    for (auto& s : second.trainer.state()) {
      if (s.name != name) continue;
      const float before = s.tensor.data()[0];
      s.tensor.data()[0] = value;
      CHECK_THROWS_AS(second.trainer.restored(0), ValueError);
      s.tensor.data()[0] = before;
    }
    CHECK_NOTHROW(second.trainer.restored(0));
  }
}

TEST_CASE("search: every network is searched") {
  for (const char* name : {"resnet18", "resnet34", "resnet50", "mobilenet_v1", "mobilenet_v2"}) {
    CAPTURE(std::string(name));
    const auto net = models::make_model(
        name, {.width = 0.125,
               .quantization = {
                   .switches = kCandidates.pairs(), .activation_quantizer = "lsq", .norm = nn::NormKind::kShared}});
    optim::SGD optimizer(train::parameter_groups(*net), {});
    search::SspsTrainer trainer(*net, search::Architecture(*net, kCandidates), bit_operations(*net, 0.4), optimizer,
                                {.steps = 3});
    const Tensor<float> images = testing::random_normal<float>({4, 16, 16, 3}, 5);
    const auto labels = Tensor<std::int32_t>::from({4}, {0, 1, 2, 3});
    for (std::uint64_t s = 0; s < 3; ++s) trainer.step(images, labels, 0.01, s);
    CHECK(trainer.architecture().undecided() == 0);
    const double budget =
        bit_operations(*models::make_model(
                           name, {.width = 0.125,
                                  .quantization = {.switches = kCandidates.pairs(), .norm = nn::NormKind::kShared}}),
                       0.4)[0]
            .constraint.budget;
    CHECK(trainer.progress()[1].second <= budget * (1 + 1e-9));
  }
}

TEST_CASE("search: constraints that cannot be met are refused with what can be") {
  const auto net = test::make_supernet();
  auto constraints = bit_operations(*net, 0.5);
  constraints[0].constraint.table = {{{1, 2}, {3, 5}}, 10};
  for (const double budget : {13.0, 18.0}) {
    CAPTURE(budget);
    constraints[0].constraint.budget = budget;
    CHECK_THROWS_WITH_AS(search::check_constraints(constraints),
                         message("search: bitops:", budget, budget < 14 ? " cannot be met" : " is no limit",
                                 ", the candidates allow 14 to 17")
                             .c_str(),
                         ValueError);
  }
  // At either end, sums may be rounded.
  constraints[0].constraint.table = {{{0.1, 0.7}, {0.2, 0.1}}, 0};
  for (const double budget : {0.2, 0.9}) {
    constraints[0].constraint.budget = budget;
    CHECK_NOTHROW(search::check_constraints(constraints));
  }
  constraints[0].constraint.table = {{{1, 2}, {3, 5}}, 10};
  constraints[0].constraint.budget = 14;
  CHECK_NOTHROW(search::check_constraints(constraints));
  // One that everything meets may stand beside another.
  constraints.push_back({"wide", {{{{1, 2}, {3, 5}}, 10}, 100}});
  CHECK_NOTHROW(search::check_constraints(constraints));
  constraints.pop_back();
  // What is cheap by one is dear by the other.
  constraints.push_back({"other", {{{{2, 1}, {5, 3}}, 10}, 14}});
  CHECK_THROWS_WITH_AS(search::check_constraints(constraints),
                       "search: each constraint can be met, but not all of them together: bitops 14 given, at least 17 "
                       "where the others are kept; other 14 given, at least 17 where the others are kept",
                       ValueError);
}

TEST_CASE("search: options that leave nothing to do are refused") {
  const auto net = test::make_supernet();
  optim::SGD optimizer(train::parameter_groups(*net), {});
  const auto make = [&](const search::SspsOptions& options) {
    search::SspsTrainer(*net, search::Architecture(*net, kCandidates), {}, optimizer, options);
  };
  CHECK_NOTHROW(make({.steps = 10}));
  CHECK_THROWS_AS(make({.steps = 0}), ValueError);
  CHECK_THROWS_AS(make({.steps = 10, .warmup_steps = 10}), ValueError);
  CHECK_THROWS_AS(make({.steps = 10, .decide_every = 6}), ValueError);
  CHECK_THROWS_AS(make({.temperature = 0, .steps = 10}), ValueError);
  CHECK_THROWS_AS(make({.cell = "other", .steps = 10}), ValueError);
}
