// SPDX-License-Identifier: Apache-2.0
// edit_normal_equations: for each of many sequences of edits, how far what it makes of an image is from a target, and
// the normal equations of that in the sequence's parameters, J^T W J and J^T W r, without an image of them in memory.
//
// Columns of J are the parameters that a sequence's operators use, one step after another. A pixel has three rows, one
// for each channel of the result, and the way back through the steps from a unit gradient makes a row: the operators'
// own backward.
#pragma once

#include <cmath>

#include "core/context.h"
#include "editing/edit_sequences.h"

namespace ldie::editing {

constexpr int64_t kFitPixels = 128;  // side by side in memory, visited together
constexpr int64_t kMostFitSteps = 8, kMostColumns = kMostFitSteps * kParameters;

// The loss of a residual r is r^2 / 2 as far as |r| <= threshold, and threshold (|r| - threshold / 2) beyond.
template <typename T>
struct EditNormalEquations {
  const T *images, *targets;                 // [batch, 3, pixels]
  int64_t batch, candidates, pixels, width;  // width: of a row of them
  EditSequences<T> sequences;                // of [batch, candidates]
  const bool* active;                        // [batch, candidates]: the others get zeros
  bool stencils;                             // whether there may be any
  int64_t stride, columns;  // of stride runs of kFitPixels pixels one is visited; columns of the results
  double threshold;
  double *losses, *distances;    // [batch, candidates]: sums over the visited pixels of losses and of |r|
  double *gradients, *hessians;  // [batch, candidates, columns], [batch, candidates, columns, columns]
};

template <typename T>
void edit_normal_equations(const EditNormalEquations<T>& args, Context& context);

// Curves go channel by channel.
template <typename Operator>
constexpr bool kIsCurve = requires(const Operator& op) { op.channel(0); };

// The other operators' sums are their parameters' gradients.
template <typename Operator>
constexpr int kColumnsOf = kIsCurve<Operator> ? Operator::kSums / 2 : Operator::kSums;

template <typename A>
LDIE_HD int columns_of(EditOp op) {
  int columns = 0;
  with_any_operator<A>(op, [&]<typename Operator>() { columns = kColumnsOf<Operator>; });
  return columns;
}

// How many a problem has, whether or not its steps' masks are there.
template <typename A>
LDIE_HD int64_t used_columns(const EditSequences<A>& sequences, int64_t problem) {
  int64_t columns = 0;
  for (int64_t k = 0; k < sequences.steps; ++k) {
    columns += columns_of<A>(given_operator(sequences, problem * sequences.steps + k));
  }
  return columns;
}

// Of one channel y of a curve: dy/dx, and dy/dt of the curve's weights in `slopes`. `mask` is null on the whole image.
// Sums is made of a row of numbers, and adds to them.
template <typename Sums, typename A, typename V>
LDIE_HD V curve_slopes(const CurveChannel<A>& curve, const A* weights, const V& x, const V* mask, V* slopes) {
  V sums[CurveChannel<A>::kSums] = {};
  const CurveChannel<A> own{curve.row, 0};
  const V one = uniform<V>(1);
  const Sums added{sums};
  const V along = mask != nullptr ? edit_masked_backward(own, x, *mask, one, added) : edit_backward(own, x, one, added);
  if constexpr (requires { added.end_curve(0); }) added.end_curve(0);
  ToneCurve<A>::gradient(weights, sums, slopes);
  return along;
}

// The share of a residual's square that a row of J counts with, and the loss.
template <typename V>
LDIE_HD V huber_weight(const V& size, Number<V> threshold) {
  return size > threshold ? threshold / size : uniform<V>(1);
}

template <typename V>
LDIE_HD V huber_loss(const V& size, Number<V> threshold) {
  using A = Number<V>;
  return size > threshold ? threshold * (size - A(0.5) * threshold) : A(0.5) * size * size;
}

}  // namespace ldie::editing
