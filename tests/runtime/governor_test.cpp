#include "spnet/runtime/governor.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "../temporary_folder.hpp"
#include "spnet/core/random.hpp"

using namespace spnet;
using runtime::Budget;
using runtime::Candidate;
using runtime::Governor;
using test::error_of;

namespace {

const std::vector<Candidate> kCandidates{
    {"w1a1", 60, 2, 100, 1}, {"w2a2", 70, 4, 200, 4}, {"w4a4", 75, 6, 400, 16}, {"w8a8", 76, 8, 800, 64}};

struct Outcome {
  std::vector<std::size_t> ran;
  int within = 0;
  double accuracy = 0;
  int switches(int from, int to) const {
    int count = 0;
    for (int i = from + 1; i < to; ++i)
      count += ran[static_cast<std::size_t>(i)] != ran[static_cast<std::size_t>(i - 1)];
    return count;
  }
};

// A machine whose load is a function of time, with noise of `noise` and now and then a spike.
Outcome simulate(const std::vector<Candidate>& candidates, const Budget& budget, int images,
                 const std::function<double(int)>& load, double noise, std::uint64_t seed, int fixed = -1) {
  Random random(seed);
  Governor governor(candidates, budget);
  Outcome out;
  for (int i = 0; i < images; ++i) {
    const std::size_t at = fixed < 0 ? governor.current() : static_cast<std::size_t>(fixed);
    double ms = candidates[at].latency_ms * load(i) * (1 + noise * static_cast<double>(random.uniform(-1, 1)));
    if (random.below(100) == 0) ms *= 3;
    out.ran.push_back(at);
    out.within += ms <= budget.latency_ms;
    out.accuracy += candidates[at].accuracy / images;
    if (fixed < 0) governor.record(ms);
  }
  return out;
}

}  // namespace

TEST_CASE("governor: begins at the most accurate candidate that keeps the budgets") {
  CHECK(Governor(kCandidates, {.latency_ms = 6.5}).current() == 2);
  CHECK(Governor(kCandidates, {}).current() == 3);
  CHECK(Governor(kCandidates, {.bytes = 300}).current() == 1);
  CHECK(Governor(kCandidates, {.latency_ms = 7, .energy = 5}).current() == 1);
  // Nothing is fast enough: the fastest runs, and says so.
  Governor late(kCandidates, {.latency_ms = 1});
  CHECK(late.current() == 0);
  CHECK_FALSE(late.meets_budget());
  // Slower and no better is never chosen.
  CHECK(Governor({{"a", 60, 2}, {"b", 59, 3}, {"c", 61, 4}}, {.latency_ms = 3.5}).current() == 0);
}

TEST_CASE("governor: budgets that nothing keeps are refused with the nearest candidate") {
  CHECK(error_of<ValueError>([] { Governor({}, {}); }) == "governor: no candidate given");
  CHECK(error_of<ValueError>([] { Governor(kCandidates, {.bytes = 99}); }) ==
        "governor: the budget of memory, 99 bytes, cannot be kept; the least is 100 (w1a1)");
  CHECK(error_of<ValueError>([] { Governor(kCandidates, {.energy = 0.5}); }) ==
        "governor: the budget of energy, 0.5 units, cannot be kept; the least is 1 (w1a1)");
  CHECK(error_of<ValueError>([] { Governor({{"a", 1, 0}}, {}); }) == "governor: a has a latency of 0 ms, expected > 0");
  CHECK(error_of<ValueError>([] {
          Governor({{"a", std::nan(""), 1}}, {});
        }) == "governor: a has an accuracy that is not a number");
  CHECK(error_of<ValueError>([] { Governor(kCandidates, {}, {.patience = 9}); }) != "");
  CHECK(error_of<ValueError>([] { Governor(kCandidates, {}, {.hold = 1 << 30}); }) != "");
  for (const double ms : {0.0, -1.0, std::nan("")})
    CHECK(error_of<ValueError>([&] { Governor(kCandidates, {.latency_ms = ms}); }) != "");
}

