#include "spnet/runtime/kernel_choices.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <memory>
#include <string>

#include "../pack/own_network.hpp"
#include "../temporary_folder.hpp"
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

TEST_CASE("kernel_choices: tuned sessions give the same logits, and what they measured is kept beside the file") {
  const test::TemporaryFolder folder;
  const auto switches = parse_switches("w1a1,w2a2,w8a8");
  const auto net = models::make_model("resnet20", {.quantization = {.switches = switches}});
  test::settle(*net, switches, {2, 16, 16, 3});
  runtime::save_packed(folder / "model.spn", pack::pack(*net, {16, 16, 3}, switches));
  const Tensor<float> x = testing::random_normal<float>({1, 16, 16, 3}, 3);
  const auto model = runtime::Model::load(folder / "model.spn");
  runtime::Engine plain(model, {.threads = 1}),
      tuned(runtime::Model::load(folder / "model.spn"), {.threads = 1, .tune = true});
  for (const Precision p : switches) {
    plain.set_precision(p);
    tuned.set_precision(p);
    CHECK(testing::bit_equal(plain.run(x), tuned.run(x)));
  }
  const std::size_t measured = tuned.model().choices().size();
  tuned.model().save_choices(folder / "model.spn");
  CHECK(runtime::Model::load(folder / "model.spn")->choices().size() == measured);
  CHECK(model->choices().size() == 0);
}
