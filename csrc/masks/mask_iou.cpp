// SPDX-License-Identifier: Apache-2.0
#include "masks/mask_iou.h"

#include "core/library_tensors.h"
#include "masks/mask_tensors.h"
#include "masks/rle_tensors.h"

namespace ldie::masks {
namespace {

constexpr const char* kOp = "mask_iou";

Tensor overlaps(const MaskSet& a, const MaskSet& b, const Tensor& like, const std::optional<Tensor>& crowd_) {
  if (crowd_) {
    Argument(kOp, "crowd", *crowd_)
        .dtype(ScalarType::Bool)
        .shape({b.count}, "[M], one per mask of b")
        .device_of(Argument(kOp, "a", like));
  }
  const std::optional<Tensor> crowd = as_contiguous(crowd_);
  Tensor iou = make_empty(like, {a.count, b.count}, ScalarType::Double);
  if (iou.numel() == 0) return iou;
  TensorContext context(like);
  mask_iou({a, b, crowd ? data<uint8_t>(*crowd) : nullptr, mutable_data<double>(iou)}, context);
  return iou;
}

Tensor mask_iou_op(const Tensor& a_, const Tensor& b_, int64_t width, bool packed, const std::optional<Tensor>& crowd) {
  check_masks(kOp, "a", a_, width, packed);
  const Argument given(kOp, "a", a_);
  Argument(kOp, "b", b_)
      .dtype_of(given)
      .shape({kAnySize, a_.size(1), a_.size(2)}, "[M, H, W] with the size of a")
      .device_of(given);
  const Tensor a = as_contiguous(a_), b = as_contiguous(b_);
  return overlaps(mask_set(a, width), mask_set(b, width), a, crowd);
}

Tensor mask_iou_rle_op(const Tensor& a_counts, const Tensor& a_offsets, const Tensor& b_counts, const Tensor& b_offsets,
                       int64_t height, int64_t width, const std::optional<Tensor>& crowd) {
  check_pixels(kOp, "masks", height, width);
  const RleTensors a = sized_rle(kOp, a_counts, a_offsets, height, width);
  const RleTensors b = sized_rle(kOp, b_counts, b_offsets, height, width);
  Argument(kOp, "b", b_counts).device_of(Argument(kOp, "a", a_counts));
  return overlaps(mask_set(a.set(), height, width), mask_set(b.set(), height, width), a_counts, crowd);
}

LDIE_OP(mask_iou, mask_iou_op, "(Tensor a, Tensor b, SymInt width, bool packed, Tensor? crowd) -> Tensor");
LDIE_OP(mask_iou_rle, mask_iou_rle_op,
        "(Tensor a_counts, Tensor a_offsets, Tensor b_counts, Tensor b_offsets, SymInt height, SymInt width, Tensor? "
        "crowd) -> Tensor");

}  // namespace
}  // namespace ldie::masks
