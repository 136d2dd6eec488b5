// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/instantiate.h"
#include "core/integers.h"
#include "core/tiles_cpu.h"
#include "losses/dice_cpu.h"
#include "losses/dice_loss.h"

namespace ldie::losses {
namespace {

int64_t tiles_per_row(int64_t length) { return ceil_div(length, kTile); }

// Calls body(row, begin, count, index) for all tiles of all rows, over threads: rows are few and long, or many and
// short.
template <typename Body>
void for_each_row_tile(int64_t rows, int64_t length, const Body& body) {
  constexpr int64_t kTilesPerTask = 16;
  const int64_t per_row = tiles_per_row(length);
  parallel_for(rows * per_row, kTilesPerTask, [&](int64_t first, int64_t last) {
    for (int64_t index = first; index < last; ++index) {
      const int64_t begin = index % per_row * kTile;
      body(index / per_row, begin, std::min(kTile, length - begin), index);
    }
  });
}

}  // namespace

// Reads inputs and targets once, 8 bytes an element in float32, and computes about 30 flops for each.
template <typename T>
void dice_loss(const DiceLoss<T>& args, Context& context) {
  using A = acc_t<T>;
  const int64_t rows = args.rows.count, per_row = tiles_per_row(args.length);
  DiceSums* const sums = context.scratch_array<DiceSums>(rows * per_row);
  for_each_row_tile(rows, args.length, [&](int64_t row, int64_t begin, int64_t count, int64_t index) {
    A input_buffer[kTile], target_buffer[kTile], p[kTile];
    const A* const x = load_tile(args.inputs + row * args.length + begin, count, input_buffer);
    const A* const t = load_tile(args.targets + row * args.length + begin, count, target_buffer);
    probabilities(x, count, p);
    sums[index] = dice_sums(p, t, count);
  });
  finish_dice(args.rows, AllRows(), per_row, sums);
}

// The same reads and one write of the gradient.
template <typename T>
void dice_loss_backward(const DiceLossBackward<T>& args, Context&) {
  using A = acc_t<T>;
  const double scale = args.scale();
  for_each_row_tile(args.rows, args.length, [&](int64_t row, int64_t begin, int64_t count, int64_t) {
    A input_buffer[kTile], target_buffer[kTile], e[kTile];
    const A* const x = load_tile(args.inputs + row * args.length + begin, count, input_buffer);
    const A* const t = load_tile(args.targets + row * args.length + begin, count, target_buffer);
    const DiceSlope<A> slope = args.upstream.slope(row, scale);
    T* const out = args.grad_inputs + row * args.length + begin;
    exp_minus_abs(x, count, e);
    for (int64_t i = 0; i < count; ++i) out[i] = T(slope.of_logit(x[i], t[i], e[i]));
  });
}

LDIE_INSTANTIATE(dice_loss, DiceLoss);
LDIE_INSTANTIATE(dice_loss_backward, DiceLossBackward);

}  // namespace ldie::losses
