// SPDX-License-Identifier: Apache-2.0
#include "losses/sigmoid_focal_loss.h"

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::losses {
namespace {

void check_inputs(const char* op, const Tensor& inputs_, const Tensor& targets) {
  const Argument inputs = Argument(op, "inputs", inputs_).floating();
  Argument(op, "targets", targets).shape_of(inputs).dtype_of(inputs).device_of(inputs);
}

Tensor sigmoid_focal_loss_op(const Tensor& inputs_, const Tensor& targets_, double alpha, double gamma,
                             int64_t reduction_) {
  check_inputs("sigmoid_focal_loss", inputs_, targets_);
  const auto reduction = checked_option<Reduction>("sigmoid_focal_loss", "reduction", reduction_);
  const Tensor inputs = as_contiguous(inputs_), targets = as_contiguous(targets_);
  Tensor loss = reduction == Reduction::kNone ? make_empty_like(inputs) : make_empty(inputs, {});
  if (loss.numel() == 0) return loss;

  launch_floating(inputs, [&]<typename T>(Context& context) {
    sigmoid_focal_loss<T>(
        {data<T>(inputs), data<T>(targets), inputs.numel(), alpha, gamma, reduction, mutable_data<T>(loss)}, context);
  });
  return loss;
}

// Whether all elements are one in memory, as autograd expands the gradient of a sum.
bool is_expanded_scalar(const Tensor& tensor) {
  bool shared = true;
  for (int64_t d = 0; d < tensor.dim(); ++d) shared = shared && (tensor.size(d) == 1 || tensor.stride(d) == 0);
  return shared;
}

Tensor sigmoid_focal_loss_backward_op(const Tensor& grad_, const Tensor& inputs_, const Tensor& targets_, double alpha,
                                      double gamma, int64_t reduction_) {
  constexpr const char* op = "sigmoid_focal_loss_backward";
  check_inputs(op, inputs_, targets_);
  const auto reduction = checked_option<Reduction>(op, "reduction", reduction_);
  const Argument inputs_given(op, "inputs", inputs_);
  const Argument grad_given = Argument(op, "grad", grad_).dtype_of(inputs_given).device_of(inputs_given);
  reduction == Reduction::kNone ? grad_given.shape_of(inputs_given) : grad_given.shape({}, "[]");
  const Tensor inputs = as_contiguous(inputs_), targets = as_contiguous(targets_);
  Tensor grad_inputs = make_empty_like(inputs);
  if (grad_inputs.numel() == 0) return grad_inputs;
  const bool grad_is_shared = is_expanded_scalar(grad_);
  const Tensor grad = grad_is_shared ? grad_ : as_contiguous(grad_);

  launch_floating(inputs, [&]<typename T>(Context& context) {
    sigmoid_focal_loss_backward<T>(
        {data<T>(grad), grad_is_shared, data<T>(inputs), data<T>(targets), inputs.numel(), alpha, gamma,
         reduction_scale(reduction, inputs.numel()), mutable_data<T>(grad_inputs)},
        context);
  });
  return grad_inputs;
}

LDIE_OP(sigmoid_focal_loss, sigmoid_focal_loss_op,
        "(Tensor inputs, Tensor targets, float alpha, float gamma, int reduction) -> Tensor");
LDIE_OP(sigmoid_focal_loss_backward, sigmoid_focal_loss_backward_op,
        "(Tensor grad, Tensor inputs, Tensor targets, float alpha, float gamma, int reduction) -> Tensor");

}  // namespace
}  // namespace ldie::losses
