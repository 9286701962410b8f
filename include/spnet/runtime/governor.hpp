// Chooses a precision for every image, so that a budget is kept while the machine gets busy and free again.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "spnet/core/error.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

/// What a governor may choose, and what is known of it beforehand.
struct Candidate {
  std::string name;
  double accuracy = 0;     ///< higher is better; any scale
  double latency_ms = 0;   ///< of one image, measured while nothing else ran; > 0
  std::int64_t bytes = 0;  ///< of memory
  double energy = 0;       ///< of one image; any scale
};

/// At most so much, for one image; infinity: any.
struct Budget {
  double latency_ms = std::numeric_limits<double>::infinity();
  double bytes = std::numeric_limits<double>::infinity();
  double energy = std::numeric_limits<double>::infinity();
};

struct GovernorOptions {
  /// Share of the latency budget that a better candidate has to keep under before it is tried, in (0, 1).
  double headroom = 0.95;
  /// Images above the budget, of the last kWindow, that make it step down; 1 to kWindow.
  int patience = 2;
  /// Images in a row that must leave headroom before a better candidate is tried; kWindow to 1e6.
  int hold = 16;
};

/// Keeps to the most accurate candidate that meets the budget. Memory and energy are known; latency is what was
/// measured beforehand times the load, which is what the last images took over what they should have. It steps down as
/// soon as the last images show that the budget is broken, and up where each of the last `hold` images left headroom.
/// Where a step up had to be taken back within as many, what the candidate took by the load that the faster one then
/// meets takes the place of what was measured beforehand, for a time that doubles with every such step: no back and
/// forth at a load where one candidate is too slow and the next leaves room. Knows no clock: tests give it any times.
class Governor {
 public:
  static constexpr int kWindow = 4;

  /// Throws ValueError where there is no candidate, or none that keeps the budgets of memory and energy; the message
  /// names the nearest.
  Governor(std::vector<Candidate> candidates, const Budget& budget, const GovernorOptions& options = {})
      : budget_(budget), options_(options) {
    check<ValueError>(!candidates.empty(), "governor: no candidate given");
    check<ValueError>(options.headroom > 0 && options.headroom < 1 && options.patience >= 1 &&
                          options.patience <= kWindow && options.hold >= kWindow && options.hold <= 1'000'000,
                      "governor: headroom ", options.headroom, ", patience ", options.patience, ", hold ", options.hold,
                      " given, expected 0 to 1, 1 to ", kWindow, ", ", kWindow, " to 1000000");
    check<ValueError>(budget.latency_ms > 0, "governor: a budget of ", budget.latency_ms, " ms given, expected > 0");
    for (const Candidate& c : candidates) {
      check<ValueError>(c.latency_ms > 0, "governor: ", c.name, " has a latency of ", c.latency_ms,
                        " ms, expected > 0");
      check<ValueError>(!std::isnan(c.accuracy), "governor: ", c.name, " has an accuracy that is not a number");
    }
    require_feasible("memory", "bytes", candidates, budget.bytes,
                     [](const Candidate& c) { return static_cast<double>(c.bytes); });
    require_feasible("energy", "units", candidates, budget.energy, [](const Candidate& c) { return c.energy; });
    for (std::size_t i = 0; i < candidates.size(); ++i)
      if (static_cast<double>(candidates[i].bytes) <= budget.bytes && candidates[i].energy <= budget.energy)
        ladder_.push_back({i, candidates[i].accuracy, candidates[i].latency_ms});
    check<ValueError>(!ladder_.empty(), "governor: no candidate keeps both budgets, ", budget.bytes, " bytes and ",
                      budget.energy, " units of energy");
    keep_useful();
    rung_ = best_within(1.0, 1.0);
  }

  /// The candidate to run next, by its place in the list given.
  std::size_t current() const { return ladder_[rung_].candidate; }

