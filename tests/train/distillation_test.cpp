#include "spnet/train/distillation.hpp"

#include <doctest/doctest.h>

#include <cmath>

using namespace spnet;
using namespace spnet::train;

namespace {

Lessons lessons_of(const std::string& name, std::size_t switches, DistillationOptions options = {}, std::uint64_t seed = 0) {
  options.name = name;
  Random random(seed);
  Lessons lessons;
  distillation_plan(name)(switches, options, random, lessons);
  return lessons;
}

}  // namespace

TEST_CASE("train: without distillation every switch learns from the labels") {
  const Lessons lessons = lessons_of("none", 3);
  REQUIRE(lessons.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(lessons[i].student == i);
    CHECK_FALSE(lessons[i].teacher.has_value());
    CHECK(lessons[i].label_weight == 1);
  }
}

TEST_CASE("train: the top switch teaches all others") {
  const Lessons lessons = lessons_of("top", 4);
  REQUIRE(lessons.size() == 4);
  CHECK_FALSE(lessons[0].teacher.has_value());
  for (std::size_t i = 1; i < 4; ++i) {
    CHECK(*lessons[i].teacher == 0);
    CHECK(lessons[i].label_weight == 1);
    CHECK(lessons[i].soft_weight == 1);
  }
}

TEST_CASE("train: recursive distillation teaches each switch by the next higher") {
  const Lessons lessons = lessons_of("recursive", 4);
  REQUIRE(lessons.size() == 4);
  for (std::size_t i = 1; i < 4; ++i) {
    CHECK(*lessons[i].teacher == i - 1);
    CHECK(lessons[i].label_weight == 0);
  }
  CHECK(lessons_of("recursive", 3, {.label_weight = 0.25f})[2].label_weight == 0.25f);
}

TEST_CASE("train: the sandwich takes the highest, one at random and the lowest") {
  std::array<int, 5> seen{};
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Lessons lessons = lessons_of("sandwich", 5, {}, seed);
    REQUIRE(lessons.size() == 3);
    CHECK(lessons[0].student == 0);
    CHECK(lessons[2].student == 4);
    ++seen[lessons[1].student];
    CHECK(lessons[1].label_weight == 0.5f);
    CHECK(lessons[1].soft_weight == 0.5f);
  }
  CHECK(seen[0] == 0);
  CHECK(seen[4] == 0);
  for (std::size_t i = 1; i < 4; ++i) CHECK(seen[i] > 30);
  CHECK(lessons_of("sandwich", 1).size() == 1);
  CHECK(lessons_of("sandwich", 2).size() == 2);
}

TEST_CASE("train: an unknown distillation is refused with the known ones") {
  CHECK_THROWS_WITH_AS(distillation_plan("magic"),
                       "distillation: 'magic' is not known; there are none, recursive, sandwich, top", ValueError);
}

TEST_CASE("train: a plan from outside is found by its name") {
  distillation_plans()["only-lowest"] = [](std::size_t switches, const DistillationOptions&, Random&, Lessons& lessons) {
    lessons.push_back({switches - 1, std::nullopt, 1, 0});
  };
  const Lessons lessons = lessons_of("only-lowest", 3);
  distillation_plans().erase("only-lowest");
  REQUIRE(lessons.size() == 1);
  CHECK(lessons[0].student == 2);
}

TEST_CASE("train: the loss of a lesson is the weighted sum of its terms") {
  const Answer student{Variable<float>(Tensor<float>::from({1, 2}, {1, 3}), true),
                       Variable<float>(Tensor<float>::from({1, 3}, {0.5f, -1, 2}), true)};
  const Answer teacher{Variable<float>(Tensor<float>::from({1, 2}, {2, 1})),
                       Variable<float>(Tensor<float>::from({1, 3}, {1, 0, -1}))};
  const auto labels = Tensor<std::int32_t>::from({1}, {2});
  const auto softmax = [](std::array<double, 3> z, double t) {
    double sum = 0;
    for (double& v : z) sum += v = std::exp(v / t);
    for (double& v : z) v /= sum;
    return z;
  };
  const double ce = -std::log(softmax({0.5, -1, 2}, 1)[2]);
  const auto p = softmax({1, 0, -1}, 2), q = softmax({0.5, -1, 2}, 2);
  double kl = 0;
  for (std::size_t i = 0; i < 3; ++i) kl += p[i] * std::log(p[i] / q[i]);
  const double features = (1.0 + 4.0) / 2;
  const DistillationOptions options{.temperature = 2, .feature_weight = 0.1f};
  const Variable<float> loss = lesson_loss({1, 0, 0.5f, 0.25f}, student, &teacher, labels, options);
  CHECK(loss.item() == doctest::Approx(0.5 * ce + 0.25 * 4 * kl + 0.1 * features).epsilon(1e-5));
  loss.backward();
  CHECK(student.logits.grad().defined());
  CHECK(student.features.grad().defined());
}
