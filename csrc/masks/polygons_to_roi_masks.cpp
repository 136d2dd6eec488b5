// SPDX-License-Identifier: Apache-2.0
#include "masks/polygons_to_roi_masks.h"

#include "core/library_tensors.h"
#include "masks/polygon_tensors.h"

namespace ldie::masks {
namespace {

Tensor polygons_to_roi_masks_op(const Tensor& coords, const Tensor& part_offsets, const Tensor& instance_offsets,
                                const Tensor& boxes_, const std::optional<Tensor>& instances_, int64_t mask_size) {
  constexpr const char* op = "polygons_to_roi_masks";
  const PolygonTensors polygons(op, coords, part_offsets, instance_offsets);
  check_floating(op, "boxes", boxes_);
  check_same_device(op, "boxes", boxes_, "coords", coords);
  if (instances_) {
    check_shape(op, "boxes", boxes_, {kAnySize, 4}, "[N, 4]");
    check_dtype(op, "instances", *instances_, ScalarType::Long);
    check_shape(op, "instances", *instances_, {boxes_.size(0)}, "[N], one per box");
    check_same_device(op, "instances", *instances_, "coords", coords);
  } else {
    check_shape(op, "boxes", boxes_, {polygons.instances(), 4}, "[N, 4], one box per instance");
  }
  check_side(op, "mask_size", mask_size);

  const Tensor boxes = as_contiguous(boxes_);
  const std::optional<Tensor> instances = as_contiguous(instances_);
  Tensor masks = make_empty(boxes, {boxes.size(0), mask_size, mask_size}, ScalarType::Bool);
  if (masks.numel() == 0) return masks;
  TensorContext context(boxes);
  dispatch_floating(boxes.scalar_type(), [&](auto element) {
    using T = decltype(element);
    PolygonsToRoiMasks<T> args;
    args.polygons = polygons.set();
    args.boxes = data<T>(boxes);
    args.instances = instances ? data<int64_t>(*instances) : nullptr;
    args.rois = boxes.size(0);
    args.size = mask_size;
    args.masks = mutable_data<uint8_t>(masks);
    polygons_to_roi_masks(args, context);
  });
  return masks;
}

LDIE_SCHEMA(
    "polygons_to_roi_masks(Tensor coords, Tensor part_offsets, Tensor instance_offsets, Tensor boxes, "
    "Tensor? instances, SymInt mask_size) -> Tensor");
LDIE_REGISTER("polygons_to_roi_masks", polygons_to_roi_masks_op)

}  // namespace
}  // namespace ldie::masks
