// SPDX-License-Identifier: Apache-2.0
#include "core/instantiate.h"
#include "core/tiles_cpu.h"
#include "losses/sigmoid_focal_loss.h"

namespace ldie::losses {
namespace {

template <typename T, typename Term>
void compute_loss(const SigmoidFocalLoss<T>& args, const Term& term, Context& context) {
  using A = acc_t<T>;
  const auto compute_tile = [&](int64_t begin, int64_t count, A* losses) {
    A input_buffer[kTile], target_buffer[kTile], e[kTile];
    const A* const x = load_tile(args.inputs + begin, count, input_buffer);
    const A* const t = load_tile(args.targets + begin, count, target_buffer);
    exp_minus_abs(x, count, e);
    for (int64_t i = 0; i < count; ++i) losses[i] = term.loss(x[i], t[i], e[i]);
  };
  if (args.reduction == Reduction::kNone) {
    for_each_tile(args.count, [&](int64_t begin, int64_t count) {
      A losses[kTile];
      compute_tile(begin, count, losses);
      for (int64_t i = 0; i < count; ++i) args.loss[begin + i] = T(losses[i]);
    });
    return;
  }
  const double sum = sum_over_tiles(context, args.count, [&](int64_t begin, int64_t count) {
    A losses[kTile];
    compute_tile(begin, count, losses);
    return tile_sum(losses, count);
  });
  *args.loss = T(A(sum * reduction_scale(args.reduction, args.count)));
}

template <typename T, typename Term>
void compute_gradient(const SigmoidFocalLossBackward<T>& args, const Term& term) {
  using A = acc_t<T>;
  const A shared = A(args.scale) * A(*args.grad);
  for_each_tile(args.count, [&](int64_t begin, int64_t count) {
    A input_buffer[kTile], target_buffer[kTile], e[kTile];
    const A* const x = load_tile(args.inputs + begin, count, input_buffer);
    const A* const t = load_tile(args.targets + begin, count, target_buffer);
    T* const out = args.grad_inputs + begin;
    exp_minus_abs(x, count, e);
    if (args.grad_is_shared) {
      for (int64_t i = 0; i < count; ++i) out[i] = T(term.gradient(x[i], t[i], e[i]) * shared);
    } else {
      A grad_buffer[kTile];
      const A* const grad = load_tile(args.grad + begin, count, grad_buffer);
      for (int64_t i = 0; i < count; ++i) out[i] = T(term.gradient(x[i], t[i], e[i]) * grad[i]);
    }
  });
}

}  // namespace

// Reads inputs and targets once, 8 bytes an element in float32, and computes about 50 flops for each: with vectors the
// reading decides.
template <typename T>
void sigmoid_focal_loss(const SigmoidFocalLoss<T>& args, Context& context) {
  with_focal_term<T>(args.alpha, args.gamma, [&](const auto& term) { compute_loss(args, term, context); });
}

// The same reads, and one write of the gradient, whose fresh pages cost more than the arithmetic.
template <typename T>
void sigmoid_focal_loss_backward(const SigmoidFocalLossBackward<T>& args, Context&) {
  with_focal_term<T>(args.alpha, args.gamma, [&](const auto& term) { compute_gradient(args, term); });
}

LDIE_INSTANTIATE(sigmoid_focal_loss, SigmoidFocalLoss);
LDIE_INSTANTIATE(sigmoid_focal_loss_backward, SigmoidFocalLossBackward);

}  // namespace ldie::losses
