// SPDX-License-Identifier: Apache-2.0
#include "losses/sigmoid_focal_loss.h"

#include "core/check.h"
#include "core/library.h"
#include "core/tensor.h"

namespace ldie::losses {
namespace {

void check_inputs(const char* op, const Tensor& inputs, const Tensor& targets) {
  check_floating(op, "inputs", inputs);
  check_same_size(op, "targets", targets, "inputs", inputs);
  check_dtype(op, "targets", targets, inputs.scalar_type());
  check_same_device(op, "targets", targets, "inputs", inputs);
}

Tensor sigmoid_focal_loss_op(const Tensor& inputs_, const Tensor& targets_, double alpha, double gamma,
                             int64_t reduction_) {
  check_inputs("sigmoid_focal_loss", inputs_, targets_);
  const auto reduction = checked_option<Reduction>("sigmoid_focal_loss", "reduction", reduction_);
  const Tensor inputs = as_contiguous(inputs_), targets = as_contiguous(targets_);
  Tensor loss = reduction == Reduction::kNone ? make_empty_like(inputs) : make_empty(inputs, {});
  if (loss.numel() == 0) return loss;

  TensorContext context(inputs);
  dispatch_floating(inputs.scalar_type(), [&](auto element) {
    using T = decltype(element);
    SigmoidFocalLoss<T> args;
    args.inputs = data<T>(inputs);
    args.targets = data<T>(targets);
    args.count = inputs.numel();
    args.alpha = alpha;
    args.gamma = gamma;
    args.reduction = reduction;
    args.loss = mutable_data<T>(loss);
    sigmoid_focal_loss(args, context);
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
  if (reduction == Reduction::kNone) {
    check_same_size(op, "grad", grad_, "inputs", inputs_);
  } else {
    check_shape(op, "grad", grad_, {}, "[]");
  }
  check_dtype(op, "grad", grad_, inputs_.scalar_type());
  check_same_device(op, "grad", grad_, "inputs", inputs_);
  const Tensor inputs = as_contiguous(inputs_), targets = as_contiguous(targets_);
  Tensor grad_inputs = make_empty_like(inputs);
  if (grad_inputs.numel() == 0) return grad_inputs;
  const bool grad_is_shared = is_expanded_scalar(grad_);
  const Tensor grad = grad_is_shared ? grad_ : as_contiguous(grad_);

  TensorContext context(inputs);
  dispatch_floating(inputs.scalar_type(), [&](auto element) {
    using T = decltype(element);
    SigmoidFocalLossBackward<T> args;
    args.grad = data<T>(grad);
    args.grad_is_shared = grad_is_shared;
    args.inputs = data<T>(inputs);
    args.targets = data<T>(targets);
    args.count = inputs.numel();
    args.alpha = alpha;
    args.gamma = gamma;
    args.scale = reduction_scale(reduction, args.count);
    args.grad_inputs = mutable_data<T>(grad_inputs);
    sigmoid_focal_loss_backward(args, context);
  });
  return grad_inputs;
}

LDIE_SCHEMA("sigmoid_focal_loss(Tensor inputs, Tensor targets, float alpha, float gamma, int reduction) -> Tensor");
LDIE_REGISTER("sigmoid_focal_loss", sigmoid_focal_loss_op)
LDIE_SCHEMA(
    "sigmoid_focal_loss_backward(Tensor grad, Tensor inputs, Tensor targets, float alpha, float gamma, int reduction) "
    "-> Tensor");
LDIE_REGISTER("sigmoid_focal_loss_backward", sigmoid_focal_loss_backward_op)

}  // namespace
}  // namespace ldie::losses
