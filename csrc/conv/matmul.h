// SPDX-License-Identifier: Apache-2.0
// Batched products of strided matrices, to which a convolution comes down.
#pragma once

#include <cstdint>

#include "core/context.h"

namespace ldie::conv {

// A batch of matrices; strides in elements.
template <typename T>
struct Matrices {
  T* data;
  int64_t rows, columns;
  int64_t batch_stride, row_stride, column_stride;

  Matrices transposed() const { return {data, columns, rows, batch_stride, column_stride, row_stride}; }
};

// out[i] = a[i] b[i], or out[i] += a[i] b[i]; where it is not added to, out is not read.
template <typename T>
struct MatrixProducts {
  int64_t batch;
  Matrices<const T> a, b;
  Matrices<T> out;
  bool add;
};

// CPU only: CUDA's are cuBLAS's (matmul_tensors.h). The rows of b and out must lie side by side in memory.
template <typename T>
void multiply_matrices(const MatrixProducts<T>& args, Context& context);

}  // namespace ldie::conv
