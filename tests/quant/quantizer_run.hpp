// One pass of a quantizer, forwards and backwards, for the tests of this room.
#pragma once

#include <array>
#include <functional>

#include "spnet/quant/quantizer.hpp"

struct QuantizerRun {
  spnet::Tensor<float> values, gradient;
  spnet::Quantized lowered;
};

/// Quantizes x and runs the gradient g back; gradients of parameters stay on them.
inline QuantizerRun run_quantizer(spnet::Quantizer& quantizer, const spnet::Tensor<float>& x,
                                  const spnet::Tensor<float>& g, int bits, bool training = true) {
  spnet::Variable<float> input(x.clone(), true);
  QuantizerRun out;
  const spnet::Variable<float> y = spnet::quantize(input, quantizer, bits, training, &out.lowered);
  out.values = y.value().clone();
  y.backward(g.clone());
  out.gradient = input.grad().clone();
  return out;
}

/// d f/d x[i] by central differences.
inline double difference(const std::function<double(const spnet::Tensor<double>&)>& f, const spnet::Tensor<double>& x,
                         std::int64_t i, double eps = 1e-6) {
  spnet::Tensor<double> at = x.clone();
  at.data()[i] += eps;
  const double up = f(at);
  at.data()[i] -= 2 * eps;
  return (up - f(at)) / (2 * eps);
}
