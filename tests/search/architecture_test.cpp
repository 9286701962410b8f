#include "spnet/search/architecture.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "spnet/search/pair_costs.hpp"
#include "spnet/testing/compare.hpp"
#include "supernet.hpp"

using namespace spnet;
using test::kCandidates;

namespace {

// Logits that favour one width or another.
void draw_logits(const search::Architecture& architecture, std::uint64_t seed) {
  Random random(seed);
  for (const search::Operand& o : architecture.operands())
    for (float& v : test::logits_of(o).span()) v = random.normal();
}

search::CostTable bit_operations(nn::Classifier& net, search::Architecture& architecture) {
  return search::bit_operations_table(kCandidates, search::layer_work(net, architecture, {16, 16, 3}));
}

}  // namespace

TEST_CASE("search: the gradient of the expected cost is that of finite differences") {
  const auto net = test::make_supernet();
  search::Architecture architecture(*net, kCandidates);
  draw_logits(architecture, 1);
  const auto table = bit_operations(*net, architecture);
  architecture.add_gradient(table, 2.0);
  for (const std::size_t i : {0, 1, 7, 20}) {
    const search::Operand& o = architecture.operands()[i];
    for (std::int64_t k = 0; k < 3; ++k) {
      const float at = test::logits_of(o)(k), step = 1e-2f;
      test::logits_of(o)(k) = at + step;
      const double above = architecture.expected(table);
      test::logits_of(o)(k) = at - step;
      const double below = architecture.expected(table);
      test::logits_of(o)(k) = at;
      CHECK(static_cast<double>(o.logits.grad()(k)) ==
            doctest::Approx(2 * (above - below) / static_cast<double>(2 * step)).epsilon(1e-3));
    }
  }
}

TEST_CASE("search: costs of layers are those of the formulas") {
  const auto net = test::make_supernet();
  search::Architecture architecture(*net, kCandidates);
  const auto work = search::layer_work(*net, architecture, {16, 16, 3});
  // layer1.0.conv1: 3×3, 4 to 4 channels, on 16×16.
  CHECK(architecture.layers()[0].name == "layer1.0.conv1");
  CHECK(work[0].weights == 3 * 3 * 4 * 4);
  CHECK(work[0].inputs == 16 * 16 * 4);
  CHECK(work[0].multiplications == 16 * 16 * 3 * 3 * 4 * 4);
  const auto table = search::bit_operations_table(kCandidates, work);
  CHECK(table.layers[0][1 * 3 + 2] == work[0].multiplications * 2 * 8);
  // The size rule, with all weights at 4 bits.
  const auto sizes = search::size_bits_table(*net, architecture);
  CHECK(sizes.of(search::Configuration(work.size(), 2 * 3)) ==
        static_cast<double>(nn::model_size_bits(*test::make_supernet(), {4, 8})));
  const auto means = search::mean_weight_bits_table(kCandidates, work);
  CHECK(means.of(search::Configuration(work.size(), 1 * 3)) == doctest::Approx(2));
  CHECK(search::mean_input_bits_table(kCandidates, work).most() == doctest::Approx(8));
}

TEST_CASE("search: what is planned keeps the constraints, spends what it may, and is likely") {
  const auto net = test::make_supernet();
  search::Architecture architecture(*net, kCandidates);
  const auto operations = bit_operations(*net, architecture);
  const auto sizes = search::size_bits_table(*net, architecture);
  for (const std::uint64_t seed : {1, 2, 3, 4}) {
    draw_logits(architecture, seed);
    for (const double share : {0.05, 0.2, 0.5, 0.9}) {
      CAPTURE(share);
      const double budget = operations.least() + share * (operations.most() - operations.least());
      const search::Constraint one{operations, budget};
      const auto plan = architecture.plan({one}, 0.98);
      CHECK(operations.of(plan) <= budget);
      CHECK(operations.of(plan) >= 0.98 * budget);
      const search::Constraint two{sizes, sizes.least() + share * (sizes.most() - sizes.least())};
      const auto both = architecture.plan({one, two}, 0.98);
      CHECK(one.holds(both));
      CHECK(two.holds(both));
    }
  }
  // Without constraints each operand has its likeliest width.
  const auto plan = architecture.plan({}, 0.98);
  const auto pairs = kCandidates.pairs();
  const auto precisions = architecture.precisions();
  for (std::size_t l = 0; l < plan.size(); ++l) CHECK(pairs[plan[l]] == precisions[l]);
}

