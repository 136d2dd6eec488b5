// SPDX-License-Identifier: Apache-2.0
// The common input of the ops that suppress boxes.
#pragma once

#include "core/argument_tensors.h"
#include "core/tensors.h"

namespace ldie::suppression {

// boxes [N, 4] float, scores [N] of their dtype, idxs [N] int64 or null; fewer than 2^31.
inline void check_scored_boxes(const char* op, const Tensor& boxes, const Tensor& scores, const Tensor* idxs) {
  check_floating(op, "boxes", boxes);
  check_shape(op, "boxes", boxes, {kAnySize, 4}, "[N, 4]");
  const int64_t count = boxes.size(0);
  check_dtype(op, "scores", scores, boxes.scalar_type());
  check_shape(op, "scores", scores, {count}, "[N], one per box");
  check_same_device(op, "scores", scores, "boxes", boxes);
  if (idxs) {
    check_dtype(op, "idxs", *idxs, ScalarType::Long);
    check_shape(op, "idxs", *idxs, {count}, "[N], one per box");
    check_same_device(op, "idxs", *idxs, "boxes", boxes);
  }
  constexpr int64_t kLimit = (int64_t(1) << 31) - 1;
  if (count > kLimit) check_failed(op, "boxes must have fewer than 2^31 rows, got ", describe(boxes));
}

}  // namespace ldie::suppression