  /// Takes in what the image that just ran at `current()` took; returns true where the next one runs at another
  /// candidate. Times that are not finite or not above 0 are passed over.
  bool record(double latency_ms) {
    if (!(latency_ms > 0 && latency_ms < std::numeric_limits<double>::infinity())) return false;
    window_[next_] = latency_ms / ladder_[rung_].latency_ms;
    next_ = (next_ + 1) % kWindow;
    seen_ = std::min(seen_ + 1, kWindow);
    ++images_;
    const auto begin = window_, end = window_ + seen_;
    const double limit = budget_.latency_ms / ladder_[rung_].latency_ms;
    const auto over = std::count_if(begin, end, [&](double load) { return load > limit; });
    const std::int64_t stayed = images_ - arrived_;
    if (over >= options_.patience && rung_ > 0) {
      // The slower ones of the last images tell the load; the rest are from before.
      double load = std::numeric_limits<double>::infinity();
      for (auto at = begin; at != end; ++at)
        if (*at > limit) load = std::min(load, *at);
      if (stayed <= options_.hold && stepped_up_) left_ = {rung_, load};
      return go_to(std::min(rung_ - 1, best_within(load, 1.0)), false);
    }
    if (seen_ == kWindow) learn();
    if (stepped_up_ && stayed > 4 * options_.hold) ladder_[rung_].times = 0;
    // What each of so many images would have left room for.
    const std::size_t better = best_within(latency_ms / ladder_[rung_].latency_ms, options_.headroom);
    calm_ = better > rung_ ? calm_ + 1 : 0;
    better_ = calm_ > 1 ? std::min(better_, better) : better;
    return calm_ >= options_.hold && go_to(better_, true);
  }

  /// How many times slower than measured the last images were, the median of them; 1 before the first.
  double load() const {
    if (seen_ == 0) return 1;
    double loads[kWindow];
    std::copy_n(window_, seen_, loads);
    std::nth_element(loads, loads + seen_ / 2, loads + seen_);
    return loads[seen_ / 2];
  }
  /// False where the last images broke the latency budget and nothing faster is left.
  bool meets_budget() const { return rung_ > 0 || ladder_[0].latency_ms * load() <= budget_.latency_ms; }

 private:
  struct Rung {
    std::size_t candidate;
    double accuracy, latency_ms;
    // What is known from steps up that were taken back.
    double slower = 1;               // than measured beforehand, at the same load
    std::int64_t believed_until = 0;  // an image
    int times = 0;
  };
  struct Left {
    std::size_t rung;
    double load;  // as it looked from there
  };

  template <class Value>
  static void require_feasible(const char* what, const char* unit, const std::vector<Candidate>& candidates,
                               double most, const Value& value) {
    const auto least = std::min_element(candidates.begin(), candidates.end(),
                                        [&](const Candidate& a, const Candidate& b) { return value(a) < value(b); });
    check<ValueError>(value(*least) <= most, "governor: the budget of ", what, ", ", most, " ", unit,
                      ", cannot be kept; the least is ", value(*least), " (", least->name, ")");
  }
  // From the fastest to the slowest, without those that are no more accurate than a faster one.
  void keep_useful() {
    std::stable_sort(ladder_.begin(), ladder_.end(), [](const Rung& a, const Rung& b) {
      return a.latency_ms != b.latency_ms ? a.latency_ms < b.latency_ms : a.accuracy > b.accuracy;
    });
    std::vector<Rung> useful;
    for (const Rung& rung : ladder_)
      if (useful.empty() || rung.accuracy > useful.back().accuracy) useful.push_back(rung);
    ladder_ = std::move(useful);
  }
  std::size_t best_within(double load, double share) const {
    std::size_t best = 0;
    for (std::size_t i = 0; i < ladder_.size(); ++i) {
      const double slower = images_ < ladder_[i].believed_until ? ladder_[i].slower : 1;
      if (ladder_[i].latency_ms * slower * load <= share * budget_.latency_ms) best = i;
    }
    return best;
  }
  // How much slower the rung that was just left is, now that the load is seen from another.
  void learn() {
    if (!left_) return;
    constexpr int kMostTimes = 16;
    Rung& rung = ladder_[left_->rung];
    rung.slower = std::max(1.0, left_->load / load());
    rung.believed_until = images_ + (std::int64_t{64} * options_.hold << std::min(rung.times++, kMostTimes));
    left_.reset();
  }
  bool go_to(std::size_t rung, bool up) {
    rung_ = rung;
    stepped_up_ = up;
    seen_ = next_ = calm_ = 0;
    arrived_ = images_;
    return true;
  }

  Budget budget_;
  GovernorOptions options_;
  std::vector<Rung> ladder_;
  std::size_t rung_ = 0;
  double window_[kWindow] = {};  // loads
  int seen_ = 0, next_ = 0;  // of them
  std::int64_t images_ = 0, arrived_ = 0;
  int calm_ = 0;            // images in a row that leave room for a better rung,
  std::size_t better_ = 0;  // this one
  bool stepped_up_ = false;
  std::optional<Left> left_;
};

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
