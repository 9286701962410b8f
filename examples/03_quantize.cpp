// Quantizers: codes for the kernels, a surrogate gradient for training.
#include <iostream>

#include "spnet/autograd/arithmetic.hpp"
#include "spnet/quant/registry.hpp"
#include "spnet/tensor/print.hpp"

int main() {
  using spnet::Tensor;
  using spnet::Variable;

  const auto quantizer = spnet::make_activation_quantizer("dorefa");
  const auto x = Tensor<float>::from({6}, {-0.5f, 0.1f, 0.3f, 0.5f, 0.9f, 1.5f});
  std::cout << "x        " << x << "\n";
  for (int bits : {1, 2, 4, 8}) {
    const spnet::Quantized q = quantizer->lower(x, bits, /*training=*/false);
    std::cout << bits << " bits   codes " << q.codes << "  values " << spnet::ops::decode(q) << "\n";
  }

  // Rounding has no useful gradient; training uses a surrogate: one where 0 ≤ x ≤ 1, zero outside.
  Variable<float> v(x, true);
  sum(spnet::quantize(v, *quantizer, 2, /*training=*/true)).backward();
  std::cout << "gradient " << v.grad() << "\n";
}
