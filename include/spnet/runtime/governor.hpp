// Chooses a precision for every image, so that a budget is kept while the machine gets busy and free again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
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
  /// Images between two switches, unless the budget is broken; at least kWindow.
  int hold = 16;
};

/// Keeps to the most accurate candidate that meets the budget. Memory and energy are known; latency is what was
/// measured beforehand times the load, which is what the last images took over what they should have. It steps down as
/// soon as the last images show that the budget is broken, and up one by one, not more than once in `hold` images, and
/// only where there is headroom. A step up that had to be taken back doubles the wait for the next, up to 16 times: no
/// back and forth at a load where one candidate is too slow and the next leaves room. Knows no clock: tests give it any
/// times.
class Governor {
 public:
  static constexpr int kWindow = 4;

  /// Throws ValueError where there is no candidate, or none that keeps the budgets of memory and energy; the message
  /// names the nearest.
  Governor(std::vector<Candidate> candidates, const Budget& budget, const GovernorOptions& options = {})
      : budget_(budget), options_(options) {
    check<ValueError>(!candidates.empty(), "governor: no candidate given");
    check<ValueError>(options.headroom > 0 && options.headroom < 1 && options.patience >= 1 &&
                          options.patience <= kWindow && options.hold >= kWindow,
                      "governor: headroom ", options.headroom, ", patience ", options.patience, ", hold ", options.hold,
                      " given, expected 0 to 1, 1 to ", kWindow, ", at least ", kWindow);
    for (const Candidate& c : candidates)
      check<ValueError>(c.latency_ms > 0, "governor: ", c.name, " has a latency of ", c.latency_ms,
                        " ms, expected > 0");
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
    window_[static_cast<std::size_t>(seen_++ % kWindow)] = latency_ms / ladder_[rung_].latency_ms;
    ++since_switch_;
    const int count = std::min(seen_, kWindow);
    const auto begin = window_, end = window_ + count;
    const double limit = budget_.latency_ms / ladder_[rung_].latency_ms;
    const auto over = std::count_if(begin, end, [&](double load) { return load > limit; });
    if (over >= options_.patience && rung_ > 0) {
      // The slower ones of the last images tell the load; the rest are from before.
      double load = std::numeric_limits<double>::infinity();
      for (auto at = begin; at != end; ++at)
        if (*at > limit) load = std::min(load, *at);
      if (since_switch_ <= options_.hold && stepped_up_) wait_ = std::min(2 * wait_, 16 * options_.hold);
      return go_to(std::min(rung_ - 1, best_within(load, 1.0)), false);
    }
    if (count < kWindow || over > 0 || rung_ + 1 == ladder_.size()) return false;
    if (stepped_up_ && since_switch_ > 4 * options_.hold) wait_ = options_.hold;
    if (since_switch_ < wait_) return false;
    const std::size_t better = best_within(*std::max_element(begin, end), options_.headroom);
    return better > rung_ && go_to(better, true);
  }

  /// How many times slower than measured the last images were, the median of them; 1 before the first.
  double load() const {
    if (seen_ == 0) return 1;
    double sorted[kWindow];
    const int count = std::min(seen_, kWindow);
    std::copy_n(window_, count, sorted);
    std::sort(sorted, sorted + count);
    return sorted[count / 2];
  }
  /// False where the last images broke the latency budget and nothing faster is left.
  bool meets_budget() const { return rung_ > 0 || ladder_[0].latency_ms * load() <= budget_.latency_ms; }

 private:
  struct Rung {
    std::size_t candidate;
    double accuracy, latency_ms;
  };

  template <class Value>
  static void require_feasible(const char* what, const char* unit, const std::vector<Candidate>& candidates,
                               double most, const Value& value) {
    const auto least = std::min_element(candidates.begin(), candidates.end(),
                                        [&](const Candidate& a, const Candidate& b) { return value(a) < value(b); });
    check<ValueError>(value(*least) <= most, "governor: a ", what, " budget of ", most, " ", unit,
                      " cannot be kept; the least is ", value(*least), " (", least->name, ")");
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
    for (std::size_t i = 0; i < ladder_.size(); ++i)
      if (ladder_[i].latency_ms * load <= share * budget_.latency_ms) best = i;
    return best;
  }
  bool go_to(std::size_t rung, bool up) {
    rung_ = rung;
    stepped_up_ = up;
    seen_ = since_switch_ = 0;
    return true;
  }

  Budget budget_;
  GovernorOptions options_;
  std::vector<Rung> ladder_;
  std::size_t rung_ = 0;
  double window_[kWindow] = {};  // loads
  int seen_ = 0, since_switch_ = 0;
  int wait_ = options_.hold;
  bool stepped_up_ = false;
};

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
