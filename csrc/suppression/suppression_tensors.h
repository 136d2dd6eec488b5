// SPDX-License-Identifier: Apache-2.0
// The tensor side that the ops that suppress boxes or masks share.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include "core/argument_tensors.h"
#include "core/tensors.h"

namespace ldie::suppression {

// boxes [N, 4] float, scores [N] of their dtype, idxs [N] int64 if there are any; fewer than 2^31.
inline void check_scored_boxes(const char* op, const Tensor& boxes_, const Tensor& scores,
                               const std::optional<Tensor>& idxs) {
  const Argument boxes = Argument(op, "boxes", boxes_).floating().shape({kAnySize, 4}, "[N, 4]");
  const int64_t count = boxes.fewer_than_2_31(boxes.size(0), "rows").size(0);
  Argument(op, "scores", scores).dtype_of(boxes).shape({count}, "[N], one per box").device_of(boxes);
  if (idxs) Argument(op, "idxs", *idxs).dtype(ScalarType::Long).shape({count}, "[N], one per box").device_of(boxes);
}

// How many rows a launcher has kept. Reading it is the one synchronisation of the ops with a data-dependent size.
inline int64_t kept_count(const Tensor& kept) {
  int64_t count = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_item_int64(kept.get(), &count));
  return count;
}

inline Tensor first_rows(Tensor rows, int64_t count) { return torch::stable::narrow(rows, 0, 0, count); }

}  // namespace ldie::suppression
