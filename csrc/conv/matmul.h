// SPDX-License-Identifier: Apache-2.0
// Batched products of matrices, to which a convolution comes down. CPU only: CUDA's are cuBLAS's (matmul_tensors.h).
#pragma once

#include <cstdint>

#include "core/context.h"

namespace ldie::conv {

// A batch of matrices; strides in elements.
template <typename T>
struct Matrices {
  T* data;
  int64_t batch_stride, row_stride, column_stride;
};

// out = a b, or out += a b; where it is not added to, out is not read. The column strides of b and out are 1.
template <typename T>
struct MatrixProducts {
  int64_t batch, rows, depth, columns;  // a is [batch, rows, depth], b [batch, depth, columns]
  Matrices<const T> a, b;
  Matrices<T> out;
  bool add;
};

template <typename T>
void multiply_matrices(const MatrixProducts<T>& args, Context& context);

}  // namespace ldie::conv
