// SPDX-License-Identifier: Apache-2.0
#include "heatmap/center_targets.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::heatmap {
namespace {

std::tuple<Tensor, Tensor, Tensor, Tensor> center_targets_op(const Tensor& boxes_, const Tensor& labels_,
                                                             const Tensor& offsets_, int64_t height, int64_t width,
                                                             int64_t max_objects) {
  constexpr const char* op = "center_targets";
  check_labelled_boxes(op, boxes_, labels_, offsets_);
  check_map_size(op, height, width);
  check_positive(op, "max_objects", max_objects);
  const Tensor boxes = as_contiguous(boxes_), labels = as_contiguous(labels_), offsets = as_contiguous(offsets_);
  const int64_t batch = offsets.size(0) - 1;
  Tensor index = make_empty(boxes, {batch, max_objects}, ScalarType::Long);
  Tensor wh = make_empty(boxes, {batch, max_objects, 2});
  Tensor offset = make_empty(boxes, {batch, max_objects, 2});
  Tensor valid = make_empty(boxes, {batch, max_objects}, ScalarType::Bool);

  launch_floating(boxes, [&]<typename T>(Context& context) {
    center_targets<T>({.boxes = data<T>(boxes),
                       .labels = data<int64_t>(labels),
                       .offsets = data<int64_t>(offsets),
                       .rows = boxes.size(0),
                       .batch = batch,
                       .slots = max_objects,
                       .height = height,
                       .width = width,
                       .index = mutable_data<int64_t>(index),
                       .wh = mutable_data<T>(wh),
                       .offset = mutable_data<T>(offset),
                       .valid = mutable_data<bool>(valid)},
                      context);
  });
  return {index, wh, offset, valid};
}

LDIE_OP(center_targets, center_targets_op,
        "(Tensor boxes, Tensor labels, Tensor offsets, SymInt height, SymInt width, int max_objects) -> (Tensor, "
        "Tensor, Tensor, Tensor)");

}  // namespace
}  // namespace ldie::heatmap
