// SPDX-License-Identifier: Apache-2.0
// Sequences of edits in memory, and what a step of one is.
#pragma once

#include <cstdint>

#include "core/hd.h"
#include "editing/edit_step.h"

namespace ldie::editing {

// The sequences of all samples. A is the type that they are computed in.
template <typename A>
struct EditSequences {
  const int64_t* ops;         // [batch, steps]
  const A* params;            // [batch, steps, kParameters]
  const int64_t* mask_index;  // [batch, steps], or null without masks
  const bool* exclusive;      // [batch, steps], or null
  const A* soft_masks;        // [masks, pixels], or null
  const bool* hard_masks;     // [masks, pixels], or null
  int64_t masks, steps;
};

// The number of a step's operator as it was given, which may be none of them.
template <typename A>
LDIE_HD EditOp given_operator(const EditSequences<A>& sequences, int64_t at) {
  return static_cast<EditOp>(sequences.ops[at]);
}

// The operator of a step; none where the step's mask is not there.
template <typename A>
LDIE_HD EditOp masked_operator(const EditSequences<A>& sequences, int64_t at) {
  const int64_t mask = sequences.mask_index == nullptr ? kWholeImage : sequences.mask_index[at];
  const bool known = mask >= kWholeImage && mask < sequences.masks;
  return known ? given_operator(sequences, at) : EditOp::kNone;
}

// How many of a sample's steps from `begin` on and before `end` are stencils.
template <typename A>
LDIE_HD int64_t count_stencils(const EditSequences<A>& sequences, int64_t begin, int64_t end) {
  int64_t count = 0;
  for (int64_t at = begin; at < end; ++at) count += is_stencil(masked_operator(sequences, at));
  return count;
}

// The operator that a step is done with: none, too, for a stencil after the most that a sample may have.
template <typename A>
LDIE_HD EditOp operator_at(const EditSequences<A>& sequences, int64_t at) {
  const EditOp op = masked_operator(sequences, at);
  const bool surplus =
      is_stencil(op) && count_stencils(sequences, at / sequences.steps * sequences.steps, at) >= kMostStencils;
  return surplus ? EditOp::kNone : op;
}

// How far a sample's stencils reach together, in pixels.
template <typename A>
LDIE_HD int64_t halo_of(const EditSequences<A>& sequences, int64_t sample) {
  const int64_t first = sample * sequences.steps, most = kMostStencils;
  return minimum(most, count_stencils(sequences, first, first + sequences.steps));
}

// A step with its numbers prepared.
template <typename A>
LDIE_HD void prepare_step(const EditSequences<A>& sequences, int64_t at, EditStep<A>& step) {
  step.op = operator_at(sequences, at);
  step.mask = sequences.mask_index == nullptr ? kWholeImage : sequences.mask_index[at];
  step.exclusive = sequences.exclusive != nullptr && sequences.exclusive[at];
  const A* const params = sequences.params + at * kParameters;
  with_any_operator<A>(step.op, [&]<typename Operator>() { Operator::prepare(params, step.numbers); });
}

// How much of the step a pixel gets.
template <typename A>
LDIE_HD A mask_value(const EditSequences<A>& sequences, const EditStep<A>& step, int64_t pixels, int64_t pixel) {
  const int64_t at = step.mask * pixels + pixel;
  const A mask = sequences.soft_masks != nullptr ? sequences.soft_masks[at] : A(sequences.hard_masks[at]);
  return step.exclusive ? A(1) - mask : mask;
}

// A step's row of the parameters' gradient, from its sums over all pixels.
template <typename A>
LDIE_HD void parameter_gradient(const EditSequences<A>& sequences, int64_t at, const double* sums, A* grad) {
  for (int64_t i = 0; i < kParameters; ++i) grad[i] = A(0);
  const A* const params = sequences.params + at * kParameters;
  with_any_operator<A>(operator_at(sequences, at),
                       [&]<typename Operator>() { Operator::gradient(params, sums, grad); });
}

}  // namespace ldie::editing