TEST_CASE("search: the most certain operands are decided first, and stay decided") {
  const auto net = test::make_supernet();
  search::Architecture architecture(*net, kCandidates);
  test::logits_of(architecture.operands()[5])(2) = 6;
  test::logits_of(architecture.operands()[8])(0) = 4;
  CHECK(architecture.operands()[0].certainty() == doctest::Approx(0));
  CHECK(architecture.operands()[5].certainty() > architecture.operands()[8].certainty());
  const std::size_t all = architecture.undecided();
  CHECK(all == architecture.operands().size());
  architecture.decide(2, architecture.plan({}, 0.98));
  CHECK(architecture.undecided() == all - 2);
  CHECK(architecture.operands()[5].is_decided());
  CHECK(architecture.operands()[5].decided() == 2);
  CHECK(architecture.operands()[8].decided() == 0);
  CHECK(architecture.operands()[8].certainty() == 1);
  // Whatever the logits say from now on.
  draw_logits(architecture, 3);
  const auto operations = bit_operations(*net, architecture);
  const double budget = 0.4 * operations.most();
  for (int round = 0; round < 4; ++round) architecture.decide(all, architecture.plan({{operations, budget}}, 0.98));
  CHECK(architecture.undecided() == 0);
  CHECK(architecture.operands()[5].decided() == 2);
  const double spent = architecture.expected(operations);
  CHECK(spent <= budget);
  CHECK(spent >= 0.98 * budget);
  architecture.add_gradient(operations, 1);
  CHECK_FALSE(architecture.operands()[0].logits.grad().defined());
}

TEST_CASE("search: decisions round by round keep several tight constraints to the end") {
  const auto net = test::make_supernet();
  for (const std::uint64_t seed : {1, 2, 3, 4, 5, 6}) {
    CAPTURE(seed);
    search::Architecture architecture(*net, kCandidates);
    const auto work = search::layer_work(*net, architecture, {16, 16, 3});
    std::vector<search::Constraint> constraints{{search::mean_weight_bits_table(kCandidates, work), 1.4},
                                                {search::mean_input_bits_table(kCandidates, work), 2.7},
                                                {search::bit_operations_table(kCandidates, work), 0}};
    constraints[2].budget = 1.5 * constraints[2].table.least();
    for (int round = 0; architecture.undecided() > 0; ++round) {
      draw_logits(architecture, 100 * seed + static_cast<std::uint64_t>(round));
      architecture.decide(5, architecture.plan(constraints, 0.98));
    }
    for (const auto& c : constraints) CHECK(architecture.expected(c.table) <= c.budget);
  }
}

TEST_CASE("search: a mixture gives logits between those of its widths, one that is decided exactly its own") {
  const auto net = test::make_supernet();
  net->eval();
  search::Architecture architecture(*net, kCandidates);
  const Variable<float> x(testing::random_normal<float>({2, 8, 8, 3}, 1));
  const NoGradGuard no_grad;
  Random random(1);
  architecture.apply(search::find_cell("softmax"), 1.0, random);
  const Tensor<float> mixed = (*net)(x).value().clone();
  for (const search::Operand& o : architecture.operands()) test::logits_of(o)(1) = 60;
  architecture.apply(search::find_cell("softmax"), 1.0, random);
  const Tensor<float> nearly = (*net)(x).value().clone();
  architecture.decide(architecture.operands().size(), architecture.plan({}, 0.98));
  architecture.apply(search::find_cell("softmax"), 1.0, random);
  const Tensor<float> decided = (*net)(x).value().clone();
  const auto plain = test::make_supernet();
  plain->eval();
  plain->set_precision({2, 4});
  CHECK(testing::bit_equal(decided, (*plain)(x).value()));
  CHECK(testing::allclose(nearly, decided, 1e-3, 1e-3));
  CHECK_FALSE(testing::allclose(mixed, decided, 1e-3, 1e-3));
  CHECK(net->training() == false);
}

TEST_CASE("search: candidates that a network was not made for are refused") {
  const auto net = test::make_supernet();
  CHECK_THROWS_AS(search::Architecture(*net, {{1, 3}, {2}}), ValueError);
  CHECK_THROWS_AS(search::Architecture(*net, {{2, 1}, {2}}), ValueError);
  CHECK_THROWS_AS(search::Architecture(*net, {{}, {2}}), ValueError);
  const auto switchable =
      models::make_model("resnet20", {.width = 0.25, .quantization = {.switches = kCandidates.pairs()}});
  CHECK_THROWS_WITH_AS(search::Architecture(*switchable, kCandidates),
                       "search: a batch norm depends on the precision; make the network with NormKind::kShared",
                       ValueError);
  const auto plain = models::make_model("resnet20", {.width = 0.25});
  CHECK_THROWS_AS(search::Architecture(*plain, kCandidates), ValueError);
}
