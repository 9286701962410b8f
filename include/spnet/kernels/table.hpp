// The contract between operators and kernels: one table of functions for each instruction set.
#pragma once

#include "spnet/kernels/bf16.hpp"
#include "spnet/kernels/conv.hpp"
#include "spnet/kernels/elementwise.hpp"
#include "spnet/kernels/integer.hpp"
#include "spnet/kernels/quantize.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels {

/// Every kernel of one instruction set, by family.
struct KernelTable {
  const char* name;
  ConvKernels conv;
  ElementwiseKernels elementwise;
  QuantizeKernels quantize;
  CodeKernels codes;
  Bf16Kernels bf16 = {};
};

}  // namespace kernels
}  // namespace v0
}  // namespace spnet
