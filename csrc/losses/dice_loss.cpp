// SPDX-License-Identifier: Apache-2.0
#include "losses/dice_loss.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"
#include "losses/reduction_tensors.h"

namespace ldie::losses {
namespace {

void check_inputs(const char* op, const Tensor& inputs_, const Tensor& targets) {
  const Argument inputs = Argument(op, "inputs", inputs_).floating();
  if (inputs_.dim() < 1) inputs.fail("must have shape [N, ...]");
  Argument(op, "targets", targets).shape_of(inputs).dtype_of(inputs).device_of(inputs);
}

int64_t row_length(const Tensor& inputs) {
  int64_t length = 1;
  for (int64_t d = 1; d < inputs.dim(); ++d) length *= inputs.size(d);
  return length;
}

std::tuple<Tensor, Tensor> dice_loss_op(const Tensor& inputs_, const Tensor& targets_, double smooth_numerator,
                                        double smooth_denominator, int64_t reduction_) {
  check_inputs("dice_loss", inputs_, targets_);
  const auto reduction = checked_option<Reduction>("dice_loss", "reduction", reduction_);
  const Tensor inputs = as_contiguous(inputs_), targets = as_contiguous(targets_);
  const int64_t rows = inputs.size(0);
  Tensor loss = make_loss(inputs, reduction, {rows}), fractions = make_empty(inputs, {rows, 2}, ScalarType::Double);
  if (loss.numel() == 0) return {loss, fractions};

  launch_floating(inputs, [&]<typename T>(Context& context) {
    dice_loss<T>({.inputs = data<T>(inputs),
                  .targets = data<T>(targets),
                  .length = row_length(inputs),
                  .rows = {.count = rows,
                           .smooth = {smooth_numerator, smooth_denominator},
                           .reduction = reduction,
                           .loss = mutable_data<T>(loss),
                           .fractions = mutable_data<DiceFraction>(fractions)}},
                 context);
  });
  return {loss, fractions};
}

Tensor dice_loss_backward_op(const Tensor& grad_, const Tensor& inputs_, const Tensor& targets_,
                             const Tensor& fractions_, int64_t reduction_) {
  constexpr const char* op = "dice_loss_backward";
  check_inputs(op, inputs_, targets_);
  const auto reduction = checked_option<Reduction>(op, "reduction", reduction_);
  const int64_t rows = inputs_.size(0);
  const Argument inputs_given(op, "inputs", inputs_);
  check_loss_gradient(op, grad_, inputs_given, reduction, {rows}, "[N]");
  Argument(op, "fractions", fractions_).shape({rows, 2}, "[N, 2]").dtype(ScalarType::Double).device_of(inputs_given);
  const Tensor grad = as_contiguous(grad_), inputs = as_contiguous(inputs_), targets = as_contiguous(targets_);
  const Tensor fractions = as_contiguous(fractions_);
  Tensor grad_inputs = make_empty_like(inputs);
  if (grad_inputs.numel() == 0) return grad_inputs;

  launch_floating(inputs, [&]<typename T>(Context& context) {
    dice_loss_backward<T>({.upstream = {data<T>(grad), data<DiceFraction>(fractions), reduction},
                           .inputs = data<T>(inputs),
                           .targets = data<T>(targets),
                           .rows = rows,
                           .length = row_length(inputs),
                           .grad_inputs = mutable_data<T>(grad_inputs)},
                          context);
  });
  return grad_inputs;
}

LDIE_OP(dice_loss, dice_loss_op,
        "(Tensor inputs, Tensor targets, float smooth_numerator, float smooth_denominator, int reduction)"
        " -> (Tensor, Tensor)");
LDIE_OP(dice_loss_backward, dice_loss_backward_op,
        "(Tensor grad, Tensor inputs, Tensor targets, Tensor fractions, int reduction) -> Tensor");

}  // namespace
}  // namespace ldie::losses
