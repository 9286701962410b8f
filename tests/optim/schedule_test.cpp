#include "spnet/optim/schedule.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace spnet;
using optim::parse_schedule;
using optim::Schedule;
using optim::ScheduleKind;

TEST_CASE("optim: schedules by name, in epochs") {
  CHECK(parse_schedule("constant", 0.1, 10, 4)(39) == 0.1);

  const Schedule cosine = parse_schedule("cosine", 0.2, 10, 4);
  CHECK(cosine(0) == 0.2);
  CHECK(cosine(20) == doctest::Approx(0.1));
  CHECK(cosine(39) == doctest::Approx(0.2 * 0.5 * (1 + std::cos(std::numbers::pi * 39 / 40))));
  CHECK(cosine(1000) == doctest::Approx(0));

  const Schedule step = parse_schedule("step:2", 1, 10, 6);
  CHECK(step(19) == 1);
  CHECK(step(20) == doctest::Approx(0.1));
  CHECK(step(40) == doctest::Approx(0.01));
  CHECK(parse_schedule("step:0.5:0.5", 1, 10, 6)(5) == 0.5);

  const Schedule several = parse_schedule("multi-step:1,3,3.5:0.5", 1, 10, 6);
  CHECK(several(9) == 1);
  CHECK(several(10) == 0.5);
  CHECK(several(30) == 0.25);
  CHECK(several(35) == 0.125);

  const Schedule cycle = parse_schedule("one-cycle", 1, 10, 10);
  CHECK(cycle(0) == doctest::Approx(1.0 / 25));
  CHECK(cycle(29) == 1);
  CHECK(cycle(99) == doctest::Approx(1.0 / 25 / 1e4));
  CHECK(cycle(5000) == doctest::Approx(1.0 / 25 / 1e4));
}

TEST_CASE("optim: warm-up rises in equal steps to the base rate, then the schedule follows") {
  const Schedule cosine = parse_schedule("cosine", 0.4, 10, 5, 1);
  for (int i = 0; i < 10; ++i) CHECK(cosine(static_cast<std::uint64_t>(i)) == doctest::Approx(0.04 * (i + 1)));
  CHECK(cosine(10) == 0.4);
  CHECK(cosine(30) == doctest::Approx(0.2));
  CHECK(cosine(50) == doctest::Approx(0));
  // Named epochs are those of the run, warm-up or not.
  const Schedule step = parse_schedule("step:3", 1, 10, 9, 1);
  CHECK(step(29) == 1);
  CHECK(step(30) == doctest::Approx(0.1));
  CHECK(parse_schedule("multi-step:3", 1, 10, 9, 1)(30) == doctest::Approx(0.1));
  // A warm-up longer than the run ends with it.
  CHECK(parse_schedule("cosine", 1, 10, 2, 50)(19) == 1);
}

TEST_CASE("optim: rates stay finite and positive through degenerate runs") {
  for (const char* spec : {"constant", "cosine", "one-cycle", "step:1", "multi-step:1"}) {
    for (std::uint64_t epochs : {0, 1, 2}) {
      for (std::uint64_t steps : {0, 1, 3}) {
        for (double warmup : {0.0, 0.5, 1.0}) {
          const Schedule schedule = parse_schedule(spec, 0.1, steps, epochs, warmup);
          for (std::uint64_t i = 0; i < 8; ++i) {
            CAPTURE(spec);
            CAPTURE(i);
            CHECK(schedule(i) >= 0);
            CHECK(schedule(i) <= 0.1 + 1e-12);
          }
        }
      }
    }
  }
}

TEST_CASE("optim: a schedule that is not understood is quoted") {
  const std::string expected =
      "given, expected constant, cosine, one-cycle, step:EPOCHS[:FACTOR] or multi-step:E1,E2,…[:FACTOR]";
  for (const std::string spec : {"", "linear", "cosine:3", "step", "step:1:2:3", "constant:", "multi-step"})
    CHECK_THROWS_WITH_AS(parse_schedule(spec, 0.1, 10, 3), ("schedule: '" + spec + "' " + expected).c_str(),
                         ValueError);
  CHECK_THROWS_WITH_AS(parse_schedule("step:x", 0.1, 10, 3), "schedule: 'x' in 'step:x' is not a number", ValueError);
  CHECK_THROWS_WITH_AS(parse_schedule("step:nan", 0.1, 10, 3), "schedule: 'nan' in 'step:nan' is not a number",
                       ValueError);
  CHECK_THROWS_WITH_AS(parse_schedule("step:0", 0.1, 10, 3), "schedule: 0 epochs in 'step:0', expected > 0",
                       ValueError);
  CHECK_THROWS_WITH_AS(parse_schedule("step:1:-1", 0.1, 10, 3), "schedule: factor -1 in 'step:1:-1', expected > 0",
                       ValueError);
  CHECK_THROWS_WITH_AS(parse_schedule("step:1e300", 0.1, 10, 3), "schedule: 1e+300 epochs in 'step:1e300' are too many",
                       ValueError);
  CHECK_THROWS_WITH_AS(parse_schedule("multi-step:3,2", 0.1, 10, 3),
                       "schedule: epochs in 'multi-step:3,2' must be positive and ascending", ValueError);
  CHECK_THROWS_WITH_AS(parse_schedule("multi-step:", 0.1, 10, 3), "schedule: '' in 'multi-step:' is not a number",
                       ValueError);
  CHECK_THROWS_WITH_AS(parse_schedule("cosine", 0, 10, 3), "schedule: learning rate 0 given, expected > 0", ValueError);
  CHECK_THROWS_WITH_AS(parse_schedule("cosine", 0.1, 10, 3, -1), "schedule: -1 warm-up epochs given, expected ≥ 0",
                       ValueError);
}
