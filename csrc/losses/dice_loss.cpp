// SPDX-License-Identifier: Apache-2.0
#include "losses/dice_loss.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::losses {
namespace {

void check_inputs(const char* op, const Tensor& inputs, const Tensor& targets) {
  check_floating(op, "inputs", inputs);
  if (inputs.dim() < 1) check_failed(op, "inputs must have shape [N, ...], got ", describe(inputs));
  check_same_size(op, "targets", targets, "inputs", inputs);
  check_dtype(op, "targets", targets, inputs.scalar_type());
  check_same_device(op, "targets", targets, "inputs", inputs);
}

int64_t row_length(const Tensor& inputs) {
  int64_t length = 1;
  for (int64_t d = 1; d < inputs.dim(); ++d) length *= inputs.size(d);
  return length;
}

std::tuple<Tensor, Tensor> dice_loss_op(const Tensor& inputs_, const Tensor& targets_, double smooth,
                                        int64_t reduction_) {
  check_inputs("dice_loss", inputs_, targets_);
  const auto reduction = checked_option<Reduction>("dice_loss", "reduction", reduction_);
  const Tensor inputs = as_contiguous(inputs_), targets = as_contiguous(targets_);
  const int64_t rows = inputs.size(0);
  const bool reduced = reduction != Reduction::kNone;
  Tensor loss = reduced ? make_empty(inputs, {}) : make_empty(inputs, {rows});
  Tensor fractions = make_empty(inputs, {rows, 2}, ScalarType::Double);
  if (rows == 0 && !reduced) return {loss, fractions};

  TensorContext context(inputs);
  dispatch_floating(inputs.scalar_type(), [&](auto element) {
    using T = decltype(element);
    DiceLoss<T> args;
    args.inputs = data<T>(inputs);
    args.targets = data<T>(targets);
    args.rows = rows;
    args.length = row_length(inputs);
    args.smooth = smooth;
    args.reduction = reduction;
    args.loss = mutable_data<T>(loss);
    args.fractions = mutable_data<DiceFraction>(fractions);
    dice_loss(args, context);
  });
  return {loss, fractions};
}

Tensor dice_loss_backward_op(const Tensor& grad_, const Tensor& inputs_, const Tensor& targets_,
                             const Tensor& fractions_, int64_t reduction_) {
  constexpr const char* op = "dice_loss_backward";
  check_inputs(op, inputs_, targets_);
  const auto reduction = checked_option<Reduction>(op, "reduction", reduction_);
  const int64_t rows = inputs_.size(0);
  if (reduction == Reduction::kNone) {
    check_shape(op, "grad", grad_, {rows}, "[N]");
  } else {
    check_shape(op, "grad", grad_, {}, "[]");
  }
  check_dtype(op, "grad", grad_, inputs_.scalar_type());
  check_shape(op, "fractions", fractions_, {rows, 2}, "[N, 2]");
  check_dtype(op, "fractions", fractions_, ScalarType::Double);
  check_same_device(op, "grad", grad_, "inputs", inputs_);
  check_same_device(op, "fractions", fractions_, "inputs", inputs_);
  const Tensor grad = as_contiguous(grad_), inputs = as_contiguous(inputs_), targets = as_contiguous(targets_);
  const Tensor fractions = as_contiguous(fractions_);
  Tensor grad_inputs = make_empty_like(inputs);
  if (grad_inputs.numel() == 0) return grad_inputs;

  TensorContext context(inputs);
  dispatch_floating(inputs.scalar_type(), [&](auto element) {
    using T = decltype(element);
    DiceLossBackward<T> args;
    args.grad = data<T>(grad);
    args.inputs = data<T>(inputs);
    args.targets = data<T>(targets);
    args.fractions = data<DiceFraction>(fractions);
    args.rows = rows;
    args.length = row_length(inputs);
    args.reduction = reduction;
    args.grad_inputs = mutable_data<T>(grad_inputs);
    dice_loss_backward(args, context);
  });
  return grad_inputs;
}

LDIE_SCHEMA("dice_loss(Tensor inputs, Tensor targets, float smooth, int reduction) -> (Tensor, Tensor)");
LDIE_REGISTER("dice_loss", dice_loss_op)
LDIE_SCHEMA(
    "dice_loss_backward(Tensor grad, Tensor inputs, Tensor targets, Tensor fractions, int reduction) -> Tensor");
LDIE_REGISTER("dice_loss_backward", dice_loss_backward_op)

}  // namespace
}  // namespace ldie::losses
