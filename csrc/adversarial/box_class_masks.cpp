// SPDX-License-Identifier: Apache-2.0
#include "adversarial/box_class_masks.h"

#include "core/argument_tensors.h"
#include "core/bits.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::adversarial {
namespace {

Tensor box_class_masks_op(const Tensor& boxes_, const Tensor& labels_, const Tensor& offsets_, int64_t num_classes,
                          int64_t height, int64_t width, bool class_agnostic, int64_t rounding_, bool packed) {
  constexpr const char* op = "box_class_masks";
  check_labelled_boxes(op, boxes_, labels_, offsets_);
  check_positive(op, "num_classes", num_classes);
  const auto rounding = checked_option<Rounding>(op, "rounding", rounding_);
  check_map_size(op, height, width);
  const Tensor boxes = as_contiguous(boxes_), labels = as_contiguous(labels_), offsets = as_contiguous(offsets_);
  const int64_t batch = offsets.size(0) - 1, planes = class_agnostic ? 1 : num_classes;
  const int64_t row_bytes = mask_row_bytes(width, packed);
  MostlyZero output =
      make_mostly_zero(boxes, {batch, planes, height, row_bytes}, packed ? ScalarType::Byte : ScalarType::Bool);
  Tensor& masks = output.tensor;
  if (masks.numel() == 0) return masks;

  launch_floating(boxes, [&]<typename T>(Context& context) {
    box_class_masks<T>({.boxes = data<T>(boxes),
                        .labels = data<int64_t>(labels),
                        .offsets = data<int64_t>(offsets),
                        .rows = boxes.size(0),
                        .batch = batch,
                        .planes = planes,
                        .height = height,
                        .width = width,
                        .class_agnostic = class_agnostic,
                        .packed = packed,
                        .zeroed = output.zeroed,
                        .rounding = rounding,
                        .masks = mutable_data<uint8_t>(masks)},
                       context);
  });
  return masks;
}

LDIE_OP(box_class_masks, box_class_masks_op,
        "(Tensor boxes, Tensor labels, Tensor offsets, int num_classes, SymInt height, SymInt width, bool "
        "class_agnostic, int rounding, bool packed) -> Tensor");

}  // namespace
}  // namespace ldie::adversarial
