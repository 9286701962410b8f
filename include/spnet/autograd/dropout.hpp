// Differentiable dropout, from counter-based random numbers.
#pragma once

#include <limits>

#include "spnet/autograd/variable.hpp"
#include "spnet/core/random.hpp"
#include "spnet/ops/elementwise.hpp"

namespace spnet {
inline namespace v0 {

namespace detail {
// Element i is kept where the random word at the stream's position + i says so: the mask needs no memory.
template <class T>
Tensor<T> drop(const Tensor<T>& x, double p, const Random& random) {
  const Tensor<T> dense = x.contiguous();
  Tensor<T> out(x.shape());
  const T* from = dense.data();
  T* to = out.data();
  const T factor = static_cast<T>(p < 1 ? 1 / (1 - p) : 0.0);
  parallel_ranges(x.size(), ops::kElementwiseChunk, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const double draw = static_cast<double>(random.uniform_at(random.position() + static_cast<std::uint64_t>(i)));
      to[i] = draw < p ? T{0} : from[i] * factor;
    }
  });
  return out;
}
}  // namespace detail

/// In training, each element is 0 with probability p and multiplied by 1/(1 − p) otherwise; else x itself.
/// Draws element i from `random` at its position + i and moves it on by the number of elements. The gradient is exact
/// for the mask drawn. Throws ValueError unless p is in [0, 1].
template <class T>
Variable<T> dropout(const Variable<T>& x, double p, Random& random, bool training) {
  check<ValueError>(p >= 0 && p <= 1, "dropout: p ", p, " given, expected 0 to 1");
  if (!training || p == 0) return x;
  const Random stream = random;
  random.seek(random.position() + static_cast<std::uint64_t>(x.size()));
  return make_result<T>(detail::drop(x.value(), p, stream), {x},
                        [p, stream](const Tensor<T>& g, InputGradients<T>& into) { into.add(0, detail::drop(g, p, stream)); });
}

}  // namespace v0
}  // namespace spnet