TEST_CASE("governor: reacts within 8 images when the machine gets busy, and recovers") {
  int before = 0, after = 0;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const auto busy = [](int i) { return i >= 100 && i < 200 ? 2.0 : 1.0; };
    const Outcome out = simulate(kCandidates, {.latency_ms = 9}, 400, busy, 0.04, seed);
    before += out.ran[99] == 3;
    for (std::size_t i = 108; i < 200; ++i) CHECK(out.ran[i] <= 1);
    after += out.ran[299] == 3;
    CHECK(out.within >= 380);
  }
  // Spikes may come two at a time.
  CHECK(before >= 48);
  CHECK(after >= 48);
}

TEST_CASE("governor: switches at most once in 16 images where the load is steady, wherever it lies") {
  for (double load = 0.5; load < 5; load *= 1.03) {
    CAPTURE(load);
    const Outcome out = simulate(
        kCandidates, {.latency_ms = 9}, 2000, [=](int) { return load; }, 0.05, 3);
    for (int i = 100; i + 16 <= 1000; ++i) CHECK(out.switches(i, i + 16) <= 1);
    // What was learned is tried anew, seldom.
    for (int i = 1000; i + 16 <= 2000; ++i) CHECK(out.switches(i, i + 16) <= 2);
    CHECK(out.switches(1000, 2000) <= 8);
    if (load < 4) CHECK(out.within >= 1900);
  }
}

TEST_CASE("governor: a candidate that is slower than measured beforehand is left alone, and found again when it is not") {
  for (const double slower : {1.13, 1.3, 2.0}) {
    CAPTURE(slower);
    Governor governor(kCandidates, {.latency_ms = 9});
    std::vector<std::size_t> ran;
    const auto run = [&](int images, double load) {
      for (int i = 0; i < images; ++i) {
        ran.push_back(governor.current());
        governor.record(kCandidates[ran.back()].latency_ms * load * (ran.back() == 3 ? slower : 1));
      }
    };
    run(1000, 1.0);
    // Twice at the beginning, then never within 1,000 images.
    CHECK(std::count(ran.begin() + 60, ran.end(), 3u) == 0);
    CHECK(std::count(ran.begin() + 60, ran.end(), 2u) == 940);
    run(40, 0.4);
    CHECK(ran.back() == 3);
    run(5000, 1.0);
    CHECK(std::count(ran.end() - 4000, ran.end(), 2u) > 3980);
  }
}

TEST_CASE("governor: a step up that a busy spell met is no reason to stay below") {
  Governor governor(kCandidates, {.latency_ms = 9});
  std::size_t at = 0;
  const auto run = [&](int images, double load) {
    for (int i = 0; i < images; ++i) governor.record(kCandidates[at = governor.current()].latency_ms * load);
  };
  run(20, 2.0);
  CHECK(at < 3);
  for (int i = 0; at < 3 && i < 60; ++i) run(1, 1.0);
  run(3, 1.0);
  REQUIRE(at == 3);
  run(40, 2.0);  // soon after the step up
  CHECK(at < 3);
  run(60, 1.0);
  CHECK(at == 3);
}

TEST_CASE("governor: no fixed candidate keeps the budget more often and is more accurate, under ramps and bursts") {
  const std::vector<std::function<double(int)>> loads{[](int i) { return 1 + 2.0 * i / 1000; },
                                                      [](int i) { return i / 60 % 3 == 0 ? 2.2 : 1.0; },
                                                      [](int i) { return 1.8 + 0.8 * std::sin(i / 50.0); }};
  for (const auto& load : loads) {
    const Outcome governed = simulate(kCandidates, {.latency_ms = 9}, 1000, load, 0.05, 9);
    CHECK(governed.within >= 930);
    for (int fixed = 0; fixed < 4; ++fixed) {
      const Outcome one = simulate(kCandidates, {.latency_ms = 9}, 1000, load, 0.05, 9, fixed);
      CHECK_FALSE((one.within > governed.within && one.accuracy > governed.accuracy));
    }
  }
}

TEST_CASE("governor: times that are none change nothing") {
  Governor governor(kCandidates, {.latency_ms = 9});
  for (const double ms : {0.0, -1.0, std::numeric_limits<double>::infinity(), std::nan("")})
    for (int i = 0; i < 20; ++i) CHECK_FALSE(governor.record(ms));
  CHECK(governor.current() == 3);
  CHECK(governor.load() == 1);
}
