// SPDX-License-Identifier: Apache-2.0
// Batched products of matrices by the device's library: cuBLAS on CUDA, our own on the CPU (tensor side).
#pragma once

#if defined(LDIE_BACKEND_CUDA)
#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cuda.h>
#elif defined(LDIE_BACKEND_EMULATED)
#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>
#endif

#include "conv/matmul.h"
#include "core/tensors.h"

namespace ldie::conv {

// out = a b, or out += a b, for matrices [batch, rows, columns] of any strides, but on the CPU the rows of b and out
// must lie in one piece. Without `add` the old values of out are not read.
#if defined(LDIE_BACKEND_CPU)
inline void multiply(const Tensor& a, const Tensor& b, Tensor out, bool add) {
  TensorContext context(out);
  const auto launch = [&]<typename T>(T) {
    multiply_matrices<T>({.batch = out.size(0),
                          .rows = out.size(1),
                          .depth = b.size(1),
                          .columns = out.size(2),
                          .a = {data<T>(a), a.stride(0), a.stride(1), a.stride(2)},
                          .b = {data<T>(b), b.stride(0), b.stride(1), b.stride(2)},
                          .out = {mutable_data<T>(out), out.stride(0), out.stride(1), out.stride(2)},
                          .add = add},
                         context);
  };
  out.scalar_type() == ScalarType::Double ? launch(double()) : launch(float());
}
#else
inline void multiply(const Tensor& a, const Tensor& b, Tensor out, bool add) {
#if defined(LDIE_BACKEND_CUDA)
  constexpr auto baddbmm_out = aoti_torch_cuda_baddbmm_out;
#else
  constexpr auto baddbmm_out = aoti_torch_cpu_baddbmm_out;
#endif
  if (out.numel() == 0) return;
  TORCH_ERROR_CODE_CHECK(baddbmm_out(out.get(), out.get(), a.get(), b.get(), add ? 1 : 0, 1));
}
#endif

}  // namespace ldie::conv
