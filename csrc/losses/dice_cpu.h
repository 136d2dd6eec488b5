// SPDX-License-Identifier: Apache-2.0
// CPU: the sums of a Dice loss, tile by tile, and the rows' losses from them.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/tiles_cpu.h"
#include "losses/dice.h"

namespace ldie::losses {

// Of at most a tile, logits to probabilities.
template <typename A>
void probabilities(const A* logits, int64_t count, A* p) {
  A e[kTile];
  exp_minus_abs(logits, count, e);
  for (int64_t i = 0; i < count; ++i) p[i] = logistic(logits[i], e[i]).p;
}

// Sums of at most a tile: independent lanes, joined in double as tile_sum() joins them.
template <typename A>
DiceSums dice_sums(const A* p, const A* t, int64_t count) {
  constexpr int64_t kSums = 16;
  typedef A Sums __attribute__((vector_size(kSums * sizeof(A))));
  Sums pt{}, pp{}, tt{};
  int64_t i = 0;
  for (; i + kSums <= count; i += kSums) {
    Sums own, target;
    std::memcpy(&own, p + i, sizeof own);
    std::memcpy(&target, t + i, sizeof target);
    pt += own * target;
    pp += own * own;
    tt += target * target;
  }
  DiceSums sums{};
  for (; i < count; ++i) sums += {double(p[i] * t[i]), double(p[i] * p[i]), double(t[i] * t[i])};
  for (int64_t lane = 0; lane < kSums; ++lane) sums += {double(pt[lane]), double(pp[lane]), double(tt[lane])};
  return sums;
}

// From `parts` sums a row. Returns what the sum of the losses was multiplied with.
template <typename L, typename InUse>
double finish_dice(const DiceRows<L>& rows, const InUse& in_use, int64_t parts, const DiceSums* sums) {
  double total = 0;
  int64_t used = 0;
  for (int64_t row = 0; row < rows.count; ++row) {
    DiceSums of_row{};
    for (int64_t part = 0; part < parts; ++part) of_row += sums[row * parts + part];
    total += rows.put(row, in_use(row) ? of_row.fraction(rows.smooth) : kUnusedRow);
    used += in_use(row);
  }
  return rows.put_total(total, used);
}

}  // namespace ldie::losses
