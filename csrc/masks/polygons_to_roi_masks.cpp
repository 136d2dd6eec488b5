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
  const Argument points(op, "coords", coords);
  const Argument regions = Argument(op, "boxes", boxes_).floating().device_of(points);
  if (instances_) {
    regions.shape({kAnySize, 4}, "[N, 4]");
    Argument(op, "instances", *instances_)
        .dtype(ScalarType::Long)
        .shape({regions.size(0)}, "[N], one per box")
        .device_of(points);
  } else {
    regions.shape({polygons.instances(), 4}, "[N, 4], one box per instance");
  }
  check_side(op, "mask_size", mask_size);

  const Tensor boxes = as_contiguous(boxes_);
  const std::optional<Tensor> instances = as_contiguous(instances_);
  Tensor masks = make_empty(boxes, {boxes.size(0), mask_size, mask_size}, ScalarType::Bool);
  if (masks.numel() == 0) return masks;
  launch_floating(boxes, [&]<typename T>(Context& context) {
    polygons_to_roi_masks<T>({.polygons = polygons.set(),
                              .boxes = data<T>(boxes),
                              .instances = instances ? data<int64_t>(*instances) : nullptr,
                              .rois = boxes.size(0),
                              .size = mask_size,
                              .masks = mutable_data<uint8_t>(masks)},
                             context);
  });
  return masks;
}

LDIE_OP(polygons_to_roi_masks, polygons_to_roi_masks_op,
        "(Tensor coords, Tensor part_offsets, Tensor instance_offsets, Tensor boxes, Tensor? instances, SymInt "
        "mask_size) -> Tensor");

}  // namespace
}  // namespace ldie::masks
