// SPDX-License-Identifier: Apache-2.0
#include "heatmap/decode_keypoints.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::heatmap {
namespace {

std::tuple<Tensor, Tensor> decode_keypoints_op(const Tensor& heatmaps_, const Tensor& boxes_, bool softmax) {
  constexpr const char* op = "decode_keypoints";
  const Argument given =
      Argument(op, "heatmaps", heatmaps_).floating().shape({kAnySize, kAnySize, kAnySize, kAnySize}, "[N, K, H, W]");
  const int64_t rows = given.size(0), per_box = given.size(1), height = given.size(2), width = given.size(3);
  check_map_size(op, height, width);
  if (height == 0 || width == 0) given.fail("must have cells");
  Argument(op, "boxes", boxes_).dtype_of(given).shape({rows, 4}, "[N, 4], one per row of heatmaps").device_of(given);
  const Tensor heatmaps = as_contiguous(heatmaps_), boxes = as_contiguous(boxes_);
  Tensor keypoints = make_empty(heatmaps, {rows, per_box, 3}), scores = make_empty(heatmaps, {rows, per_box});

  launch_floating(heatmaps, [&]<typename T>(Context& context) {
    decode_keypoints<T>({data<T>(heatmaps), data<T>(boxes), rows * per_box, per_box, height, width, softmax,
                         mutable_data<T>(keypoints), mutable_data<T>(scores)},
                        context);
  });
  return {keypoints, scores};
}

LDIE_OP(decode_keypoints, decode_keypoints_op, "(Tensor heatmaps, Tensor boxes, bool softmax) -> (Tensor, Tensor)");

}  // namespace
}  // namespace ldie::heatmap
