// Softmax over the last axis and the losses that stand on it, on plain tensors.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>

#include "spnet/core/parallel.hpp"
#include "spnet/ops/elementwise.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

namespace detail {

inline constexpr std::int64_t kSoftmaxRows = 64;

// log Σ exp(x·inverse_temperature), the largest term taken out so that nothing overflows.
template <class T>
double log_sum_exp(const T* x, std::int64_t count, double inverse_temperature) {
  double largest = static_cast<double>(x[0]);
  for (std::int64_t i = 1; i < count; ++i) largest = std::max(largest, static_cast<double>(x[i]));
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += std::exp((static_cast<double>(x[i]) - largest) * inverse_temperature);
  return largest * inverse_temperature + std::log(sum);
}

// Calls row(x, out, index) for every row of the last axis.
template <class T, class Row>
Tensor<T> map_rows(const char* op, const Tensor<T>& x, const Row& row) {
  check<ShapeError>(x.rank() >= 1 && x.dim(-1) > 0, op, ": shape ", x.shape(), " given, expected [...,K] with K > 0");
  const Tensor<T> dense = x.contiguous();
  Tensor<T> out(x.shape());
  const std::int64_t width = x.dim(-1);
  const T* from = dense.data();
  T* to = out.data();
  parallel_ranges(x.size() / width, kSoftmaxRows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) row(from + r * width, to + r * width, r);
  });
  return out;
}

}  // namespace detail

/// exp(x/temperature) over its sum along the last axis; x [...,K]. Throws ValueError unless temperature > 0.
template <class T>
Tensor<T> softmax(const Tensor<T>& x, double temperature = 1) {
  check<ValueError>(temperature > 0, "softmax: temperature ", temperature, " given, expected > 0");
  return detail::map_rows("softmax", x, [=, width = x.dim(-1)](const T* from, T* to, std::int64_t) {
    const double total = detail::log_sum_exp(from, width, 1 / temperature);
    for (std::int64_t i = 0; i < width; ++i)
      to[i] = static_cast<T>(std::exp(static_cast<double>(from[i]) / temperature - total));
  });
}

/// log softmax(x/temperature) along the last axis; x [...,K]. Throws ValueError unless temperature > 0.
template <class T>
Tensor<T> log_softmax(const Tensor<T>& x, double temperature = 1) {
  check<ValueError>(temperature > 0, "log_softmax: temperature ", temperature, " given, expected > 0");
  return detail::map_rows("log_softmax", x, [=, width = x.dim(-1)](const T* from, T* to, std::int64_t) {
    const double total = detail::log_sum_exp(from, width, 1 / temperature);
    for (std::int64_t i = 0; i < width; ++i) to[i] = static_cast<T>(static_cast<double>(from[i]) / temperature - total);
  });
}

/// Throws ShapeError unless `labels` is [N] for logits [N,K], and ValueError, naming the first, unless all are in [0, K).
template <class T>
void check_labels(const char* op, const Tensor<T>& logits, const Tensor<std::int32_t>& labels) {
  check<ShapeError>(logits.rank() == 2 && logits.size() > 0, op, ": logits ", logits.shape(), " given, expected [N,K], not empty");
  check<ShapeError>(labels.shape() == Shape{logits.dim(0)}, op, ": labels ", labels.shape(), " given, logits ", logits.shape(),
                    " expect [", logits.dim(0), "]");
  for (std::int64_t i = 0; i < labels.size(); ++i)
    check<ValueError>(labels(i) >= 0 && labels(i) < logits.dim(1), op, ": label ", labels(i), " at index ", i,
                      ", expected 0 to ", logits.dim(1) - 1);
}

/// One probability distribution for each label: 1 − smoothing on the label, and smoothing/K on all. labels [N] → [N,K].
/// Expects labels in [0, classes) (see check_labels) and smoothing in [0, 1].
template <class T>
Tensor<T> smoothed_one_hot(const Tensor<std::int32_t>& labels, std::int64_t classes, double smoothing = 0) {
  Tensor<T> out = Tensor<T>::full({labels.size(), classes}, static_cast<T>(smoothing / static_cast<double>(classes)));
  for (std::int64_t i = 0; i < labels.size(); ++i) out(i, labels(i)) += static_cast<T>(1 - smoothing);
  return out;
}

/// What a loss between softmax(logits/temperature) and `target` is, and its derivative by the logits.
template <class T>
struct LossAndGradient {
  T loss;
  Tensor<T> gradient;
};

/// factor·mean over rows of −Σ target·log softmax(logits/temperature), plus Σ target·log target where `entropy`
/// (which makes it the Kullback–Leibler divergence). logits, target [N,K]; rows of target need not sum to 1.
template <class T>
LossAndGradient<T> softmax_loss(const char* op, const Tensor<T>& logits, const Tensor<T>& target, double temperature,
                                double factor, bool entropy) {
  check<ShapeError>(logits.rank() == 2 && logits.size() > 0, op, ": logits ", logits.shape(), " given, expected [N,K], not empty");
  check<ShapeError>(target.shape() == logits.shape(), op, ": target ", target.shape(), " given, logits are ", logits.shape());
  check<ValueError>(temperature > 0, op, ": temperature ", temperature, " given, expected > 0");
  const std::int64_t rows = logits.dim(0), width = logits.dim(1);
  const Tensor<T> goal = target.contiguous();
  const double weight = factor / static_cast<double>(rows);
  Tensor<double> losses({rows});
  const T* goals = goal.data();
  double* row_loss = losses.data();
  Tensor<T> gradient = detail::map_rows(op, logits, [=](const T* x, T* dx, std::int64_t r) {
    const T* p = goals + r * width;
    const double total = detail::log_sum_exp(x, width, 1 / temperature);
    double loss = 0, mass = 0;
    for (std::int64_t i = 0; i < width; ++i) {
      const double t = static_cast<double>(p[i]);
      mass += t;
      if (t != 0) loss += t * (total - static_cast<double>(x[i]) / temperature);
      if (entropy && t > 0) loss += t * std::log(t);
    }
    for (std::int64_t i = 0; i < width; ++i) {
      const double q = std::exp(static_cast<double>(x[i]) / temperature - total);
      dx[i] = static_cast<T>(weight / temperature * (mass * q - static_cast<double>(p[i])));
    }
    row_loss[r] = loss;
  });
  double loss = 0;
  for (std::int64_t r = 0; r < rows; ++r) loss += row_loss[r];
  return {static_cast<T>(weight * loss), std::move(gradient)};
}

}  // namespace ops
}  // namespace v0
}  // namespace spnet
