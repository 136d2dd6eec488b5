// SPDX-License-Identifier: Apache-2.0
#include "suppression/matrix_nms.h"

#include "core/library_tensors.h"
#include "suppression/mask_order_tensors.h"

namespace ldie::suppression {
namespace {

Tensor matrix_nms_op(const Tensor& masks_, int64_t width, bool packed, const Tensor& labels_, const Tensor& scores_,
                     bool gaussian, double sigma) {
  constexpr const char* op = "matrix_nms";
  check_scored_masks(op, masks_, width, packed, labels_, scores_);
  if (!(sigma >= 0)) check_failed(op, "sigma must be at least 0, got ", sigma);
  const Tensor masks = as_contiguous(masks_), labels = as_contiguous(labels_), scores = as_contiguous(scores_);
  Tensor decayed = make_empty_like(scores);
  if (masks.size(0) == 0) return decayed;

  launch_floating(scores, [&]<typename T>(Context& context) {
    matrix_nms<T>({{masks::mask_set(masks, width), data<int64_t>(labels), data<T>(scores)},
                   gaussian,
                   sigma,
                   mutable_data<T>(decayed)},
                  context);
  });
  return decayed;
}

LDIE_OP(
    matrix_nms, matrix_nms_op,
    "(Tensor masks, SymInt width, bool packed, Tensor labels, Tensor scores, bool gaussian, float sigma) -> Tensor");

}  // namespace
}  // namespace ldie::suppression
