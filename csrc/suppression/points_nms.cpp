// SPDX-License-Identifier: Apache-2.0
#include "suppression/points_nms.h"

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::suppression {
namespace {

Tensor points_nms_op(const Tensor& values_, const Tensor& scores_, bool wide) {
  constexpr const char* op = "points_nms";
  const Argument given =
      Argument(op, "scores", scores_).floating().shape({kAnySize, kAnySize, kAnySize, kAnySize}, "[B, C, H, W]");
  Argument(op, "values", values_).shape_of(given).dtype_of(given).device_of(given);
  const Tensor values = as_contiguous(values_), scores = as_contiguous(scores_);
  Tensor kept = make_empty_like(scores);
  if (kept.numel() == 0) return kept;

  launch_floating(scores, [&]<typename T>(Context& context) {
    points_nms<T>({.values = data<T>(values),
                   .scores = data<T>(scores),
                   .planes = scores.size(0) * scores.size(1),
                   .height = scores.size(2),
                   .width = scores.size(3),
                   .wide = wide,
                   .kept = mutable_data<T>(kept)},
                  context);
  });
  return kept;
}

LDIE_OP(points_nms, points_nms_op, "(Tensor values, Tensor scores, bool wide) -> Tensor");

}  // namespace
}  // namespace ldie::suppression
