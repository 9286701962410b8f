// Autograd: a variable remembers how it was made, and backward() follows that back.
#include <iostream>

#include "spnet/autograd/activation.hpp"
#include "spnet/autograd/arithmetic.hpp"
#include "spnet/tensor/print.hpp"

int main() {
  using spnet::Tensor;
  using spnet::Variable;

  // Fit y = w·x + b to points of y = 3·x − 1 by plain gradient descent.
  const Variable<double> x(Tensor<double>::from({5}, {-2, -1, 0, 1, 2}));
  const Variable<double> y(Tensor<double>::from({5}, {-7, -4, -1, 2, 5}));
  Variable<double> w(Tensor<double>::scalar(0), true), b(Tensor<double>::scalar(0), true);
  for (int step = 0; step < 100; ++step) {
    const auto error = w * x + b - y;
    const auto loss = mean(error * error);
    loss.backward();
    for (auto* parameter : {&w, &b}) {
      parameter->value()() -= 0.1 * parameter->grad()();
      parameter->zero_grad();
    }
    if (step % 20 == 0) std::cout << "step " << step << "  loss " << loss.item() << "\n";
  }
  std::cout << "w = " << w.item() << " (3), b = " << b.item() << " (−1)\n";

  // An operator of one's own: its value, and what to do with the gradient of that value.
  const auto cube = [](const Variable<double>& v) {
    const Tensor<double> in = v.value();
    Tensor<double> out = in.clone();
    for (double& value : out.span()) value = value * value * value;
    return spnet::make_result<double>(out, {v}, [in](const Tensor<double>& grad, spnet::InputGradients<double>& to) {
      Tensor<double> result = grad.clone();
      for (std::int64_t i = 0; i < result.size(); ++i) result.data()[i] *= 3 * in.data()[i] * in.data()[i];
      to.add(0, result);
    });
  };
  Variable<double> v(Tensor<double>::from({3}, {1, 2, 3}), true);
  sum(cube(v)).backward();
  std::cout << "d(v³)/dv at 1, 2, 3 = " << v.grad() << "\n";
}
