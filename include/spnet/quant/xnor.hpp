// XNOR-Net's binary weights (arXiv 1603.05279).
#pragma once

#include <algorithm>
#include <limits>
#include <string>

#include "spnet/ops/quantize_scaled.hpp"
#include "spnet/quant/dorefa.hpp"

namespace spnet {
inline namespace v0 {

/// Weights, 1 bit: α·sign(w), sign(0) = +1, with α = mean|w| of each filter (each slice of the first axis). The
/// gradient of sign is taken as 1 and that of α is included: dw_i = α·g_i + sign(w_i)/n · Σ_j g_j·sign(w_j) over the
/// filter's n weights. Above 1 bit: as DoReFa, which is how SP-Nets mixes widths.
class XnorWeights : public Quantizer {
 public:
  std::string name() const override { return "xnor"; }
  Quantized lower(const Tensor<float>& x, int bits, bool training) override {
    if (bits != 1) return wider_.lower(x, bits, training);
    Quantized out{ops::sign_codes("xnor weights", x, true), {}};
    const std::int64_t filters = x.rank() == 0 ? 1 : x.dim(0);
    Tensor<float> scale = ops::mean_abs(x, filters);
    for (float& s : scale.span()) s = std::max(s, std::numeric_limits<float>::min());  // a filter of zeros
    out.map = ops::sign_map(std::move(scale), x.rank() == 0 ? -1 : 0);
    return out;
  }
  void backward(const Tensor<float>& gradient, const QuantizerCall& call, InputGradients<float>& into) const override {
    if (call.bits != 1) return wider_.backward(gradient, call, into);
    if (!into.needs(0)) return;
    const Tensor<float> dense = gradient.contiguous();
    const float* g = dense.data();
    const std::uint8_t* code = call.lowered.codes.data();
    const Tensor<float>& alpha = std::get<AffineCodes>(call.lowered.map).scale;
    const Tensor<float> means =
        ops::row_means(dense, alpha.size(), [=](std::int64_t i) { return code[i] ? g[i] : -g[i]; });
    const float *scale = alpha.data(), *mean = means.data();
    Tensor<float> dx(call.x.shape());
    float* to = dx.data();
    const std::int64_t length = dx.size() / std::max<std::int64_t>(alpha.size(), 1);
    parallel_ranges(dx.size(), ops::kElementwiseChunk, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t row = i / length;
        to[i] = scale[row] * g[i] + (code[i] ? mean[row] : -mean[row]);
      }
    });
    into.add(0, std::move(dx));
  }

 private:
  DorefaWeights wider_;
};

}  // namespace v0
}  // namespace spnet
