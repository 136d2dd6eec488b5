// SPDX-License-Identifier: Apache-2.0
// The tensor side of run lengths: what all ops that take them check.
#pragma once

#include "core/check.h"
#include "core/tensor.h"

namespace ldie {

// Runs that are negative or do not add up to their mask can be seen where the host reads them; on CUDA the kernels keep
// them in bounds instead.
inline void check_runs(const char* op, const Tensor& counts, const Tensor& offsets, int64_t height, int64_t width) {
  check_dtype(op, "counts", counts, ScalarType::Int);
  check_shape(op, "counts", counts, {kAnySize}, "[R]");
  check_same_device(op, "offsets", offsets, "counts", counts);
  check_offsets(op, offsets, counts.size(0), "offsets", "counts");
  check_map_size(op, height, width);
#if !defined(LDIE_BACKEND_CUDA)
  const Tensor host_counts = as_contiguous(counts), host_offsets = as_contiguous(offsets);
  const int32_t* const values = data<int32_t>(host_counts);
  const int64_t* const ranges = data<int64_t>(host_offsets);
  for (int64_t n = 0; n + 1 < offsets.size(0); ++n) {
    int64_t total = 0;
    for (int64_t i = ranges[n]; i < ranges[n + 1]; ++i) {
      if (values[i] < 0) check_failed(op, "mask ", n, " has a negative run: ", values[i]);
      total += values[i];
    }
    if (total != height * width) {
      check_failed(op, "the runs of mask ", n, " add up to ", total, ", its size (", height, ", ", width, ") has ",
                   height * width, " pixels");
    }
  }
#endif
}

}  // namespace ldie
