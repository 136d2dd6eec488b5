// SPDX-License-Identifier: Apache-2.0
// Batched matrix products by PyTorch's libraries (tensor side) into memory that exists already: cuBLAS on CUDA, on the
// CPU the BLAS of PyTorch, a block of the product for each task so that the sums do not depend on the threads.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#if defined(LDIE_BACKEND_CUDA)
#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cuda.h>
#else
#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>
#endif

#include <algorithm>
#include <atomic>

#include "core/integers.h"
#include "core/parallel_cpu.h"
#include "core/tensors.h"

namespace ldie::conv {

// A batch of strided matrices; strides in elements, 0 to repeat.
struct Matrices {
  void* data;
  int64_t rows, columns;
  int64_t batch_stride, row_stride, column_stride;

  Matrices transposed() const { return {data, columns, rows, batch_stride, column_stride, row_stride}; }
};

namespace detail {

inline Tensor matrices_tensor(const Tensor& like, const Matrices& m, int64_t batch) {
  const int64_t sizes[] = {batch, m.rows, m.columns};
  const int64_t strides[] = {m.batch_stride, m.row_stride, m.column_stride};
  return torch::stable::from_blob(m.data, {sizes, 3}, {strides, 3}, like.device(), like.scalar_type());
}

#if defined(LDIE_BACKEND_CPU)
inline Tensor matrix_tensor(const Tensor& like, const Matrices& m, int64_t index, int64_t element_bytes) {
  const int64_t sizes[] = {m.rows, m.columns}, strides[] = {m.row_stride, m.column_stride};
  void* const data = static_cast<char*>(m.data) + index * m.batch_stride * element_bytes;
  return torch::stable::from_blob(data, {sizes, 2}, {strides, 2}, like.device(), like.scalar_type());
}

// Rows [begin, end) of each matrix.
inline Matrices row_range(const Matrices& m, int64_t begin, int64_t end, int64_t element_bytes) {
  void* const data = static_cast<char*>(m.data) + begin * m.row_stride * element_bytes;
  return {data, end - begin, m.columns, m.batch_stride, m.row_stride, m.column_stride};
}

// One block of one product: addmm on the calling thread, as the BLAS starts no threads within a parallel region.
inline bool multiply_block(const Tensor& like, int64_t index, const Matrices& a, const Matrices& b, const Matrices& out,
                           const Matrices* addend, int64_t bytes) {
  const Tensor left = matrix_tensor(like, a, index, bytes), right = matrix_tensor(like, b, index, bytes);
  const Tensor result = matrix_tensor(like, out, index, bytes);
  if (!addend) return aoti_torch_cpu_mm_out(result.get(), left.get(), right.get()) == AOTI_TORCH_SUCCESS;
  const Tensor added = addend->data == out.data ? result : matrix_tensor(like, *addend, index, bytes);
  return aoti_torch_cpu_addmm_out(result.get(), added.get(), left.get(), right.get(), 1, 1) == AOTI_TORCH_SUCCESS;
}
#endif

}  // namespace detail

// out[i] = addend[i] + a[i] b[i] for `batch` products of matrices of the dtype and device of `like`. The addend may be
// `out` itself or a row that repeats; null counts as zero, and out's old values are then not read.
#if defined(LDIE_BACKEND_CPU)
inline void multiply(const Tensor& like, int64_t batch, const Matrices& a, const Matrices& b, const Matrices& out,
                     const Matrices* addend) {
  if (out.rows < out.columns) {  // the longer side is cut into blocks: make it the rows
    const Matrices turned = addend ? addend->transposed() : Matrices{};
    if (out.rows > 0)
      multiply(like, batch, b.transposed(), a.transposed(), out.transposed(), addend ? &turned : addend);
    return;
  }
  constexpr int64_t kTasks = 16, kLeastRows = 64;
  const int64_t bytes = like.scalar_type() == ScalarType::Double ? 8 : 4;
  const int64_t wanted = ceil_div(out.rows * batch, kTasks), rows = std::max(kLeastRows, wanted / 16 * 16);
  const int64_t blocks = ceil_div(out.rows, rows);
  std::atomic<bool> failed{false};
  // At least two tasks, of which one may be empty: a single one would run outside a parallel region.
  parallel_for(std::max(int64_t(2), batch * blocks), 1, [&](int64_t first, int64_t last) {
    for (int64_t task = first; task < std::min(last, batch * blocks); ++task) {
      const int64_t begin = task % blocks * rows, end = std::min(out.rows, begin + rows);
      const Matrices part = addend ? detail::row_range(*addend, begin, end, bytes) : Matrices{};
      const bool done =
          detail::multiply_block(like, task / blocks, detail::row_range(a, begin, end, bytes), b,
                                 detail::row_range(out, begin, end, bytes), addend ? &part : addend, bytes);
      if (!done) failed = true;
    }
  });
  if (failed) throw std::runtime_error("a matrix product of PyTorch failed");
}
#else
inline void multiply(const Tensor& like, int64_t batch, const Matrices& a, const Matrices& b, const Matrices& out,
                     const Matrices* addend) {
#if defined(LDIE_BACKEND_CUDA)
  constexpr auto baddbmm_out = aoti_torch_cuda_baddbmm_out;
#else
  constexpr auto baddbmm_out = aoti_torch_cpu_baddbmm_out;
#endif
  if (batch == 0 || out.rows == 0 || out.columns == 0) return;
  const Tensor result = detail::matrices_tensor(like, out, batch);
  const bool onto_itself = !addend || addend->data == out.data;  // the same handle, or it would be copied first
  const Tensor added = onto_itself ? result : detail::matrices_tensor(like, *addend, batch);
  const Tensor left = detail::matrices_tensor(like, a, batch), right = detail::matrices_tensor(like, b, batch);
  TORCH_ERROR_CODE_CHECK(baddbmm_out(result.get(), added.get(), left.get(), right.get(), addend ? 1 : 0, 1));
}
#endif

}  // namespace ldie::conv
