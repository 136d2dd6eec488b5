// SPDX-License-Identifier: Apache-2.0
#include "boxes/select_proposals.h"

#include <tuple>
#include <vector>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::boxes {
namespace {

constexpr const char* kOp = "select_proposals";

void check_inputs(const Tensor& scores_, const Tensor& deltas, const Tensor& anchors, const Tensor& image_sizes) {
  const Argument scores = Argument(kOp, "scores", scores_).floating().shape({kAnySize, kAnySize}, "[B, A]");
  scores.fewer_than_2_31(scores_.numel(), "elements");
  const int64_t batch = scores.size(0), count = scores.size(1);
  Argument(kOp, "deltas", deltas).dtype_of(scores).shape({batch, count, 4}, "[B, A, 4]").device_of(scores);
  Argument(kOp, "anchors", anchors).dtype(acc_dtype(scores_)).shape({count, 4}, "[A, 4]").device_of(scores);
  Argument(kOp, "image_sizes", image_sizes)
      .dtype(ScalarType::Long)
      .shape({batch, 2}, "[B, 2], height and width")
      .device_of(scores);
}

Levels make_levels(const std::vector<int64_t>& sizes, int64_t anchors) {
  if (sizes.empty() || sizes.size() > size_t(kMostLevels)) {
    check_failed(kOp, "level_sizes must name 1 to ", kMostLevels, " levels, got ", sizes.size());
  }
  Levels levels;
  for (const int64_t size : sizes) {
    if (size < 0 || size > anchors) check_failed(kOp, "level_sizes must be between 0 and ", anchors, ", got ", size);
    levels.append(size);
  }
  if (levels.items() != anchors) {
    check_failed(kOp, "level_sizes must sum to the number of anchors, ", anchors, ", got ", levels.items());
  }
  return levels;
}

std::tuple<Tensor, Tensor, Tensor> select_proposals_op(const Tensor& scores_, const Tensor& deltas_,
                                                       const Tensor& anchors_, const Tensor& image_sizes_,
                                                       std::vector<int64_t> level_sizes, int64_t pre_nms,
                                                       int64_t post_nms, double iou_threshold, double min_size,
                                                       double score_threshold, double clip) {
  check_inputs(scores_, deltas_, anchors_, image_sizes_);
  check_positive(kOp, "pre_nms", pre_nms);
  check_positive(kOp, "post_nms", post_nms);
  const Levels levels = make_levels(level_sizes, scores_.size(1));
  const Tensor scores = as_contiguous(scores_), deltas = as_contiguous(deltas_), anchors = as_contiguous(anchors_);
  const Tensor image_sizes = as_contiguous(image_sizes_);
  const int64_t batch = scores.size(0);
  Tensor boxes = make_empty(anchors, {batch, post_nms, 4}), best = make_empty(scores, {batch, post_nms});
  Tensor counts = make_empty(scores, {batch}, ScalarType::Long);
  if (batch == 0) return {boxes, best, counts};

  launch_floating(scores, [&]<typename T>(Context& context) {
    using A = acc_t<T>;
    select_proposals<T>({data<T>(scores), data<T>(deltas), data<A>(anchors), data<int64_t>(image_sizes), levels, batch,
                         pre_nms, post_nms, iou_threshold, A(min_size), A(score_threshold), A(clip),
                         mutable_data<A>(boxes), mutable_data<T>(best), mutable_data<int64_t>(counts)},
                        context);
  });
  return {boxes, best, counts};
}

LDIE_OP(
    select_proposals, select_proposals_op,
    "(Tensor scores, Tensor deltas, Tensor anchors, Tensor image_sizes, SymInt[] level_sizes, SymInt pre_nms, SymInt "
    "post_nms, float iou_threshold, float min_size, float score_threshold, float clip) -> (Tensor, Tensor, Tensor)");

}  // namespace
}  // namespace ldie::boxes
