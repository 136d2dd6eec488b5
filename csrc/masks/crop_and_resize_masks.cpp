// SPDX-License-Identifier: Apache-2.0
#include "masks/crop_and_resize_masks.h"

#include "core/argument_tensors.h"
#include "core/bits.h"
#include "core/library_tensors.h"

namespace ldie::masks {
namespace {

constexpr const char* kOp = "crop_and_resize_masks";

void check(const Tensor& masks, int64_t width, bool packed, const Tensor& boxes, const std::optional<Tensor>& instances,
           int64_t mask_size) {
  check_dtype(kOp, "masks", masks, packed ? ScalarType::Byte : ScalarType::Bool);
  check_map_size(kOp, 0, width);
  check_shape(kOp, "masks", masks, {kAnySize, kAnySize, mask_row_bytes(width, packed)},
              packed ? "[G, H, ceil(W / 8)]" : "[G, H, W]");
  check_map_size(kOp, masks.size(1), width);
  if (boxes.scalar_type() != ScalarType::Double) check_dtype(kOp, "boxes", boxes, ScalarType::Float);
  check_shape(kOp, "boxes", boxes, {instances ? kAnySize : masks.size(0), 4},
              instances ? "[N, 4]" : "[N, 4], one per mask");
  check_same_device(kOp, "boxes", boxes, "masks", masks);
  check_side(kOp, "mask_size", mask_size);
  if (!instances) return;
  check_dtype(kOp, "instances", *instances, ScalarType::Long);
  check_shape(kOp, "instances", *instances, {boxes.size(0)}, "[N], one per box");
  check_same_device(kOp, "instances", *instances, "masks", masks);
}

Tensor crop_and_resize_masks_op(const Tensor& masks_, int64_t width, bool packed, const Tensor& boxes_,
                                const std::optional<Tensor>& instances_, int64_t mask_size, bool aligned) {
  check(masks_, width, packed, boxes_, instances_, mask_size);
  const Tensor masks = as_contiguous(masks_), boxes = as_contiguous(boxes_);
  const std::optional<Tensor> instances = as_contiguous(instances_);
  Tensor crops =
      make_empty(boxes, {boxes.size(0), mask_size, mask_size}, aligned ? ScalarType::Bool : boxes.scalar_type());
  if (crops.numel() == 0) return crops;
  TensorContext context(boxes);
  dispatch_floating(boxes.scalar_type(), [&](auto element) {
    using A = acc_t<decltype(element)>;
    CropMasks<A> args;
    args.masks = data<uint8_t>(masks);
    args.count = masks.size(0);
    args.height = masks.size(1);
    args.width = width;
    args.packed = packed;
    args.boxes = data<A>(boxes);
    args.instances = instances ? data<int64_t>(*instances) : nullptr;
    args.rois = boxes.size(0);
    args.size = mask_size;
    args.aligned = aligned;
    args.values = aligned ? nullptr : mutable_data<A>(crops);
    args.bits = aligned ? mutable_data<uint8_t>(crops) : nullptr;
    crop_and_resize_masks(args, context);
  });
  return crops;
}

LDIE_SCHEMA(
    "crop_and_resize_masks(Tensor masks, SymInt width, bool packed, Tensor boxes, Tensor? instances, "
    "SymInt mask_size, bool aligned) -> Tensor");
LDIE_REGISTER("crop_and_resize_masks", crop_and_resize_masks_op)

}  // namespace
}  // namespace ldie::masks
