// SPDX-License-Identifier: Apache-2.0
// Dice loss of each row of logits; math in dice.h, p = 1 / (1 + e^-x).
#pragma once

#include <cstdint>

#include "core/context.h"
#include "losses/dice.h"

namespace ldie::losses {

// Every row takes part.
struct AllRows {
  LDIE_HD bool operator()(int64_t) const { return true; }
};

template <typename T>
struct DiceLoss {
  const T *inputs, *targets;  // [rows, length]
  int64_t length;
  DiceRows<T> rows;
};

template <typename T>
void dice_loss(const DiceLoss<T>& args, Context& context);

template <typename T>
struct DiceLossBackward {
  DiceUpstream<T> upstream;
  const T *inputs, *targets;  // [rows, length]
  int64_t rows, length;
  T* grad_inputs;  // [rows, length]

  double scale() const { return dice_scale(upstream.reduction, rows); }
};

template <typename T>
void dice_loss_backward(const DiceLossBackward<T>& args, Context& context);

}  // namespace ldie::losses
