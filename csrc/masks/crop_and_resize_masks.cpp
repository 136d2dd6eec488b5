// SPDX-License-Identifier: Apache-2.0
#include "masks/crop_and_resize_masks.h"

#include "core/argument_tensors.h"
#include "core/bits.h"
#include "core/library_tensors.h"

namespace ldie::masks {
namespace {

constexpr const char* kOp = "crop_and_resize_masks";

void check(const Tensor& masks_, int64_t width, bool packed, const Tensor& boxes_,
           const std::optional<Tensor>& instances, int64_t mask_size) {
  const Argument masks = Argument(kOp, "masks", masks_).dtype(packed ? ScalarType::Byte : ScalarType::Bool);
  check_map_size(kOp, 0, width);
  masks.shape({kAnySize, kAnySize, mask_row_bytes(width, packed)}, packed ? "[G, H, ceil(W / 8)]" : "[G, H, W]");
  check_map_size(kOp, masks.size(1), width);
  const Argument boxes(kOp, "boxes", boxes_);
  if (boxes_.scalar_type() != ScalarType::Double) boxes.dtype(ScalarType::Float);
  boxes.shape({instances ? kAnySize : masks.size(0), 4}, instances ? "[N, 4]" : "[N, 4], one per mask");
  boxes.device_of(masks);
  check_side(kOp, "mask_size", mask_size);
  if (instances) {
    Argument(kOp, "instances", *instances)
        .dtype(ScalarType::Long)
        .shape({boxes.size(0)}, "[N], one per box")
        .device_of(masks);
  }
}

Tensor crop_and_resize_masks_op(const Tensor& masks_, int64_t width, bool packed, const Tensor& boxes_,
                                const std::optional<Tensor>& instances_, int64_t mask_size, bool aligned) {
  check(masks_, width, packed, boxes_, instances_, mask_size);
  const Tensor masks = as_contiguous(masks_), boxes = as_contiguous(boxes_);
  const std::optional<Tensor> instances = as_contiguous(instances_);
  Tensor crops =
      make_empty(boxes, {boxes.size(0), mask_size, mask_size}, aligned ? ScalarType::Bool : boxes.scalar_type());
  if (crops.numel() == 0) return crops;

  launch_floating(boxes, [&]<typename T>(Context& context) {
    using A = acc_t<T>;
    crop_and_resize_masks<A>({.masks = data<uint8_t>(masks),
                              .count = masks.size(0),
                              .height = masks.size(1),
                              .width = width,
                              .packed = packed,
                              .boxes = data<A>(boxes),
                              .instances = instances ? data<int64_t>(*instances) : nullptr,
                              .rois = boxes.size(0),
                              .size = mask_size,
                              .aligned = aligned,
                              .values = aligned ? nullptr : mutable_data<A>(crops),
                              .bits = aligned ? mutable_data<uint8_t>(crops) : nullptr},
                             context);
  });
  return crops;
}

LDIE_OP(crop_and_resize_masks, crop_and_resize_masks_op,
        "(Tensor masks, SymInt width, bool packed, Tensor boxes, Tensor? instances, SymInt mask_size, bool aligned) -> "
        "Tensor");

}  // namespace
}  // namespace ldie::masks
