// SPDX-License-Identifier: Apache-2.0
// The tensor side that nms, batched_nms and nms_padded share.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include "suppression/nms.h"
#include "suppression/scored_boxes_tensors.h"

namespace ldie::suppression {

struct Kept {
  Tensor rows;   // int64 [max_output], -1 after the last
  Tensor count;  // int64 []
};

// `idxs` may be null: all boxes are of one group. `max_output` null: as many as there are boxes.
inline Kept run_nms(const char* op, const Tensor& boxes_, const Tensor& scores_, const Tensor* idxs_,
                    double iou_threshold, const int64_t* max_output) {
  check_scored_boxes(op, boxes_, scores_, idxs_);
  if (max_output && *max_output < 0) check_failed(op, "max_output must be at least 0, got ", *max_output);

  const int64_t count = boxes_.size(0);
  const Tensor boxes = as_contiguous(boxes_), scores = as_contiguous(scores_);
  const Tensor idxs = idxs_ ? as_contiguous(*idxs_) : boxes;
  const int64_t capacity = max_output ? *max_output : count;
  Kept kept{make_empty(boxes, {capacity}, ScalarType::Long), make_empty(boxes, {}, ScalarType::Long)};
  TensorContext context(boxes);
  dispatch_floating(boxes.scalar_type(), [&](auto element) {
    using T = decltype(element);
    Nms<T> args;
    args.boxes = data<T>(boxes);
    args.scores = data<T>(scores);
    args.groups = idxs_ ? data<int64_t>(idxs) : nullptr;
    args.count = count;
    args.iou_threshold = iou_threshold;
    args.max_output = capacity;
    args.keep = mutable_data<int64_t>(kept.rows);
    args.kept = mutable_data<int64_t>(kept.count);
    nms(args, context);
  });
  return kept;
}

// Only the rows kept. Reading their number is the one synchronisation of the ops with a data-dependent size.
inline Tensor trimmed(Kept kept) {
  int64_t count = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_item_int64(kept.count.get(), &count));
  return torch::stable::narrow(kept.rows, 0, 0, count);
}

}  // namespace ldie::suppression
