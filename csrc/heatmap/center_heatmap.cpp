// SPDX-License-Identifier: Apache-2.0
#include "heatmap/center_heatmap.h"

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"
#include "heatmap/center_heatmap_tensors.h"

namespace ldie::heatmap {
namespace {

// What the launcher draws into.
Tensor make_canvas([[maybe_unused]] const Tensor& boxes, std::initializer_list<int64_t> size, ScalarType dtype) {
#if defined(LDIE_BACKEND_CPU)
  return make_untouched_zeros(size, dtype);
#else
  return make_empty(boxes, size, dtype);
#endif
}

Tensor center_heatmap_op(const Tensor& boxes_, const Tensor& labels_, const Tensor& offsets_, int64_t num_classes,
                         int64_t height, int64_t width, double min_overlap, int64_t radius_, ScalarType dtype) {
  constexpr const char* op = "center_heatmap";
  check_labelled_boxes(op, boxes_, labels_, offsets_);
  check_positive(op, "num_classes", num_classes);
  check_map_size(op, height, width);
  check_fraction(op, "min_overlap", min_overlap);
  const auto radius = checked_option<RadiusRule>(op, "radius", radius_);
  if (!is_floating(dtype)) {
    check_failed(op, "dtype must be float32, float64, float16 or bfloat16, got ", dtype_name(dtype));
  }
  const Tensor boxes = as_contiguous(boxes_), labels = as_contiguous(labels_), offsets = as_contiguous(offsets_);
  const int64_t batch = offsets.size(0) - 1;
  Tensor heatmap = make_canvas(boxes, {batch, num_classes, height, width}, dtype);
  if (heatmap.numel() == 0) return heatmap;

  launch_floating(heatmap, [&]<typename T>(Context& context) {
    center_heatmap<T>({.gaussians = make_gaussians(boxes, height, width, min_overlap, radius, context),
                       .labels = data<int64_t>(labels),
                       .offsets = data<int64_t>(offsets),
                       .rows = boxes.size(0),
                       .batch = batch,
                       .classes = num_classes,
                       .height = height,
                       .width = width,
                       .heatmap = mutable_data<T>(heatmap)},
                      context);
  });
  return heatmap;
}

LDIE_OP(center_heatmap, center_heatmap_op,
        "(Tensor boxes, Tensor labels, Tensor offsets, int num_classes, SymInt height, SymInt width, float "
        "min_overlap, int radius, ScalarType dtype) -> Tensor");

}  // namespace
}  // namespace ldie::heatmap
