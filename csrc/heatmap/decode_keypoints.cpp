// SPDX-License-Identifier: Apache-2.0
#include "heatmap/decode_keypoints.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::heatmap {
namespace {

void check_inputs(const Tensor& heatmaps, const Tensor& boxes) {
  constexpr const char* op = "decode_keypoints";
  check_floating(op, "heatmaps", heatmaps);
  check_shape(op, "heatmaps", heatmaps, {kAnySize, kAnySize, kAnySize, kAnySize}, "[N, K, H, W]");
  check_map_size(op, heatmaps.size(2), heatmaps.size(3));
  if (heatmaps.size(2) == 0 || heatmaps.size(3) == 0) {
    check_failed(op, "heatmaps must have cells, got ", describe(heatmaps));
  }
  check_dtype(op, "boxes", boxes, heatmaps.scalar_type());
  check_shape(op, "boxes", boxes, {heatmaps.size(0), 4}, "[N, 4], one per row of heatmaps");
  check_same_device(op, "boxes", boxes, "heatmaps", heatmaps);
}

std::tuple<Tensor, Tensor> decode_keypoints_op(const Tensor& heatmaps_, const Tensor& boxes_, bool softmax) {
  check_inputs(heatmaps_, boxes_);
  const Tensor heatmaps = as_contiguous(heatmaps_), boxes = as_contiguous(boxes_);
  const int64_t rows = heatmaps.size(0), per_box = heatmaps.size(1);
  Tensor keypoints = make_empty(heatmaps, {rows, per_box, 3}), scores = make_empty(heatmaps, {rows, per_box});

  TensorContext context(heatmaps);
  dispatch_floating(heatmaps.scalar_type(), [&](auto element) {
    using T = decltype(element);
    DecodeKeypoints<T> args;
    args.heatmaps = data<T>(heatmaps);
    args.boxes = data<T>(boxes);
    args.count = rows * per_box;
    args.per_box = per_box;
    args.height = heatmaps.size(2);
    args.width = heatmaps.size(3);
    args.softmax = softmax;
    args.keypoints = mutable_data<T>(keypoints);
    args.scores = mutable_data<T>(scores);
    decode_keypoints(args, context);
  });
  return {keypoints, scores};
}

LDIE_SCHEMA("decode_keypoints(Tensor heatmaps, Tensor boxes, bool softmax) -> (Tensor, Tensor)");
LDIE_REGISTER("decode_keypoints", decode_keypoints_op)

}  // namespace
}  // namespace ldie::heatmap
