// Losses: scalars (shape []) averaged over the batch. All gradients are exact; targets are constants.
#pragma once

#include <utility>

#include "spnet/autograd/variable.hpp"
#include "spnet/ops/reduce.hpp"
#include "spnet/ops/softmax.hpp"

namespace spnet {
inline namespace v0 {

struct CrossEntropyOptions {
  double label_smoothing = 0;  ///< share of the probability that is spread over all classes, in [0, 1]
};

/// Temperature that divides the logits before the softmax, > 0. The loss is multiplied by its square, so that gradients
/// keep their size (Hinton et al., arXiv 1503.02531, §2).
struct SoftTargetOptions {
  double temperature = 1;
};

namespace detail {
template <class T>
Variable<T> softmax_loss(const char* op, const Variable<T>& logits, const Tensor<T>& target, double temperature,
                         bool entropy) {
  auto result = ops::softmax_loss(op, logits.value(), target, temperature, temperature * temperature, entropy);
  return make_result<T>(Tensor<T>::scalar(result.loss), {logits},
                        [slope = std::move(result.gradient)](const Tensor<T>& g, InputGradients<T>& into) {
                          into.add(0, g.item() == T{1} ? slope : ops::affine(slope, g.item()));
                        });
}
}  // namespace detail

/// Mean of −log softmax(logits)[label], labels smoothed as in PyTorch. logits [N,K], labels [N] → [].
/// Exact gradient. Throws ValueError, naming label and index, on a label outside [0, K), and on a smoothing outside [0, 1];
/// ShapeError on other shapes.
template <class T>
Variable<T> cross_entropy(const Variable<T>& logits, const Tensor<std::int32_t>& labels,
                          const CrossEntropyOptions& options = {}) {
  check<ValueError>(options.label_smoothing >= 0 && options.label_smoothing <= 1, "cross_entropy: label smoothing ",
                    options.label_smoothing, " given, expected 0 to 1");
  ops::check_labels("cross_entropy", logits.value(), labels);
  const auto target = ops::smoothed_one_hot<T>(labels, logits.dim(1), options.label_smoothing);
  return detail::softmax_loss("cross_entropy", logits, target, 1, false);
}

/// Mean of −Σ probabilities·log softmax(logits/temperature), times temperature². logits, probabilities [N,K] → [].
/// Made for a teacher's `ops::softmax(teacher_logits, temperature)`; rows of probabilities need not sum to 1. Exact gradient
/// for the logits, none for the teacher. Throws ShapeError on other shapes, ValueError unless temperature > 0.
template <class T>
Variable<T> soft_cross_entropy(const Variable<T>& logits, const Tensor<T>& probabilities,
                               const SoftTargetOptions& options = {}) {
  return detail::softmax_loss("soft_cross_entropy", logits, probabilities, options.temperature, false);
}

/// Mean of KL(probabilities ‖ softmax(logits/temperature)), times temperature². logits, probabilities [N,K] → [].
/// Same gradient and errors as `soft_cross_entropy`, but 0 where the student has reached the teacher.
template <class T>
Variable<T> kl_divergence(const Variable<T>& logits, const Tensor<T>& probabilities,
                          const SoftTargetOptions& options = {}) {
  return detail::softmax_loss("kl_divergence", logits, probabilities, options.temperature, true);
}

/// `kl_divergence` from the teacher's logits, softened by the same temperature. logits, teacher_logits [N,K] → []. Errors as
/// there.
template <class T>
Variable<T> kl_divergence_from_logits(const Variable<T>& logits, const Tensor<T>& teacher_logits,
                                      const SoftTargetOptions& options = {}) {
  check<ValueError>(options.temperature > 0, "kl_divergence_from_logits: temperature ", options.temperature,
                    " given, expected > 0");
  return kl_divergence(logits, ops::softmax(teacher_logits, options.temperature), options);
}

/// Mean of (x − target)², over all elements → []. Both may require gradients, which are exact. Throws ShapeError unless the
/// shapes are equal and not empty.
template <class T>
Variable<T> mse(const Variable<T>& x, const Variable<T>& target) {
  check<ShapeError>(x.shape() == target.shape(), "mse: target ", target.shape(), " given, input is ", x.shape());
  check<ShapeError>(x.size() > 0, "mse: shape ", x.shape(), " has no elements");
  const Tensor<T> difference = ops::sub(x.value(), target.value());
  const double count = static_cast<double>(x.size());
  const T loss = static_cast<T>(static_cast<double>(ops::sum(ops::mul(difference, difference)).item()) / count);
  return make_result<T>(Tensor<T>::scalar(loss), {x, target},
                        [difference, count](const Tensor<T>& g, InputGradients<T>& into) {
                          const T factor = static_cast<T>(2.0 * static_cast<double>(g.item()) / count);
                          if (into.needs(0)) into.add(0, ops::affine(difference, factor));
                          if (into.needs(1)) into.add(1, ops::affine(difference, -factor));
                        });
}

}  // namespace v0
}  // namespace spnet
