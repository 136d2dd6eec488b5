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

struct Inputs {
  Tensor scores, deltas, anchors, image_sizes;

  ScalarType dtype() const { return scores.scalar_type(); }
  ScalarType box_dtype() const { return dtype() == ScalarType::Double ? ScalarType::Double : ScalarType::Float; }
};

void check_inputs(const Inputs& in) {
  check_floating(kOp, "scores", in.scores);
  check_shape(kOp, "scores", in.scores, {kAnySize, kAnySize}, "[B, A]");
  const int64_t batch = in.scores.size(0), anchors = in.scores.size(1);
  check_dtype(kOp, "deltas", in.deltas, in.dtype());
  check_shape(kOp, "deltas", in.deltas, {batch, anchors, 4}, "[B, A, 4]");
  check_same_device(kOp, "deltas", in.deltas, "scores", in.scores);
  check_dtype(kOp, "anchors", in.anchors, in.box_dtype());
  check_shape(kOp, "anchors", in.anchors, {anchors, 4}, "[A, 4]");
  check_same_device(kOp, "anchors", in.anchors, "scores", in.scores);
  check_dtype(kOp, "image_sizes", in.image_sizes, ScalarType::Long);
  check_shape(kOp, "image_sizes", in.image_sizes, {batch, 2}, "[B, 2], height and width");
  check_same_device(kOp, "image_sizes", in.image_sizes, "scores", in.scores);
  constexpr int64_t kLimit = (int64_t(1) << 31) - 1;
  if (in.scores.numel() > kLimit) {
    check_failed(kOp, "scores must have fewer than 2^31 elements, got ", describe(in.scores));
  }
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

std::tuple<Tensor, Tensor, Tensor> select_proposals_op(const Tensor& scores, const Tensor& deltas,
                                                       const Tensor& anchors, const Tensor& image_sizes,
                                                       std::vector<int64_t> level_sizes, int64_t pre_nms,
                                                       int64_t post_nms, double iou_threshold, double min_size,
                                                       double score_threshold, double clip) {
  check_inputs({scores, deltas, anchors, image_sizes});
  check_positive(kOp, "pre_nms", pre_nms);
  check_positive(kOp, "post_nms", post_nms);
  const Inputs in{as_contiguous(scores), as_contiguous(deltas), as_contiguous(anchors), as_contiguous(image_sizes)};
  const int64_t batch = scores.size(0);
  const Levels levels = make_levels(level_sizes, scores.size(1));
  Tensor boxes = make_empty(in.scores, {batch, post_nms, 4}, in.box_dtype());
  Tensor best = make_empty(in.scores, {batch, post_nms});
  Tensor counts = make_empty(in.scores, {batch}, ScalarType::Long);
  if (batch == 0) return {boxes, best, counts};

  TensorContext context(in.scores);
  dispatch_floating(in.dtype(), [&](auto element) {
    using T = decltype(element);
    using A = acc_t<T>;
    SelectProposals<T> args;
    args.scores = data<T>(in.scores);
    args.deltas = data<T>(in.deltas);
    args.anchors = data<A>(in.anchors);
    args.image_sizes = data<int64_t>(in.image_sizes);
    args.levels = levels;
    args.batch = batch;
    args.pre_nms = pre_nms;
    args.post_nms = post_nms;
    args.iou_threshold = iou_threshold;
    args.min_size = A(min_size);
    args.score_threshold = A(score_threshold);
    args.clip = A(clip);
    args.boxes = mutable_data<A>(boxes);
    args.best = mutable_data<T>(best);
    args.counts = mutable_data<int64_t>(counts);
    select_proposals(args, context);
  });
  return {boxes, best, counts};
}

LDIE_SCHEMA(
    "select_proposals(Tensor scores, Tensor deltas, Tensor anchors, Tensor image_sizes, SymInt[] level_sizes, "
    "SymInt pre_nms, SymInt post_nms, float iou_threshold, float min_size, float score_threshold, float clip) -> "
    "(Tensor, Tensor, Tensor)");
LDIE_REGISTER("select_proposals", select_proposals_op)

}  // namespace
}  // namespace ldie::boxes
