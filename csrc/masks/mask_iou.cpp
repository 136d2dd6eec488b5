// SPDX-License-Identifier: Apache-2.0
#include "masks/mask_iou.h"

#include "core/library_tensors.h"
#include "masks/mask_tensors.h"

namespace ldie::masks {
namespace {

constexpr const char* kOp = "mask_iou";

Tensor overlaps(const MaskSet& a, const MaskSet& b, const Tensor& like, const std::optional<Tensor>& crowd_) {
  if (crowd_) {
    check_dtype(kOp, "crowd", *crowd_, ScalarType::Bool);
    check_shape(kOp, "crowd", *crowd_, {b.count}, "[M], one per mask of b");
    check_same_device(kOp, "crowd", *crowd_, "a", like);
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
  check_dtype(kOp, "b", b_, a_.scalar_type());
  check_shape(kOp, "b", b_, {kAnySize, a_.size(1), a_.size(2)}, "[M, H, W] with the size of a");
  check_same_device(kOp, "b", b_, "a", a_);
  const Tensor a = as_contiguous(a_), b = as_contiguous(b_);
  return overlaps(mask_set(a, width), mask_set(b, width), a, crowd);
}

Tensor mask_iou_rle_op(const Tensor& a_counts_, const Tensor& a_offsets_, const Tensor& b_counts_,
                       const Tensor& b_offsets_, int64_t height, int64_t width, const std::optional<Tensor>& crowd) {
  check_pixels(kOp, "masks", height, width);
  check_runs(kOp, a_counts_, a_offsets_, height, width);
  check_runs(kOp, b_counts_, b_offsets_, height, width);
  check_same_device(kOp, "b", b_counts_, "a", a_counts_);
  const Tensor a_counts = as_contiguous(a_counts_), a_offsets = as_contiguous(a_offsets_);
  const Tensor b_counts = as_contiguous(b_counts_), b_offsets = as_contiguous(b_offsets_);
  return overlaps(mask_set(a_counts, a_offsets, height, width), mask_set(b_counts, b_offsets, height, width), a_counts,
                  crowd);
}

LDIE_SCHEMA("mask_iou(Tensor a, Tensor b, SymInt width, bool packed, Tensor? crowd) -> Tensor");
LDIE_REGISTER("mask_iou", mask_iou_op)
LDIE_SCHEMA(
    "mask_iou_rle(Tensor a_counts, Tensor a_offsets, Tensor b_counts, Tensor b_offsets, SymInt height, SymInt width, "
    "Tensor? crowd) -> Tensor");
LDIE_REGISTER("mask_iou_rle", mask_iou_rle_op)

}  // namespace
}  // namespace ldie::masks
