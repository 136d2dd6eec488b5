// SPDX-License-Identifier: Apache-2.0
#include "losses/center_focal_loss.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::losses {
namespace {

void check_inputs(const char* op, const Tensor& logits, const Tensor& heatmap) {
  check_floating(op, "logits", logits);
  check_same_size(op, "heatmap", heatmap, "logits", logits);
  const ScalarType dtype = logits.scalar_type();
  const bool wider = heatmap.scalar_type() == ScalarType::Float && dtype != ScalarType::Double;
  if (!wider) check_dtype(op, "heatmap", heatmap, dtype);
  check_same_device(op, "heatmap", heatmap, "logits", logits);
}

// Calls body(logit, heat) with the element types of the two.
template <typename Body>
void dispatch_pair(const Tensor& logits, const Tensor& heatmap, const Body& body) {
  dispatch_floating(logits.scalar_type(), [&](auto element) {
    using T = decltype(element);
    if (heatmap.scalar_type() == logits.scalar_type()) {
      body(T(), T());
    } else {
      body(T(), acc_t<T>());
    }
  });
}

std::tuple<Tensor, Tensor> center_focal_loss_op(const Tensor& logits_, const Tensor& heatmap_, double alpha,
                                                double beta) {
  check_inputs("center_focal_loss", logits_, heatmap_);
  const Tensor logits = as_contiguous(logits_), heatmap = as_contiguous(heatmap_);
  Tensor loss = make_empty(logits, {}), num_peaks = make_empty(logits, {}, ScalarType::Long);

  TensorContext context(logits);
  dispatch_pair(logits, heatmap, [&](auto logit, auto heat) {
    using T = decltype(logit);
    using H = decltype(heat);
    CenterFocalLoss<T, H> args;
    args.logits = data<T>(logits);
    args.heatmap = data<H>(heatmap);
    args.count = logits.numel();
    args.alpha = alpha;
    args.beta = beta;
    args.loss = mutable_data<T>(loss);
    args.num_peaks = mutable_data<int64_t>(num_peaks);
    center_focal_loss(args, context);
  });
  return {loss, num_peaks};
}

Tensor center_focal_loss_backward_op(const Tensor& grad, const Tensor& logits_, const Tensor& heatmap_,
                                     const Tensor& num_peaks, double alpha, double beta) {
  constexpr const char* op = "center_focal_loss_backward";
  check_inputs(op, logits_, heatmap_);
  check_shape(op, "grad", grad, {}, "[]");
  check_dtype(op, "grad", grad, logits_.scalar_type());
  check_shape(op, "num_peaks", num_peaks, {}, "[]");
  check_dtype(op, "num_peaks", num_peaks, ScalarType::Long);
  check_same_device(op, "grad", grad, "logits", logits_);
  check_same_device(op, "num_peaks", num_peaks, "logits", logits_);
  const Tensor logits = as_contiguous(logits_), heatmap = as_contiguous(heatmap_);
  Tensor grad_logits = make_empty_like(logits);
  if (grad_logits.numel() == 0) return grad_logits;

  TensorContext context(logits);
  dispatch_pair(logits, heatmap, [&](auto logit, auto heat) {
    using T = decltype(logit);
    using H = decltype(heat);
    CenterFocalLossBackward<T, H> args;
    args.grad = data<T>(grad);
    args.num_peaks = data<int64_t>(num_peaks);
    args.logits = data<T>(logits);
    args.heatmap = data<H>(heatmap);
    args.count = logits.numel();
    args.alpha = alpha;
    args.beta = beta;
    args.grad_logits = mutable_data<T>(grad_logits);
    center_focal_loss_backward(args, context);
  });
  return grad_logits;
}

LDIE_SCHEMA("center_focal_loss(Tensor logits, Tensor heatmap, float alpha, float beta) -> (Tensor, Tensor)");
LDIE_REGISTER("center_focal_loss", center_focal_loss_op)
LDIE_SCHEMA(
    "center_focal_loss_backward(Tensor grad, Tensor logits, Tensor heatmap, Tensor num_peaks, float alpha, "
    "float beta) -> Tensor");
LDIE_REGISTER("center_focal_loss_backward", center_focal_loss_backward_op)

}  // namespace
}  // namespace ldie::losses
