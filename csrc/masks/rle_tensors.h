// SPDX-License-Identifier: Apache-2.0
// The tensor side that ops of run lengths share.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include "core/argument_tensors.h"
#include "core/tensors.h"
#include "masks/run_set.h"
#include "masks/runs.h"

namespace ldie::masks {

// Contiguous tensors that outlive the RunSet over them.
class RleTensors {
 public:
  RleTensors(const char* op, const Tensor& counts_given, const Tensor& offsets_given)
      : op_(op), counts_(as_contiguous(counts_given)), offsets_(as_contiguous(offsets_given)) {
    const Argument counts = Argument(op, "counts", counts_given).dtype(ScalarType::Int).shape({kAnySize}, "[R]");
    Argument(op, "offsets", offsets_given).device_of(counts).offsets(counts.size(0), "counts");
  }

  int64_t count() const { return offsets_.size(0) - 1; }

  RunSet set() const { return {data<int32_t>(counts_), data<int64_t>(offsets_), counts_.size(0), count()}; }

  // Runs that are negative or do not add up to their mask can be seen where the host reads them; on CUDA the kernels
  // keep them in bounds instead.
  void check_runs([[maybe_unused]] int64_t n, [[maybe_unused]] int64_t height, [[maybe_unused]] int64_t width) const {
#if !defined(LDIE_BACKEND_CUDA)
    const RunSet runs = set();
    int64_t total = 0;
    for (int64_t i = runs.offsets[n]; i < runs.offsets[n + 1]; ++i) {
      if (runs.counts[i] < 0) check_failed(op_, "mask ", n, " has a negative run: ", runs.counts[i]);
      total += runs.counts[i];
    }
    if (total != height * width) {
      check_failed(op_, "the runs of mask ", n, " add up to ", total, ", its size (", height, ", ", width, ") has ",
                   height * width, " pixels");
    }
#endif
  }

 private:
  const char* op_;
  Tensor counts_, offsets_;
};

// Of masks of one size.
inline RleTensors sized_rle(const char* op, const Tensor& counts, const Tensor& offsets, int64_t height,
                            int64_t width) {
  RleTensors rle(op, counts, offsets);
  check_map_size(op, height, width);
  for (int64_t n = 0; n < rle.count(); ++n) rle.check_runs(n, height, width);
  return rle;
}

// As many runs as there are, which waits for the device, or a fixed number, which does not.
class TensorRuns final : public RunAllocator {
 public:
  TensorRuns(const char* op, Tensor& offsets, std::optional<int64_t> max_runs)
      : offsets_(offsets), max_runs_(max_runs) {
    if (max_runs && *max_runs < 0) check_failed(op, "max_runs must be at least 0, got ", *max_runs);
  }

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
