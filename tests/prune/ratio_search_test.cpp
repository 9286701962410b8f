#include "spnet/prune/ratio_search.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "../temporary_folder.hpp"
#include "spnet/models/resnet.hpp"

using namespace spnet;
using prune::RatioMasks;
using prune::RatioSearchOptions;
using prune::RatioTrial;
using test::error_of;

namespace {

struct SearchedNetwork {
  SearchedNetwork()
      : net(models::make_model("resnet20", {.quantization = {.switches = switches}})),
        masks(prune::channel_graph(*net, {8, 8, 3}, switches)),
        network(*net, masks, switches, {}) {}

  // What the masks leave, from the network itself.
  double remaining_bits() const {
    const auto whole = models::make_model("resnet20", {.quantization = {.switches = switches}});
    return static_cast<double>(nn::model_size_bits(*net, {4, 4})) /
           static_cast<double>(nn::model_size_bits(*whole, {4, 4}));
  }
  std::vector<std::size_t> all() const {
    std::vector<std::size_t> out(network.size());
    std::iota(out.begin(), out.end(), std::size_t{0});
    return out;
  }

  std::vector<Precision> switches = parse_switches("w1a2,w4a4");
  std::unique_ptr<nn::Classifier> net;
  prune::ChannelMasks masks;
  RatioMasks network;
};

// The budget is kept, and no channel could stay.
void check_fits(const RatioMasks& network, const std::vector<double>& ratios, double budget) {
  CHECK(network.remaining(ratios).bits <= budget);
  for (std::size_t i = 0; i < ratios.size(); ++i) {
    if (ratios[i] == 0) continue;
    std::vector<double> more = ratios;
    more[i] -= 1 / static_cast<double>(network.group(i).channels);
    CHECK(network.remaining(more).bits > budget);
  }
}

}  // namespace

TEST_CASE("prune: the size that ratios leave is that of the masked network") {
  SearchedNetwork f;
  REQUIRE(f.network.size() == 12);
  std::vector<double> ratios;
  for (std::size_t i = 0; i < f.network.size(); ++i) ratios.push_back(0.03 * static_cast<double>(i));
  f.network.mask(ratios);
  CHECK(f.network.remaining(ratios).bits == doctest::Approx(f.remaining_bits()).epsilon(1e-12));
  CHECK(f.network.remaining(std::vector<double>(12, 0)).bits == 1);
  CHECK(f.network.possible(1, 0.4) == doctest::Approx(6.0 / 16));
  CHECK(f.network.possible(1, 0.999) == doctest::Approx(15.0 / 16));
}

TEST_CASE("prune: what is kept is a multiple of what kernels handle at once, or all") {
  SearchedNetwork f;
  RatioMasks network(*f.net, f.masks, f.switches, {}, 16);
  CHECK(network.possible(0, 0.9) == 0);  // one multiple is there
  std::size_t wide = 0;
  while (network.group(wide).channels < 64) ++wide;
  CHECK(network.possible(wide, 0.2) == 0);
  CHECK(network.possible(wide, 0.3) == doctest::Approx(0.25));
  CHECK(network.possible(wide, 0.99) == doctest::Approx(0.75));
  network.mask(prune::uniform_ratios(network, 0.7, 0.6));
  CHECK(f.remaining_bits() <= 0.7);
  for (std::size_t g = 0; g < f.masks.kept().size(); ++g)
    if (f.masks.graph().groups[g].obstacle.empty()) CHECK(f.masks.kept()[g].size() % 16 == 0);
  CHECK_THROWS_AS(RatioMasks(*f.net, f.masks, f.switches, {}, 0), ValueError);
}

TEST_CASE("prune: one layer's ratio is found where loss and size balance") {
  SearchedNetwork f;
  // The loss rises by what the third group loses beyond a quarter.
  const std::vector<double> none(f.network.size(), 0);
  std::vector<double> tried;
  RatioSearchOptions options{.alpha = 1};
  const auto loss = [&] {
    const auto& kept = f.masks.kept();
    double gone = 0;
    for (std::size_t g = 0; g < kept.size(); ++g)
      if (f.masks.graph().groups[g].name == f.network.group(3).name)
        gone = 1 - static_cast<double>(kept[g].size()) / static_cast<double>(f.network.group(3).channels);
    tried.push_back(gone);
    return std::max(0.0, gone - 0.25);
  };
  const RatioTrial found = prune::search_ratios(f.network, none, {3}, loss, options);
  CHECK(found.ratios[3] == doctest::Approx(0.25));
  CHECK(found.ratios[2] == 0);
  CHECK(tried.size() <= 13);
  CHECK(tried[0] == 0);
  CHECK(tried[1] == doctest::Approx(3.0 / 16));
  CHECK(tried[2] == doctest::Approx(6.0 / 16));
}

