// SPDX-License-Identifier: Apache-2.0
// Batched products of matrices on the device of a tensor, into memory that exists already: cuBLAS's on CUDA, our own on
// the CPU.
#pragma once

#include "conv/matmul.h"
#include "core/tensors.h"

#if defined(LDIE_BACKEND_CUDA)
#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cuda.h>
#elif defined(LDIE_BACKEND_EMULATED)
#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>
#endif

namespace ldie::conv {

#if defined(LDIE_BACKEND_CPU)
template <typename T>
void multiply(const Tensor&, const MatrixProducts<T>& products, Context& context) {
  multiply_matrices(products, context);
}
#else
namespace detail {

template <typename T>
Tensor matrices_tensor(const Tensor& like, const Matrices<T>& m, int64_t batch) {
  const int64_t sizes[] = {batch, m.rows, m.columns};
  const int64_t strides[] = {m.batch_stride, m.row_stride, m.column_stride};
  void* const data = const_cast<void*>(static_cast<const void*>(m.data));
  return torch::stable::from_blob(data, {sizes, 3}, {strides, 3}, like.device(), like.scalar_type());
}

}  // namespace detail

// `like` has the dtype and device of the matrices.
template <typename T>
void multiply(const Tensor& like, const MatrixProducts<T>& products, Context&) {
#if defined(LDIE_BACKEND_CUDA)
  constexpr auto baddbmm_out = aoti_torch_cuda_baddbmm_out;
#else
  constexpr auto baddbmm_out = aoti_torch_cpu_baddbmm_out;
#endif
  const int64_t batch = products.batch;
  if (batch == 0 || products.out.rows == 0 || products.out.columns == 0) return;
  const Tensor out = detail::matrices_tensor(like, products.out, batch);  // what it adds to, too: another handle on the
  const Tensor a = detail::matrices_tensor(like, products.a, batch);      // same memory would be copied first
  const Tensor b = detail::matrices_tensor(like, products.b, batch);
  TORCH_ERROR_CODE_CHECK(baddbmm_out(out.get(), out.get(), a.get(), b.get(), products.add ? 1 : 0, 1));
}
#endif

}  // namespace ldie::conv
