// Tensors: shapes, views that share memory, broadcasting.
#include <iostream>

#include "spnet/ops/elementwise.hpp"
#include "spnet/tensor/print.hpp"
#include "spnet/tensor/tensor.hpp"

int main() {
  const auto a = spnet::Tensor<float>::from({2, 3}, {1, 2, 3, 4, 5, 6});
  std::cout << "a =\n" << a << "\n";

  // Views cost nothing: they point into the same memory.
  auto column = a.select(1, 2);
  column(0) = 30;
  std::cout << "a, after its last column was written through a view =\n" << a << "\n";
  std::cout << "a transposed, shape " << a.transpose(0, 1).shape() << " =\n" << a.transpose(0, 1) << "\n";

  // A row is added to every row of a (NumPy's broadcasting rule).
  const auto row = spnet::Tensor<float>::from({3}, {100, 200, 300});
  std::cout << "a + row =\n" << spnet::ops::add(a, row) << "\n";

  // Bad shapes are errors that name the operator and what it was given.
  try {
    spnet::ops::add(a, spnet::Tensor<float>::zeros({2}));
  } catch (const spnet::ShapeError& error) {
    std::cout << "error: " << error.what() << "\n";
  }
}
