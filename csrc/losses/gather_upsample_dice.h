// SPDX-License-Identifier: Apache-2.0
// Dice loss of some rows of logits, upsampled bilinearly to the size of their targets as they are needed; math of the
// loss in dice.h. A pixel of the upsampled map, both axes by their taps:
//   u(y, X) = low x(y, first) + high x(y, first + 1)            along a row of logits
//   v(Y, X) = low u(first, X) + high u(first + 1, X)            between two of them
// and p = sigmoid(v), or p = v of x = sigmoid(logits). The gradient goes back the same way: between rows, then along.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/half.h"
#include "core/integers.h"
#include "losses/dice.h"
#include "masks/mask_set.h"

namespace ldie::losses {

// Shares of the elements `first` and `first + 1` in a sample between them.
template <typename A>
struct UpsampleTap {
  int64_t first;
  A low, high;  // high is 0 at the last element

  LDIE_HD A between(A a, A b) const { return low * a + high * b; }
  LDIE_HD A share(int64_t element) const { return element == first ? low : element == first + 1 ? high : A(0); }
};

// From `in` >= 1 elements of an axis to `out` >= `in` samples of it, both at most 2^30.
struct UpsampleAxis {
  int64_t in, out;
  bool align_corners;

  // Positions are fractions of integers: exact, so that a step of a sample is one of an element at the most.
  template <typename A>
  LDIE_HD UpsampleTap<A> tap(int64_t sample) const {
    // sample * (in - 1) / (out - 1), or (sample + 1/2) * in / out - 1/2, at least 0
    const int64_t over = align_corners ? sample * (in - 1) : (2 * sample + 1) * in - out;
    const int64_t under = align_corners ? (out > 1 ? out - 1 : 1) : 2 * out;
    const int64_t position = over > 0 ? over : 0, first = position / under;
    const double high = first < in - 1 ? double(position - first * under) / double(under) : 0.0;
    return {first, A(1 - high), A(high)};
  }

  // The least sample whose first element is at least this one, or `out`. An element is tapped by the samples from
  // first_sample(element - 1) to first_sample(element + 1).
  LDIE_HD int64_t first_sample(int64_t element) const {
    if (element <= 0) return 0;
    if (element >= in) return out;
    if (align_corners) return ceil_div(element * (out - 1), in - 1);
    return ceil_div((2 * element + 1) * out, in) / 2;  // 2 * sample + 1 is at least the quotient
  }
};

// Which row of logits belongs to which of targets.
struct DiceSlots {
  const int64_t *cells, *rows;  // [count], or null: a slot has its own number
  int64_t count, cell_count, row_count;

  LDIE_HD int64_t cell(int64_t slot) const { return cells == nullptr ? slot : cells[slot]; }
  LDIE_HD int64_t row(int64_t slot) const { return rows == nullptr ? slot : rows[slot]; }
  LDIE_HD bool operator()(int64_t slot) const {  // is in use
    const int64_t own = cell(slot), target = row(slot);
    return (own >= 0) & (own < cell_count) & (target >= 0) & (target < row_count);
  }
};

// Rows of maps with any strides.
template <typename T>
struct StridedMaps {
  const T* elements;
  int64_t stride, stride_y, stride_x;

  LDIE_HD const T* row(int64_t map, int64_t y) const { return elements + map * stride + y * stride_y; }
};

template <typename T>
struct UpsampledDice {
  StridedMaps<T> logits;
  DiceSlots slots;
  UpsampleAxis vertical, horizontal;
  masks::MaskSet masks;  // the targets, unless there are soft ones
  const T* soft;         // [row_count, vertical.out, horizontal.out], or null
  bool sigmoid_first;

  LDIE_HD int64_t height() const { return vertical.in; }
  LDIE_HD int64_t width() const { return horizontal.in; }
};

template <typename T>
struct GatherUpsampleDice {
  UpsampledDice<T> maps;
  DiceRows<acc_t<T>> rows;
  double* scale;  // one element: what the sum of the losses was multiplied with
};

template <typename T>
void gather_upsample_dice(const GatherUpsampleDice<T>& args, Context& context);

template <typename T>
struct GatherUpsampleDiceBackward {
  UpsampledDice<T> maps;
  DiceUpstream<acc_t<T>> upstream;
  const double* scale;
  T* grad_logits;  // [cell_count, height, width]
  bool zeroed;     // the gradient is zero already (CPU)

  LDIE_HD DiceSlope<acc_t<T>> slope(int64_t slot) const { return upstream.slope(slot, *scale); }
};

template <typename T>
void gather_upsample_dice_backward(const GatherUpsampleDiceBackward<T>& args, Context& context);

}  // namespace ldie::losses
