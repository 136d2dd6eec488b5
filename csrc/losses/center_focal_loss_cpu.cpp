// SPDX-License-Identifier: Apache-2.0
#include "core/instantiate.h"
#include "core/tiles_cpu.h"
#include "losses/center_focal_loss.h"

namespace ldie::losses {

// Reads logits and heatmap once, 8 bytes a cell in float32, and computes about 50 flops for each.
template <typename T, typename H>
void center_focal_loss(const CenterFocalLoss<T, H>& args, Context& context) {
  using A = acc_t<T>;
  with_center_focal_term<A>(args.alpha, args.beta, [&](const auto& term) {
    const PeakSum sum = sum_over_tiles(context, args.count, [&](int64_t begin, int64_t count) {
      A logit_buffer[kTile], heat_buffer[kTile], e[kTile], losses[kTile];
      const A* const x = load_tile(args.logits + begin, count, logit_buffer);
      const A* const y = load_tile(args.heatmap + begin, count, heat_buffer);
      int32_t peaks = 0;
      exp_minus_abs(x, count, e);
      for (int64_t i = 0; i < count; ++i) losses[i] = term.loss(x[i], y[i], e[i]);
      for (int64_t i = 0; i < count; ++i) peaks += y[i] == A(1);
      return PeakSum{tile_sum(losses, count), peaks};
    });
    *args.loss = T(A(sum.loss / peak_divisor(sum.peaks)));
    *args.num_peaks = sum.peaks;
  });
}

// The same reads and one write of the gradient.
template <typename T, typename H>
void center_focal_loss_backward(const CenterFocalLossBackward<T, H>& args, Context&) {
  using A = acc_t<T>;
  const A scale = A(double(A(*args.grad)) / peak_divisor(*args.num_peaks));
  with_center_focal_term<A>(args.alpha, args.beta, [&](const auto& term) {
    for_each_tile(args.count, [&](int64_t begin, int64_t count) {
      A logit_buffer[kTile], heat_buffer[kTile], e[kTile];
      const A* const x = load_tile(args.logits + begin, count, logit_buffer);
      const A* const y = load_tile(args.heatmap + begin, count, heat_buffer);
      T* const out = args.grad_logits + begin;
      exp_minus_abs(x, count, e);
      for (int64_t i = 0; i < count; ++i) out[i] = T(term.gradient(x[i], y[i], e[i]) * scale);
    });
  });
}

LDIE_INSTANTIATE_PAIRS(center_focal_loss, CenterFocalLoss);
LDIE_INSTANTIATE_PAIRS(center_focal_loss_backward, CenterFocalLossBackward);

}  // namespace ldie::losses
