// The contract of the hot element-wise passes. Everything is row-major, [rows, channels] where channels matter.
// What may decide integer codes later (NormalizeArgs) has the same bits on every instruction set: each element is computed
// with the operations named here, in that order, every one of them rounded (no fused multiply-add).
#pragma once

#include <cstdint>

namespace spnet {
inline namespace v0 {
namespace kernels {

/// mean[c], squares[c] = the mean and the sum of squared deviations of column c. Overwrites.
template <class T>
struct MomentsArgs {
  const T* x;
  std::int64_t rows, channels;
  double* mean;
  double* squares;
};

// What is normalised, x, is of type X: T, or int32 sums, which count as T(x).

/// y = x·scale[c] + shift[c], plus residual where there is one, then zero where that is < 0 if `relu`.
template <class T, class X = T>
struct NormalizeArgs {
  const X* x;
  const T* residual;  ///< or null
  const T* scale;
  const T* shift;
  bool relu;
  T* y;
  std::int64_t rows, channels;
  /// From a row of x to the next, and of all else that has rows; 0: `channels`.
  std::int64_t x_step = 0, y_step = 0;
};

/// The same y, of one of T or none, and its codes at once: code = round(clamp(y·factor, low, high)) − low, half to
/// even, or y > 0 where `sign`. Returns false where a y is not finite. What the codes stand for is (step·code −
/// zero_point)·scale, the integers of a magnitude below 2^24; `values` may be x.
template <class T, class X = T>
struct NormalizeCodesArgs {
  NormalizeArgs<T, X> normalize;  ///< its y may be null
  bool sign;
  T factor, low, high;
  std::uint8_t* codes;  ///< or null
  T* values = nullptr;  ///< of the codes; or null
  T step = 1, zero_point = 0, scale = 1;
};

/// Which elements of a gradient pass a normalisation's activation.
enum class GradientMask {
  kNone,    ///< all
  kInput,   ///< where 0 < x·scale + shift ≤ most, rounded as in NormalizeArgs: x is read anyway, so no output needs to be kept
  kOutput,  ///< where y > 0
};

/// sums[c] = Σ g, sums[channels + c] = Σ g·(x − mean[c]) over the rows, g the gradient through the mask. Overwrites.
/// With kOutput, g is also written to `masked`, which may be `gradient`. With kInput and a `factor` other than 0, the
/// activation y = x·scale + shift goes on to a quantizer with a learned scale, v = y·factor, whose gradient is
/// *of_scale = Σ gradient·(round(clamp(v, 0, high)) − (0 < y ≤ most ? v : 0)).
template <class T, class X = T>
struct NormalizeSumsArgs {
  const T* gradient;
  const X* x;
  const T* y;
  T* masked;
  const T* mean;
  const T* scale;
  const T* shift;
  GradientMask mask;  ///< kInput reads scale, shift and most, kOutput y and masked
  T most;
  std::int64_t rows, channels;
  double* sums;
  T factor = 0, high = 0;
  double* of_scale = nullptr;
};

/// dx = g·gain[c] + (x − mean[c])·slope[c] + offset[c], g the gradient through the mask (not kOutput).
/// dx may be `gradient`.
template <class T, class X = T>
struct NormalizeGradientArgs {
  const T* gradient;
  const X* x;
  const T* gain;
  const T* mean;
  const T* scale;
  const T* shift;
  const T* slope;
  const T* offset;
  GradientMask mask;
  T most;
  T* dx;
  std::int64_t rows, channels;
};

/// The passes of a normalisation of X.
template <class T, class X = T>
struct NormalizeFunctions {
  void (*normalize)(const NormalizeArgs<T, X>&);
  bool (*normalize_codes)(const NormalizeCodesArgs<T, X>&);
  void (*normalize_sums)(const NormalizeSumsArgs<T, X>&);
  void (*normalize_gradient)(const NormalizeGradientArgs<T, X>&);
};

/// One instruction set's element-wise kernels.
template <class T>
struct ElementwiseFunctions {
  void (*moments)(const MomentsArgs<T>&);
  NormalizeFunctions<T> of_values;
  NormalizeFunctions<T, std::int32_t> of_sums;
  /// largest[i] = x[i] > largest[i] or x[i] is NaN ? x[i] : largest[i]
  void (*maximum)(T* largest, const T* x, std::int64_t count);
  /// sum[i] += term[i]
  void (*add)(T* sum, const T* term, std::int64_t count);
  /// y[i] = x[i] < 0 ? 0 : x[i]; NaN stays. y may be x.
  void (*relu)(const T* x, T* y, std::int64_t count);
  /// dx[i] = y[i] > 0 ? gradient[i] : 0; dx may be gradient.
  void (*relu_gradient)(const T* gradient, const T* y, T* dx, std::int64_t count);
};

using ElementwiseKernels = ElementwiseFunctions<float>;

}  // namespace kernels
}  // namespace v0
}  // namespace spnet
