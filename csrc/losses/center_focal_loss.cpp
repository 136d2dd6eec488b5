// SPDX-License-Identifier: Apache-2.0
#include "losses/center_focal_loss.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"
#include "losses/center_focal_tensors.h"

namespace ldie::losses {
namespace {

void check_inputs(const char* op, const Tensor& logits_, const Tensor& heatmap_) {
  const Argument logits = Argument(op, "logits", logits_).floating();
  const Argument heatmap = Argument(op, "heatmap", heatmap_).shape_of(logits);
  if (heatmap_.scalar_type() != acc_dtype(logits_)) heatmap.dtype_of(logits);
  heatmap.device_of(logits);
}

// Launches for the element types of both: body<T, H>(context).
template <typename Body>
void launch_pair(const Tensor& logits, const Tensor& heatmap, const Body& body) {
  launch_floating(logits, [&]<typename T>(Context& context) {
    if (heatmap.scalar_type() == logits.scalar_type()) {
      body.template operator()<T, T>(context);
    } else {
      body.template operator()<T, acc_t<T>>(context);
    }
  });
}

std::tuple<Tensor, Tensor> center_focal_loss_op(const Tensor& logits_, const Tensor& heatmap_, double alpha,
                                                double beta) {
  check_inputs("center_focal_loss", logits_, heatmap_);
  const Tensor logits = as_contiguous(logits_), heatmap = as_contiguous(heatmap_);
  Tensor loss = make_empty(logits, {}), num_peaks = make_empty(logits, {}, ScalarType::Long);

  launch_pair(logits, heatmap, [&]<typename T, typename H>(Context& context) {
    center_focal_loss<T, H>({data<T>(logits), data<H>(heatmap), logits.numel(), alpha, beta, mutable_data<T>(loss),
                             mutable_data<int64_t>(num_peaks)},
                            context);
  });
  return {loss, num_peaks};
}

Tensor center_focal_loss_backward_op(const Tensor& grad, const Tensor& logits_, const Tensor& heatmap_,
                                     const Tensor& num_peaks, double alpha, double beta) {
  check_inputs("center_focal_loss_backward", logits_, heatmap_);
  check_center_focal_gradient("center_focal_loss_backward", grad, num_peaks, logits_);
  const Tensor logits = as_contiguous(logits_), heatmap = as_contiguous(heatmap_);
  Tensor grad_logits = make_empty_like(logits);
  if (grad_logits.numel() == 0) return grad_logits;

  launch_pair(logits, heatmap, [&]<typename T, typename H>(Context& context) {
    center_focal_loss_backward<T, H>({data<T>(grad), data<int64_t>(num_peaks), data<T>(logits), data<H>(heatmap),
                                      logits.numel(), alpha, beta, mutable_data<T>(grad_logits)},
                                     context);
  });
  return grad_logits;
}

LDIE_OP(center_focal_loss, center_focal_loss_op,
        "(Tensor logits, Tensor heatmap, float alpha, float beta) -> (Tensor, Tensor)");
LDIE_OP(center_focal_loss_backward, center_focal_loss_backward_op,
        "(Tensor grad, Tensor logits, Tensor heatmap, Tensor num_peaks, float alpha, float beta) -> Tensor");

}  // namespace
}  // namespace ldie::losses
