// The contract of the hot element-wise passes.
#pragma once

namespace spnet {
inline namespace v0 {
namespace kernels {

/// One instruction set's element-wise kernels.
struct ElementwiseKernels {};

}  // namespace kernels
}  // namespace v0
}  // namespace spnet
