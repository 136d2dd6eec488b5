// SPDX-License-Identifier: Apache-2.0
#include "losses/center_focal_loss_from_boxes.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"
#include "heatmap/center_heatmap_tensors.h"
#include "losses/center_focal_tensors.h"

namespace ldie::losses {
namespace {

// The boxes of a call, checked, made contiguous and kept while the launcher runs.
struct Targets {
  Tensor boxes, labels, offsets;
  double min_overlap;
  heatmap::RadiusRule radius;

  Targets(const char* op, const Tensor& logits_, const Tensor& boxes_, const Tensor& labels_, const Tensor& offsets_,
          double min_overlap, int64_t radius_)
      : min_overlap(min_overlap) {
    const Argument logits = Argument(op, "logits", logits_).floating();
    check_labelled_boxes(op, boxes_, labels_, offsets_);
    Argument(op, "boxes", boxes_).device_of(logits);
    logits.shape({offsets_.size(0) - 1, kAnySize, kAnySize, kAnySize}, "[B, C, H, W], with B of offsets [B + 1]");
    check_map_size(op, logits.size(2), logits.size(3));
    check_fraction(op, "min_overlap", min_overlap);
    radius = checked_option<heatmap::RadiusRule>(op, "radius", radius_);
    boxes = as_contiguous(boxes_);
    labels = as_contiguous(labels_);
    offsets = as_contiguous(offsets_);
  }

  GaussianMaps maps(const Tensor& logits, Context& context) const {
    const int64_t height = logits.size(2), width = logits.size(3);
    return {.gaussians = heatmap::make_gaussians(boxes, height, width, min_overlap, radius, context),
            .labels = data<int64_t>(labels),
            .offsets = data<int64_t>(offsets),
            .rows = boxes.size(0),
            .batch = logits.size(0),
            .classes = logits.size(1),
            .height = height,
            .width = width};
  }
};

std::tuple<Tensor, Tensor> center_focal_loss_from_boxes_op(const Tensor& logits_, const Tensor& boxes,
                                                           const Tensor& labels, const Tensor& offsets, double alpha,
                                                           double beta, double min_overlap, int64_t radius) {
  const Targets targets("center_focal_loss_from_boxes", logits_, boxes, labels, offsets, min_overlap, radius);
  const Tensor logits = as_contiguous(logits_);
  Tensor loss = make_empty(logits, {}), num_peaks = make_empty(logits, {}, ScalarType::Long);

  launch_floating(logits, [&]<typename T>(Context& context) {
    center_focal_loss_from_boxes<T>({targets.maps(logits, context), data<T>(logits), alpha, beta, mutable_data<T>(loss),
                                     mutable_data<int64_t>(num_peaks)},
                                    context);
  });
  return {loss, num_peaks};
}

Tensor center_focal_loss_from_boxes_backward_op(const Tensor& grad, const Tensor& logits_, const Tensor& boxes,
                                                const Tensor& labels, const Tensor& offsets, const Tensor& num_peaks,
                                                double alpha, double beta, double min_overlap, int64_t radius) {
  constexpr const char* op = "center_focal_loss_from_boxes_backward";
  const Targets targets(op, logits_, boxes, labels, offsets, min_overlap, radius);
  check_center_focal_gradient(op, grad, num_peaks, logits_);
  const Tensor logits = as_contiguous(logits_);
  Tensor grad_logits = make_empty_like(logits);
  if (grad_logits.numel() == 0) return grad_logits;

  launch_floating(logits, [&]<typename T>(Context& context) {
    center_focal_loss_from_boxes_backward<T>({targets.maps(logits, context), data<T>(grad), data<int64_t>(num_peaks),
                                              data<T>(logits), alpha, beta, mutable_data<T>(grad_logits)},
                                             context);
  });
  return grad_logits;
}

LDIE_OP(center_focal_loss_from_boxes, center_focal_loss_from_boxes_op,
        "(Tensor logits, Tensor boxes, Tensor labels, Tensor offsets, float alpha, float beta, float min_overlap, int "
        "radius) -> (Tensor, Tensor)");
LDIE_OP(center_focal_loss_from_boxes_backward, center_focal_loss_from_boxes_backward_op,
        "(Tensor grad, Tensor logits, Tensor boxes, Tensor labels, Tensor offsets, Tensor num_peaks, float alpha, "
        "float beta, float min_overlap, int radius) -> Tensor");

}  // namespace
}  // namespace ldie::losses
