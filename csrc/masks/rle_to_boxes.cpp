// SPDX-License-Identifier: Apache-2.0
#include "masks/rle_to_boxes.h"

#include "core/library_tensors.h"
#include "masks/rle_tensors.h"

namespace ldie::masks {
namespace {

constexpr const char* kOp = "rle_to_boxes";

// As check_runs(), where each mask has a size of its own.
void check_sized_runs(const Tensor& counts, const Tensor& offsets, const Tensor& sizes) {
  check_counts_and_offsets(kOp, counts, offsets);
  check_dtype(kOp, "sizes", sizes, ScalarType::Long);
  check_shape(kOp, "sizes", sizes, {offsets.size(0) - 1, 2}, "[N, 2], one per mask");
  check_same_device(kOp, "sizes", sizes, "counts", counts);
#if !defined(LDIE_BACKEND_CUDA)
  const Tensor host_counts = as_contiguous(counts), host_offsets = as_contiguous(offsets), host = as_contiguous(sizes);
  const int64_t* const size = data<int64_t>(host);
  for (int64_t n = 0; n < sizes.size(0); ++n) {
    check_map_size(kOp, size[2 * n], size[2 * n + 1]);
    check_run_values(kOp, data<int32_t>(host_counts), data<int64_t>(host_offsets), n, size[2 * n], size[2 * n + 1]);
  }
#endif
}

Tensor rle_to_boxes_op(const Tensor& counts_, const Tensor& offsets_, const Tensor& sizes_) {
  check_sized_runs(counts_, offsets_, sizes_);
  const Tensor counts = as_contiguous(counts_), offsets = as_contiguous(offsets_), sizes = as_contiguous(sizes_);
  Tensor boxes = make_empty(counts, {sizes.size(0), 4}, ScalarType::Float);
  TensorContext context(counts);
  rle_to_boxes({data<int32_t>(counts), data<int64_t>(offsets), data<int64_t>(sizes), counts.size(0), sizes.size(0),
                mutable_data<float>(boxes)},
               context);
  return boxes;
}

LDIE_SCHEMA("rle_to_boxes(Tensor counts, Tensor offsets, Tensor sizes) -> Tensor");
LDIE_REGISTER("rle_to_boxes", rle_to_boxes_op)

}  // namespace
}  // namespace ldie::masks
