// SPDX-License-Identifier: Apache-2.0
#include "boxes/match_boxes.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::boxes {
namespace {

constexpr const char* kOp = "match_boxes";

void check_inputs(const Tensor& gt_, const Tensor& gt_offsets, const Tensor& candidates_,
                  const std::optional<Tensor>& crowd) {
  const Argument gt = Argument(kOp, "gt", gt_).float_or_double().shape({kAnySize, 4}, "[G, 4]");
  const int64_t rows = gt.fewer_than_2_31(gt.size(0), "rows").size(0);
  Argument(kOp, "gt_offsets", gt_offsets).device_of(gt).offsets(rows);
  if (crowd) {
    Argument(kOp, "crowd", *crowd).dtype(ScalarType::Bool).shape({rows}, "[G], one per gt box").device_of(gt);
  }
  const Argument candidates = Argument(kOp, "candidates", candidates_).dtype_of(gt).device_of(gt);
  if (candidates_.dim() == 2) {
    candidates.shape({kAnySize, 4}, "[A, 4] or [B, A, 4]");
  } else {
    candidates.shape({gt_offsets.size(0) - 1, kAnySize, 4}, "[A, 4] or [B, A, 4], B one less than gt_offsets");
  }
}

std::tuple<Tensor, Tensor> match_boxes_op(const Tensor& gt_, const Tensor& gt_offsets_, const Tensor& candidates_,
                                          double high, double low, bool allow_low_quality, int64_t convention_,
                                          const std::optional<Tensor>& crowd_) {
  check_inputs(gt_, gt_offsets_, candidates_, crowd_);
  const auto convention = checked_option<MatchConvention>(kOp, "convention", convention_);
  const Tensor gt = as_contiguous(gt_), gt_offsets = as_contiguous(gt_offsets_);
  const Tensor candidates = as_contiguous(candidates_);
  const std::optional<Tensor> crowd = as_contiguous(crowd_);
  const bool shared = candidates.dim() == 2;
  const int64_t batch = gt_offsets.size(0) - 1, count = candidates.size(shared ? 0 : 1);
  Tensor matches = make_empty(gt, {batch, count}, ScalarType::Long), iou = make_empty(gt, {batch, count});
  if (matches.numel() == 0) return {matches, iou};

  launch_wide(gt, [&]<typename T>(Context& context) {
    match_boxes<T>({data<T>(gt), data<int64_t>(gt_offsets), crowd ? data<bool>(*crowd) : nullptr, gt.size(0), batch,
                    data<T>(candidates), shared, count, T(high), T(low), allow_low_quality, convention,
                    mutable_data<int64_t>(matches), mutable_data<T>(iou)},
                   context);
  });
  return {matches, iou};
}

LDIE_OP(match_boxes, match_boxes_op,
        "(Tensor gt, Tensor gt_offsets, Tensor candidates, float high, float low, bool allow_low_quality, int "
        "convention, Tensor? crowd) -> (Tensor, Tensor)");

}  // namespace
}  // namespace ldie::boxes