TEST_CASE("prune: a joint search keeps the budget and spares what matters") {
  SearchedNetwork f;
  const std::vector<double> none(f.network.size(), 0);
  // Only the groups of the first stage matter.
  std::vector<double> now;
  const auto loss = [&] {
    double sum = 1e-3;
    for (std::size_t g = 0; g < f.masks.kept().size(); ++g) {
      const auto& group = f.masks.graph().groups[g];
      const double gone = 1 - static_cast<double>(f.masks.kept()[g].size()) / static_cast<double>(group.channels);
      if (group.name.starts_with("layer1") || group.name.starts_with("conv1")) sum += gone * gone;
    }
    return sum;
  };
  std::vector<RatioTrial> trials;
  RatioSearchOptions options{.random_points = 10, .guided_points = 15, .budget = 0.6};
  options.progress = [&](const RatioTrial& trial) {
    trials.push_back(trial);
    check_fits(f.network, trial.ratios, 0.6);
    CHECK(f.remaining_bits() == doctest::Approx(f.network.remaining(trial.ratios).bits));
    CHECK(trial.objective == -std::log(trial.loss));
    return true;
  };
  const RatioTrial found = prune::search_ratios(f.network, none, f.all(), loss, options);
  CHECK(trials.size() <= 28);
  // First all groups alike, then as far as it goes those that one layer makes, then the second half.
  REQUIRE(trials.size() > 3);
  CHECK(trials[0].ratios == prune::uniform_ratios(f.network, 0.6, 0.4));
  for (std::size_t i = 0; i < 12; ++i) {
    const bool one = f.network.group(i).name.find('+') == std::string::npos;
    CHECK(f.network.has_one_maker(i) == one);
    if (one) CHECK(trials[1].ratios[i] >= *std::min_element(trials[1].ratios.begin(), trials[1].ratios.end()) + 0.1);
  }
  double first = 0, rest = 0;
  for (std::size_t i = 0; i < 4; ++i) first += found.ratios[i] / 4;
  for (std::size_t i = 4; i < 12; ++i) rest += found.ratios[i] / 8;
  CHECK(first < 0.5 * rest);
}

TEST_CASE("prune: a search that is told its trials again goes on as it would have") {
  const auto trials_of = [](std::vector<RatioTrial> known, std::size_t stop) {
    SearchedNetwork f;
    std::vector<RatioTrial> out = known;
    RatioSearchOptions options{.known = known};
    options.progress = [&](const RatioTrial& trial) {
      out.push_back(trial);
      return out.size() < stop;
    };
    const auto loss = [&] {
      return std::cos(static_cast<double>(f.masks.kept()[2].size() + f.masks.kept()[5].size()));
    };
    prune::search_ratios(f.network, std::vector<double>(f.network.size(), 0), {1, 4}, loss, options);
    return out;
  };
  const auto whole = trials_of({}, 100), half = trials_of({}, 9), rest = trials_of(half, 100);
  REQUIRE(rest.size() == whole.size());
  for (std::size_t i = 0; i < whole.size(); ++i) {
    CHECK(rest[i].ratios == whole[i].ratios);
    CHECK(rest[i].objective == whole[i].objective);
  }
}

TEST_CASE("prune: a search stops at a loss of nothing, with the best so far") {
  SearchedNetwork f;
  int asked = 0, told = 0;
  RatioSearchOptions options;
  options.progress = [&](const RatioTrial&) { return ++told > 0; };
  const auto loss = [&] { return ++asked < 3 ? std::optional<double>(asked) : std::nullopt; };
  const RatioTrial found =
      prune::search_ratios(f.network, std::vector<double>(f.network.size(), 0), {1}, loss, options);
  CHECK(asked == 3);
  CHECK(told == 2);
  CHECK(found.loss == 1);
}

TEST_CASE("prune: uniform ratios keep a budget, and no more than that") {
  SearchedNetwork f;
  const auto ratios = prune::uniform_ratios(f.network, 0.7, 0.4);
  check_fits(f.network, ratios, 0.7);
  for (std::size_t i = 0; i < ratios.size(); ++i) CHECK(std::abs(ratios[i] - ratios[0]) < 2.0 / 16);
  CHECK_THROWS_AS(prune::uniform_ratios(f.network, 0.3, 0.4), ValueError);
}

TEST_CASE("prune: a budget that cannot be kept is refused with what can") {
  SearchedNetwork f;
  const auto loss = [] { return 0.0; };
  const std::string text = error_of<ValueError>([&] {
    prune::search_ratios(f.network, std::vector<double>(f.network.size(), 0), f.all(), loss, {.budget = 0.2});
  });
  CHECK(text.starts_with("prune: a size of 20 % of the network as it is cannot be reached: ratios up to 0.4 leave "));
}

TEST_CASE("prune: what a search cannot begin with is refused") {
  SearchedNetwork f;
  const auto loss = [] { return 0.0; };
  const std::vector<double> none(f.network.size(), 0);
  const auto refused = [&](const std::vector<double>& ratios, std::vector<std::size_t> searched,
                           const RatioSearchOptions& options) {
    return error_of<ValueError>([&] { prune::search_ratios(f.network, ratios, searched, loss, options); });
  };
  CHECK(refused(none, {0}, {.most = 1}) ==
        "prune: ratios up to 1 given, expected between 0 and 1: a layer keeps at least one channel");
  CHECK(refused({0, 0}, {0}, {}) == "prune: 2 ratios given, the network has 12 groups of channels that can be removed");
  CHECK(refused(none, {12}, {}) == "prune: group 12 given, expected 0 to 11");
  CHECK(refused(none, {0}, {.guided_points = -5}) == "prune: 5 random and -5 guided points given, expected 0 or more");
  CHECK(refused(std::vector<double>(12, std::nan("")), {0}, {}) == "prune: a ratio of nan given, expected a number");
  CHECK_THROWS_AS(f.network.mask({}), ValueError);
  CHECK_THROWS_AS(RatioMasks(*f.net, f.masks, {}, {}), ValueError);
  std::vector<double> some = none;
  some[0] = 0.5;
  f.network.mask(some);
  CHECK_THROWS_AS(RatioMasks(*f.net, f.masks, f.switches, {}), ValueError);
}

TEST_CASE("prune: a loss that is not finite is a bad one") {
  SearchedNetwork f;
  const auto loss = [&] { return f.masks.kept()[1].size() < 16 ? std::nan("") : 1.0; };
  const RatioTrial found =
      prune::search_ratios(f.network, std::vector<double>(f.network.size(), 0), f.all(), loss, {.budget = 0.8});
  CHECK(found.loss == 1);
}
