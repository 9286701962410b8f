#include "spnet/runtime/kernel_choices.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "../pack/own_network.hpp"
#include "../temporary_folder.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/pack/pack.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;
using ops::CodesProduct;

TEST_CASE("kernel_choices: what was measured is found again, for this network alone") {
  const test::TemporaryFolder folder;
  const std::string path = folder / "model.spn.kernels";
  runtime::KernelChoices choices;
  choices.set({3, {1, 1}, 1, 2}, CodesProduct::kBits);
  choices.set({4, {2, 2}, 8, 1}, CodesProduct::kBytes);
  choices.save(path, 77);
  runtime::KernelChoices back;
  CHECK(back.load(path, 77));
  CHECK(back.size() == 2);
  CHECK(back.find({3, {1, 1}, 1, 2}) == CodesProduct::kBits);
  CHECK(back.find({4, {2, 2}, 8, 1}) == CodesProduct::kBytes);
  CHECK_FALSE(back.find({3, {1, 1}, 1, 1}));
  runtime::KernelChoices other;
  CHECK_FALSE(other.load(path, 78));
  CHECK_FALSE(other.load(folder / "none", 77));
  std::ofstream(path, std::ios::app) << "5 x y\n";
  CHECK(other.load(path, 77));
  CHECK(other.size() == 2);
}

TEST_CASE("kernel_choices: each processor adds its own to the file") {
  const test::TemporaryFolder folder;
  const std::string path = folder / "model.spn.kernels";
  const std::string elsewhere = "spnet kernels 2\nnetwork 4d\non scalar Some Other CPU\n7 1 1 1 1 bits\n";
  std::ofstream(path) << elsewhere;
  runtime::KernelChoices first, second, all;
  CHECK_FALSE(first.load(path, 77));
  first.set({3, {1, 1}, 1, 2}, CodesProduct::kBits);
  first.save(path, 77);
  second.set({3, {1, 1}, 1, 2}, CodesProduct::kBytes);
  second.set({4, {1, 1}, 1, 2}, CodesProduct::kBits);
  second.save(path, 77);
  CHECK(all.load(path, 77));
  CHECK(all.size() == 2);
  CHECK(all.find({3, {1, 1}, 1, 2}) == CodesProduct::kBytes);
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  CHECK(text.find("on scalar Some Other CPU\n7 1 1 1 1 bits\n") != std::string::npos);
  // Of another network nothing stays.
  first.save(path, 78);
  CHECK_FALSE(all.load(path, 77));
}

TEST_CASE("kernel_choices: tuned sessions give the same logits, and what they measured is kept beside the file") {
  const test::TemporaryFolder folder;
  const auto switches = parse_switches("w1a1,w2a2,w8a8");
  const auto net = models::make_model("resnet20", {.quantization = {.switches = switches}});
  test::settle(*net, switches, {2, 16, 16, 3});
  runtime::save_packed(folder / "model.spn", pack::pack(*net, {16, 16, 3}, switches));
  const Tensor<float> x = testing::random_normal<float>({1, 16, 16, 3}, 3);
  const runtime::ModelOptions alone{.keep_choices = false};
  runtime::Engine plain(folder / "model.spn", {.threads = 1, .tune = false}, alone);
  const auto measured = [&](const runtime::ModelOptions& options) {
    runtime::Engine tuned(folder / "model.spn", {.threads = 1}, options);
    for (const Precision p : switches) {
      plain.set_precision(p);
      tuned.set_precision(p);
      CHECK(testing::bit_equal(plain.run(x), tuned.run(x)));
    }
    return tuned.model().choices().size();
  };
  const std::size_t count = measured(alone);
  // Without kernels that count bits there is nothing to choose.
  const bool may_choose = kernels::active().codes.bits.product != nullptr;
  CHECK((count > 0) == may_choose);
  CHECK(runtime::Model::load(folder / "model.spn")->choices().size() == 0);
  CHECK(measured({}) == count);
  CHECK(runtime::Model::load(folder / "model.spn")->choices().size() == count);
  CHECK(plain.model().choices().size() == 0);
  // Where they cannot be kept, they are measured all the same.
  std::filesystem::remove(runtime::choices_path(folder / "model.spn"));
  std::filesystem::create_directory(runtime::choices_path(folder / "model.spn"));
  CHECK(measured({}) == count);
}
