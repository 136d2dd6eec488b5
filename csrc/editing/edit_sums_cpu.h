// SPDX-License-Identifier: Apache-2.0
// CPU: from the lanes that a sample's way back leaves to its sums, and from sums of parts of an image to gradients.
#pragma once

#include <algorithm>

#include "editing/edit_tiles_cpu.h"

namespace ldie::editing {

template <typename A>
double lane_sum(const Lanes<A>& lanes) {
  double sum = 0;
  for (int64_t lane = 0; lane < kLanes<A>; ++lane) sum += double(lanes[lane]);
  return sum;
}

// The sums of each step of the sequence, [steps, kMostSums], from those of the program's.
template <typename A>
void store_sums(const EditSequences<A>& sequences, const Program<A>& program, const Lanes<A> (*lanes)[kMostSums],
                double* sums) {
  std::fill(sums, sums + sequences.steps * kMostSums, 0.0);
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
