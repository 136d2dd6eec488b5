// SPDX-License-Identifier: Apache-2.0
#include "heatmap/keypoint_targets.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::heatmap {
namespace {

void check_inputs(const Tensor& keypoints, const Tensor& boxes, int64_t height, int64_t width) {
  constexpr const char* op = "keypoint_targets";
  check_floating(op, "keypoints", keypoints);
  check_shape(op, "keypoints", keypoints, {kAnySize, kAnySize, 3}, "[N, K, 3]");
  check_dtype(op, "boxes", boxes, keypoints.scalar_type());
  check_shape(op, "boxes", boxes, {keypoints.size(0), 4}, "[N, 4], one per row of keypoints");
  check_same_device(op, "boxes", boxes, "keypoints", keypoints);
  check_map_size(op, height, width);
}

std::tuple<Tensor, Tensor> keypoint_targets_op(const Tensor& keypoints_, const Tensor& boxes_, int64_t height,
                                               int64_t width) {
  check_inputs(keypoints_, boxes_, height, width);
  const Tensor keypoints = as_contiguous(keypoints_), boxes = as_contiguous(boxes_);
  const int64_t rows = keypoints.size(0), per_box = keypoints.size(1);
  Tensor index = make_empty(keypoints, {rows, per_box}, ScalarType::Long);
  Tensor valid = make_empty(keypoints, {rows, per_box}, ScalarType::Bool);

  TensorContext context(keypoints);
  dispatch_floating(keypoints.scalar_type(), [&](auto element) {
    using T = decltype(element);
    KeypointTargets<T> args;
    args.keypoints = data<T>(keypoints);
    args.boxes = data<T>(boxes);
    args.count = rows * per_box;
    args.per_box = per_box;
    args.height = height;
    args.width = width;
    args.index = mutable_data<int64_t>(index);
    args.valid = mutable_data<bool>(valid);
    keypoint_targets(args, context);
  });
  return {index, valid};
}

LDIE_SCHEMA("keypoint_targets(Tensor keypoints, Tensor boxes, SymInt height, SymInt width) -> (Tensor, Tensor)");
LDIE_REGISTER("keypoint_targets", keypoint_targets_op)

}  // namespace
}  // namespace ldie::heatmap
