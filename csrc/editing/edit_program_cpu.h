// SPDX-License-Identifier: Apache-2.0
// CPU: the steps of one sample, prepared, and what the sums of their gradients come to.
#pragma once

#include <algorithm>

#include "core/lanes_cpu.h"
#include "editing/edit_sequences.h"

namespace ldie::editing {

// The prepared steps of one sample that do something, and which of its sequence each is.
template <typename A>
struct Program {
  EditStep<A> steps[kMostSteps];
  int64_t places[kMostSteps], count = 0;

  Program(const EditSequences<A>& sequences, int64_t sample) {
    for (int64_t k = 0; k < sequences.steps; ++k) {
      prepare_step(sequences, sample * sequences.steps + k, steps[count]);
      places[count] = k;
      count += is_pointwise(steps[count].op);
    }
  }
};

template <typename A>
double lane_sum(const Lanes<A>& lanes) {
  double sum = 0;
  for (int64_t lane = 0; lane < kLanes<A>; ++lane) sum += double(lanes[lane]);
  return sum;
}

// The sums of each of the sample's steps, [steps, kMostSums], from those of the program's.
template <typename A>
void write_sums(const Program<A>& program, const Lanes<A> (*lanes)[kMostSums], int64_t steps, double* sums) {
  std::fill(sums, sums + steps * kMostSums, 0.0);
  for (int64_t k = 0; k < program.count; ++k) {
    double* const sums_of_step = sums + program.places[k] * kMostSums;
    for (int i = 0; i < sums_of<A>(program.steps[k].op); ++i) sums_of_step[i] = lane_sum<A>(lanes[k][i]);
  }
}

// A step's row of the parameters' gradient, of this many parts of its sums that lie so far apart.
template <typename A>
void write_parameter_gradient(const EditSequences<A>& sequences, int64_t at, const double* part, int64_t parts,
                              int64_t stride, A* grad_params) {
  double sums[kMostSums] = {};
  for (int64_t i = 0; i < parts; ++i, part += stride) {
    for (int slot = 0; slot < kMostSums; ++slot) sums[slot] += part[slot];
  }
  parameter_gradient(sequences, at, sums, grad_params + at * kParameters);
}

}  // namespace ldie::editing
