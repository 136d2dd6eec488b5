// SPDX-License-Identifier: Apache-2.0
#include "heatmap/keypoint_targets.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::heatmap {
namespace {

std::tuple<Tensor, Tensor> keypoint_targets_op(const Tensor& keypoints_, const Tensor& boxes_, int64_t height,
                                               int64_t width) {
  constexpr const char* op = "keypoint_targets";
  const Argument given = Argument(op, "keypoints", keypoints_).floating().shape({kAnySize, kAnySize, 3}, "[N, K, 3]");
  const int64_t rows = given.size(0), per_box = given.size(1);
  Argument(op, "boxes", boxes_).dtype_of(given).shape({rows, 4}, "[N, 4], one per row of keypoints").device_of(given);
  check_map_size(op, height, width);
  const Tensor keypoints = as_contiguous(keypoints_), boxes = as_contiguous(boxes_);
  Tensor index = make_empty(keypoints, {rows, per_box}, ScalarType::Long);
  Tensor valid = make_empty(keypoints, {rows, per_box}, ScalarType::Bool);

  launch_floating(keypoints, [&]<typename T>(Context& context) {
    keypoint_targets<T>({data<T>(keypoints), data<T>(boxes), rows * per_box, per_box, height, width,
                         mutable_data<int64_t>(index), mutable_data<bool>(valid)},
                        context);
  });
  return {index, valid};
}

LDIE_OP(keypoint_targets, keypoint_targets_op,
        "(Tensor keypoints, Tensor boxes, SymInt height, SymInt width) -> (Tensor, Tensor)");

}  // namespace
}  // namespace ldie::heatmap
