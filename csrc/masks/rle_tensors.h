// SPDX-License-Identifier: Apache-2.0
// The tensor side of run lengths: what all ops that take them check.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include "core/argument_tensors.h"
#include "core/tensors.h"
#include "masks/runs.h"

namespace ldie::masks {

// Mask n owns counts ranges[n] .. ranges[n + 1].
inline void check_run_values(const char* op, const int32_t* counts, const int64_t* ranges, int64_t n, int64_t height,
                             int64_t width) {
  int64_t total = 0;
  for (int64_t i = ranges[n]; i < ranges[n + 1]; ++i) {
    if (counts[i] < 0) check_failed(op, "mask ", n, " has a negative run: ", counts[i]);
    total += counts[i];
  }
  if (total != height * width) {
    check_failed(op, "the runs of mask ", n, " add up to ", total, ", its size (", height, ", ", width, ") has ",
                 height * width, " pixels");
  }
}

inline void check_counts_and_offsets(const char* op, const Tensor& counts, const Tensor& offsets) {
  check_dtype(op, "counts", counts, ScalarType::Int);
  check_shape(op, "counts", counts, {kAnySize}, "[R]");
  check_same_device(op, "offsets", offsets, "counts", counts);
  check_offsets(op, offsets, counts.size(0), "offsets", "counts");
}

// Runs that are negative or do not add up to their mask can be seen where the host reads them; on CUDA the kernels keep
// them in bounds instead.
inline void check_runs(const char* op, const Tensor& counts, const Tensor& offsets, int64_t height, int64_t width) {
  check_counts_and_offsets(op, counts, offsets);
  check_map_size(op, height, width);
#if !defined(LDIE_BACKEND_CUDA)
  const Tensor host_counts = as_contiguous(counts), host_offsets = as_contiguous(offsets);
  for (int64_t n = 0; n + 1 < offsets.size(0); ++n) {
    check_run_values(op, data<int32_t>(host_counts), data<int64_t>(host_offsets), n, height, width);
  }
#endif
}

// Of ops that make runs.
inline void check_encodable(const char* op, int64_t height, int64_t width, const std::optional<int64_t>& max_runs) {
  check_map_size(op, height, width);
  if (height * width >= int64_t(1) << 31) {
    check_failed(op, "masks must have less than 2^31 pixels each, got ", height, " x ", width);
  }
  if (max_runs && *max_runs < 0) check_failed(op, "max_runs must be at least 0, got ", *max_runs);
}

// As many runs as there are, which waits for the device, or a fixed number, which does not.
class TensorRuns final : public RunAllocator {
 public:
  TensorRuns(Tensor& offsets, std::optional<int64_t> max_runs) : offsets_(offsets), max_runs_(max_runs) {}

  Runs allocate() override {
    int64_t capacity = 0;
    if (max_runs_) {
      capacity = *max_runs_;
    } else {
      const Tensor total = torch::stable::narrow(offsets_, 0, offsets_.size(0) - 1, 1);
      TORCH_ERROR_CODE_CHECK(aoti_torch_item_int64(total.get(), &capacity));
    }
    counts_ = max_runs_ ? make_zeros(offsets_, {capacity}, ScalarType::Int)
                        : make_empty(offsets_, {capacity}, ScalarType::Int);
    return {mutable_data<int32_t>(*counts_), capacity};
  }

  const Tensor& counts() const { return *counts_; }

 private:
  Tensor& offsets_;
  std::optional<int64_t> max_runs_;
  std::optional<Tensor> counts_;
};

}  // namespace ldie::masks
