// SPDX-License-Identifier: Apache-2.0
#include "masks/rle_to_boxes.h"

#include "core/library_tensors.h"
#include "masks/rle_tensors.h"

namespace ldie::masks {
namespace {

Tensor rle_to_boxes_op(const Tensor& counts, const Tensor& offsets, const Tensor& sizes_) {
  constexpr const char* op = "rle_to_boxes";
  const RleTensors masks(op, counts, offsets);
  Argument(op, "sizes", sizes_)
      .dtype(ScalarType::Long)
      .shape({masks.count(), 2}, "[N, 2], one per mask")
      .device_of(Argument(op, "counts", counts));
  const Tensor sizes = as_contiguous(sizes_);
#if !defined(LDIE_BACKEND_CUDA)
  const int64_t* const size = data<int64_t>(sizes);
  for (int64_t n = 0; n < masks.count(); ++n) {
    check_map_size(op, size[2 * n], size[2 * n + 1]);
    masks.check_runs(n, size[2 * n], size[2 * n + 1]);
  }
#endif
  Tensor boxes = make_empty(counts, {masks.count(), 4}, ScalarType::Float);
  TensorContext context(counts);
  rle_to_boxes({masks.set(), data<int64_t>(sizes), mutable_data<float>(boxes)}, context);
  return boxes;
}

LDIE_OP(rle_to_boxes, rle_to_boxes_op, "(Tensor counts, Tensor offsets, Tensor sizes) -> Tensor");

}  // namespace
}  // namespace ldie::masks
