// SPDX-License-Identifier: Apache-2.0
#include "losses/center_focal_loss_from_boxes.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"
#include "heatmap/center_heatmap.h"

namespace ldie::losses {
namespace {

void check_inputs(const char* op, const Tensor& logits, const Tensor& boxes, const Tensor& labels,
                  const Tensor& offsets, double min_overlap) {
  check_floating(op, "logits", logits);
  check_labelled_boxes(op, boxes, labels, offsets);
  check_same_device(op, "boxes", boxes, "logits", logits);
  check_shape(op, "logits", logits, {offsets.size(0) - 1, kAnySize, kAnySize, kAnySize},
              "[B, C, H, W], with B of offsets [B + 1]");
  check_map_size(op, logits.size(2), logits.size(3));
  check_fraction(op, "min_overlap", min_overlap);
}

// The boxes of a call, contiguous, and their Gaussians in scratch memory.
struct Targets {
  Tensor labels, offsets;
  GaussianMaps maps;
};

Targets make_targets(const Tensor& logits, const Tensor& boxes_, const Tensor& labels, const Tensor& offsets,
                     double min_overlap, heatmap::RadiusRule radius, TensorContext& context) {
  const Tensor boxes = as_contiguous(boxes_);
  Targets targets{as_contiguous(labels), as_contiguous(offsets), {}};
  const int64_t rows = boxes.size(0), height = logits.size(2), width = logits.size(3);
  heatmap::CenterGaussian* const gaussians = context.scratch_array<heatmap::CenterGaussian>(rows);
  dispatch_floating(boxes.scalar_type(), [&](auto element) {
    using T = decltype(element);
    heatmap::center_gaussians(
        heatmap::CenterGaussians<T>{data<T>(boxes), rows, height, width, min_overlap, radius, gaussians}, context);
  });
  targets.maps = {gaussians,
                  data<int64_t>(targets.labels),
                  data<int64_t>(targets.offsets),
                  rows,
                  logits.size(0),
                  logits.size(1),
                  height,
                  width};
  return targets;
}

std::tuple<Tensor, Tensor> center_focal_loss_from_boxes_op(const Tensor& logits_, const Tensor& boxes,
                                                           const Tensor& labels, const Tensor& offsets, double alpha,
                                                           double beta, double min_overlap, int64_t radius_) {
  constexpr const char* op = "center_focal_loss_from_boxes";
  check_inputs(op, logits_, boxes, labels, offsets, min_overlap);
  const auto radius = checked_option<heatmap::RadiusRule>(op, "radius", radius_);
  const Tensor logits = as_contiguous(logits_);
  Tensor loss = make_empty(logits, {}), num_peaks = make_empty(logits, {}, ScalarType::Long);

  TensorContext context(logits);
  const Targets targets = make_targets(logits, boxes, labels, offsets, min_overlap, radius, context);
  dispatch_floating(logits.scalar_type(), [&](auto element) {
    using T = decltype(element);
    CenterFocalLossFromBoxes<T> args;
    args.maps = targets.maps;
    args.logits = data<T>(logits);
    args.alpha = alpha;
    args.beta = beta;
    args.loss = mutable_data<T>(loss);
    args.num_peaks = mutable_data<int64_t>(num_peaks);
    center_focal_loss_from_boxes(args, context);
  });
  return {loss, num_peaks};
}

Tensor center_focal_loss_from_boxes_backward_op(const Tensor& grad, const Tensor& logits_, const Tensor& boxes,
                                                const Tensor& labels, const Tensor& offsets, const Tensor& num_peaks,
                                                double alpha, double beta, double min_overlap, int64_t radius_) {
  constexpr const char* op = "center_focal_loss_from_boxes_backward";
  check_inputs(op, logits_, boxes, labels, offsets, min_overlap);
  const auto radius = checked_option<heatmap::RadiusRule>(op, "radius", radius_);
  check_shape(op, "grad", grad, {}, "[]");
  check_dtype(op, "grad", grad, logits_.scalar_type());
  check_shape(op, "num_peaks", num_peaks, {}, "[]");
  check_dtype(op, "num_peaks", num_peaks, ScalarType::Long);
  check_same_device(op, "grad", grad, "logits", logits_);
  check_same_device(op, "num_peaks", num_peaks, "logits", logits_);
  const Tensor logits = as_contiguous(logits_);
  Tensor grad_logits = make_empty_like(logits);
  if (grad_logits.numel() == 0) return grad_logits;

  TensorContext context(logits);
  const Targets targets = make_targets(logits, boxes, labels, offsets, min_overlap, radius, context);
  dispatch_floating(logits.scalar_type(), [&](auto element) {
    using T = decltype(element);
    CenterFocalLossFromBoxesBackward<T> args;
    args.maps = targets.maps;
    args.grad = data<T>(grad);
    args.num_peaks = data<int64_t>(num_peaks);
    args.logits = data<T>(logits);
    args.alpha = alpha;
    args.beta = beta;
    args.grad_logits = mutable_data<T>(grad_logits);
    center_focal_loss_from_boxes_backward(args, context);
  });
  return grad_logits;
}

LDIE_SCHEMA(
    "center_focal_loss_from_boxes(Tensor logits, Tensor boxes, Tensor labels, Tensor offsets, float alpha, float beta, "
    "float min_overlap, int radius) -> (Tensor, Tensor)");
LDIE_REGISTER("center_focal_loss_from_boxes", center_focal_loss_from_boxes_op)
LDIE_SCHEMA(
    "center_focal_loss_from_boxes_backward(Tensor grad, Tensor logits, Tensor boxes, Tensor labels, Tensor offsets, "
    "Tensor num_peaks, float alpha, float beta, float min_overlap, int radius) -> Tensor");
LDIE_REGISTER("center_focal_loss_from_boxes_backward", center_focal_loss_from_boxes_backward_op)

}  // namespace
}  // namespace ldie::losses
