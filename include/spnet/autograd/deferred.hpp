// Values that exist in another form first: codes, integer sums, a normalisation that is yet to be applied. The operator
// that reads one may take it as it is, so that no float copy is made; to any other it is a tensor like all.
#pragma once

#include <utility>

#include "spnet/ops/quantize.hpp"
#include "spnet/ops/sums.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {

/// A value that is computed when it is first asked for, and kept then. Not for several threads at once.
template <class T>
class Deferred {
 public:
  virtual ~Deferred() = default;
  virtual const Shape& shape() const = 0;

  Tensor<T>& value() const {
    if (!value_.defined()) value_ = compute();
    return value_;
  }
  bool is_computed() const { return value_.defined(); }

 protected:
  virtual Tensor<T> compute() const = 0;
  mutable Tensor<T> value_;
};

/// Codes.
class DeferredCodes final : public Deferred<float> {
 public:
  explicit DeferredCodes(Quantized codes) : quantized(std::move(codes)) {}
  const Shape& shape() const override { return quantized.codes.shape(); }

  const Quantized quantized;

 protected:
  Tensor<float> compute() const override { return ops::decode(quantized); }
};

/// Integer sums with their scales.
class DeferredSums final : public Deferred<float> {
 public:
  explicit DeferredSums(Sums of) : sums(std::move(of)) {}
  const Shape& shape() const override { return sums.sums.shape(); }

  const Sums sums;

 protected:
  Tensor<float> compute() const override { return ops::decode(sums); }
};

}  // namespace v0
}  // namespace spnet
