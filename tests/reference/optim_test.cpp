// Optimizers and schedules against PyTorch's traces.
#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "reference_file.hpp"
#include "spnet/optim/adam.hpp"
#include "spnet/optim/schedule.hpp"
#include "spnet/optim/sgd.hpp"

using namespace spnet;

namespace {

std::unique_ptr<optim::Optimizer> make_optimizer(const ReferenceCase<float>& c, const Variable<float>& weight) {
  std::vector<optim::ParameterGroup> groups(1);
  groups[0].parameters.push_back({"w", weight});
  groups[0].weight_decay = c.number("weight_decay");
  if (c.name().starts_with("sgd"))
    return std::make_unique<optim::SGD>(
        std::move(groups), optim::SGDOptions{.momentum = c.number("momentum"), .nesterov = c.integer("nesterov") != 0});
  return std::make_unique<optim::Adam>(std::move(groups),
                                       optim::AdamOptions{.beta1 = c.number("beta1"),
                                                          .beta2 = c.number("beta2"),
                                                          .epsilon = c.number("eps"),
                                                          .decoupled_decay = c.name().starts_with("adamw")});
}

void check_near(const Tensor<float>& value, const Tensor<float>& expected, double tolerance) {
  REQUIRE(value.shape() == expected.shape());
  for (std::int64_t i = 0; i < value.size(); ++i) CHECK(std::abs(value(i) - expected(i)) <= tolerance);
}

}  // namespace

TEST_CASE("reference: optimizers") {
  ReferenceFile file("optimizers");
  for (const char* kind : {"sgd", "adam"}) {
    for (const auto& c : file.all<float>(kind)) {
      CAPTURE(c.name());
      Variable<float> weight = c.input("start");
      const auto optimizer = make_optimizer(c, weight);
      const Tensor<float> gradients = c.tensor("gradients"), rates = c.tensor("lr"), weights = c.tensor("weights");
      check_near(weight.value(), weights.select(0, 0), 0);
      for (std::int64_t step = 0; step < gradients.dim(0); ++step) {
        CAPTURE(step);
        weight.mutable_grad() = gradients.select(0, step).clone();
        optimizer->step(static_cast<double>(rates(step)));
        check_near(weight.value(), weights.select(0, step + 1), 2e-6 * static_cast<double>(step + 1));
      }
    }
  }
  for (const auto& c : file.all<float>("clip")) {
    CAPTURE(c.name());
    // The clipped gradients show in a plain step of rate 1 from weights of 0.
    std::vector<optim::ParameterGroup> groups(1);
    for (const char* name : {"gradient0", "gradient1"}) {
      Variable<float> weight(Tensor<float>::zeros(c.tensor(name).shape()), true);
      weight.mutable_grad() = c.tensor(name);
      groups[0].parameters.push_back({name, weight});
    }
    CHECK(optim::grad_norm(groups) == doctest::Approx(c.number("norm")).epsilon(1e-6));
    optim::SGD optimizer(groups, {.momentum = 0});
    optimizer.set_clip_norm(c.number("max_norm"));
    optimizer.step(1);
    for (const auto& p : groups[0].parameters) {
      Tensor<float> negative = p.variable.value().clone();
      for (float& v : negative.span()) v = -v;
      c.check(p.name + "_after", negative);
    }
  }
}

TEST_CASE("reference: schedules") {
  ReferenceFile file("schedules");
  for (const auto& c : file.all<double>()) {
    CAPTURE(c.name());
    optim::Schedule schedule;
    schedule.base_lr = c.number("base_lr");
    if (c.has("gamma")) schedule.gamma = c.number("gamma");
    if (c.has("step_size")) {
      schedule.kind = optim::ScheduleKind::kStep;
      schedule.step_size = static_cast<std::uint64_t>(c.integer("step_size"));
    } else if (c.has("milestones")) {
      schedule.kind = optim::ScheduleKind::kMultiStep;
      for (std::int64_t i = 0; i < c.tensor("milestones").size(); ++i)
        schedule.milestones.push_back(static_cast<std::uint64_t>(c.integer("milestones", i)));
    } else if (c.has("T_max")) {
      schedule.kind = optim::ScheduleKind::kCosine;
      schedule.total_steps = static_cast<std::uint64_t>(c.integer("T_max"));
      schedule.final_lr = c.number("eta_min");
    } else if (c.has("warmup_steps")) {
      schedule.kind = optim::ScheduleKind::kConstant;
      schedule.warmup_steps = static_cast<std::uint64_t>(c.integer("warmup_steps"));
    } else {
      schedule.kind = optim::ScheduleKind::kOneCycle;
      schedule.total_steps = static_cast<std::uint64_t>(c.integer("total_steps"));
      schedule.rise = c.number("pct_start");
      schedule.initial_divisor = c.number("div_factor");
      schedule.final_divisor = c.number("final_div_factor");
    }
    const Tensor<double> rates = c.tensor("lr");
    for (std::int64_t step = 0; step < rates.size(); ++step) {
      CAPTURE(step);
      CHECK(schedule(static_cast<std::uint64_t>(step)) == doctest::Approx(rates(step)).epsilon(1e-12));
    }
  }
}
