// Learning-rate schedules: pure functions of the step, so that a resumed run needs to remember none of them.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string>
#include <string_view>
#include <vector>

#include "spnet/core/error.hpp"

namespace spnet {
inline namespace v0 {
namespace optim {

enum class ScheduleKind { kConstant, kStep, kMultiStep, kCosine, kOneCycle };

/// Learning rate over the steps of a run. Steps count updates, from 0.
struct Schedule {
  ScheduleKind kind = ScheduleKind::kCosine;
  double base_lr = 0.1;
  std::uint64_t total_steps = 1;          ///< cosine and one-cycle end here
  std::uint64_t warmup_steps = 0;         ///< rise linearly from base_lr/warmup_steps; cosine and one-cycle follow then
  std::uint64_t step_size = 1;            ///< step: multiply by gamma every so many steps
  std::vector<std::uint64_t> milestones;  ///< multi-step: multiply by gamma at each, ascending
  double gamma = 0.1;
  double final_lr = 0;                               ///< cosine: the rate at total_steps
  double rise = 0.3;                                 ///< one-cycle: share of the run in which the rate rises to base_lr
  double initial_divisor = 25, final_divisor = 1e4;  ///< one-cycle: from base_lr/initial to that/final

  /// The rate of update number `step`.
  double operator()(std::uint64_t step) const {
    if (step < warmup_steps) return base_lr * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
    const std::uint64_t at = step - warmup_steps;
    const std::uint64_t length =
        std::max<std::uint64_t>(total_steps > warmup_steps ? total_steps - warmup_steps : 0, 1);
    switch (kind) {
      case ScheduleKind::kStep:
        return base_lr * std::pow(gamma, static_cast<double>(step / std::max<std::uint64_t>(step_size, 1)));
      case ScheduleKind::kMultiStep:
        return base_lr *
               std::pow(gamma, static_cast<double>(std::upper_bound(milestones.begin(), milestones.end(), step) -
                                                   milestones.begin()));
      case ScheduleKind::kCosine:
        return between(base_lr, final_lr, std::min(1.0, static_cast<double>(at) / static_cast<double>(length)));
      case ScheduleKind::kOneCycle: {
        const double peak = rise * static_cast<double>(length) - 1, last = static_cast<double>(length) - 1;
        const double now = std::min(static_cast<double>(at), last);
        const double first_lr = base_lr / initial_divisor;
        return now <= peak ? between(first_lr, base_lr, peak > 0 ? now / peak : 1)
                           : between(base_lr, first_lr / final_divisor, last > peak ? (now - peak) / (last - peak) : 1);
      }
      case ScheduleKind::kConstant:
        break;
    }
    return base_lr;
  }

 private:
  // Half a cosine from `from` (share 0) to `to` (share 1).
  static double between(double from, double to, double share) {
    return to + (from - to) * 0.5 * (1 + std::cos(std::numbers::pi * share));
  }
};

namespace detail {

inline double parse_number(std::string_view text, std::string_view spec) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check<ValueError>(error == std::errc{} && end == text.data() + text.size() && std::isfinite(value), "schedule: '",
                    text, "' in '", spec, "' is not a number");
  return value;
}

inline std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

}  // namespace detail

/// Reads "constant", "cosine", "one-cycle", "step:30" or "step:30:0.1" (epochs, factor), "multi-step:30,60,90" or
/// "multi-step:30,60,90:0.1". Throws ValueError on another form.
inline Schedule parse_schedule(std::string_view spec, double base_lr, std::uint64_t steps_per_epoch,
                               std::uint64_t epochs, double warmup_epochs = 0) {
  check<ValueError>(base_lr > 0 && std::isfinite(base_lr), "schedule: learning rate ", base_lr, " given, expected > 0");
  check<ValueError>(warmup_epochs >= 0 && std::isfinite(warmup_epochs), "schedule: ", warmup_epochs,
                    " warm-up epochs given, expected ≥ 0");
  const auto steps_of = [&](double count) {
    const double steps = count * static_cast<double>(steps_per_epoch);
    check<ValueError>(steps < 1e15, "schedule: ", count, " epochs in '", spec, "' are too many");
    return static_cast<std::uint64_t>(std::llround(steps));
  };
  Schedule out;
  out.base_lr = base_lr;
  out.total_steps = epochs * steps_per_epoch;
  out.warmup_steps = std::min(steps_of(warmup_epochs), out.total_steps);
  const auto parts = detail::split(spec, ':');
  const auto expect = [&](std::size_t least, std::size_t most) {
    check<ValueError>(
        parts.size() >= least && parts.size() <= most, "schedule: '", spec,
        "' given, expected constant, cosine, one-cycle, step:EPOCHS[:FACTOR] or multi-step:E1,E2,…[:FACTOR]");
  };
  const auto factor = [&] {
    if (parts.size() < 3) return;
    out.gamma = detail::parse_number(parts[2], spec);
    check<ValueError>(out.gamma > 0, "schedule: factor ", out.gamma, " in '", spec, "', expected > 0");
  };
  if (parts[0] == "constant") {
    expect(1, 1);
    out.kind = ScheduleKind::kConstant;
  } else if (parts[0] == "cosine") {
    expect(1, 1);
    out.kind = ScheduleKind::kCosine;
  } else if (parts[0] == "one-cycle") {
    expect(1, 1);
    out.kind = ScheduleKind::kOneCycle;
  } else if (parts[0] == "step") {
    expect(2, 3);
    out.kind = ScheduleKind::kStep;
    const double every = detail::parse_number(parts[1], spec);
    check<ValueError>(every > 0, "schedule: ", every, " epochs in '", spec, "', expected > 0");
    out.step_size = std::max<std::uint64_t>(steps_of(every), 1);
    factor();
  } else if (parts[0] == "multi-step") {
    expect(2, 3);
    out.kind = ScheduleKind::kMultiStep;
    for (std::string_view text : detail::split(parts[1], ',')) {
      const double epoch = detail::parse_number(text, spec);
      const std::uint64_t at = steps_of(epoch);
      check<ValueError>(epoch > 0 && (out.milestones.empty() || at > out.milestones.back()), "schedule: epochs in '",
                        spec, "' must be positive and ascending");
      out.milestones.push_back(at);
    }
    factor();
  } else {
    expect(9, 0);
  }
  return out;
}

}  // namespace optim
}  // namespace v0
}  // namespace spnet
