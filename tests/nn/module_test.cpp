#include "spnet/nn/module.hpp"

#include <doctest/doctest.h>

using namespace spnet;

namespace {

class Leaf : public nn::Module {
 public:
  explicit Leaf(bool picky = false) : picky_(picky), weight(Tensor<float>::ones({2}), true), state(Tensor<float>::zeros({1})) {
    register_parameter("weight", weight, nn::ParameterKind::kWeight);
    register_buffer("state", state, nn::ParameterKind::kNorm);
  }
  Variable<float> forward(const Variable<float>& x) override { return x; }
  Precision precision;

 protected:
  std::string refusal(Precision p) const override { return picky_ && p.weight_bits == 3 ? "has no three bits" : ""; }
  void on_precision(Precision p) override { precision = p; }

 private:
  bool picky_;

 public:
  Variable<float> weight;
  Tensor<float> state;
};

class Tree : public nn::Module {
 public:
  Tree() : picky(true) {
    register_module("plain", plain);
    register_module("", nameless);
    register_module("picky", picky);
  }
  Variable<float> forward(const Variable<float>& x) override { return picky(plain(x)); }
  Leaf plain, picky;

  class Wrapper : public nn::Module {
   public:
    Wrapper() { register_module("inner", inner); }
    Variable<float> forward(const Variable<float>& x) override { return inner(x); }
    Leaf inner;
  } nameless;
};

}  // namespace

TEST_CASE("nn: parameters and buffers have dotted names in order of registration") {
  Tree tree;
  const auto parameters = tree.parameters();
  REQUIRE(parameters.size() == 3);
  CHECK(parameters[0].name == "plain.weight");
  CHECK(parameters[1].name == "inner.weight");
  CHECK(parameters[2].name == "picky.weight");
  CHECK(tree.buffers()[1].name == "inner.state");
  tree.buffers()[0].tensor(0) = 7;
  CHECK(tree.plain.state(0) == 7);
}

TEST_CASE("nn: set_precision reaches every module, and changes none where one refuses") {
  Tree tree;
  tree.set_precision({2, 4});
  CHECK(tree.nameless.inner.precision == Precision{2, 4});
  CHECK_THROWS_WITH_AS(tree.set_precision({3, 4}), "set_precision: w3a4 given, but picky has no three bits", ValueError);
  CHECK(tree.plain.precision == Precision{2, 4});
  tree.plain.set_precision({3, 3});
  CHECK(tree.plain.precision == Precision{3, 3});
  CHECK(tree.picky.precision == Precision{2, 4});
  for (int bits : {0, 9, 31, 33, -1}) CHECK_THROWS_AS(tree.set_precision({bits, 2}), ValueError);
}

TEST_CASE("nn: train, eval and zero_grad reach every module") {
  Tree tree;
  tree.eval();
  CHECK_FALSE(tree.nameless.inner.training());
  tree.train();
  CHECK(tree.nameless.inner.training());
  tree.plain.weight.mutable_grad() = Tensor<float>::ones({2});
  tree.zero_grad();
  CHECK_FALSE(tree.plain.weight.grad().defined());
}
