// SPDX-License-Identifier: Apache-2.0
// CPU: which samples have stencils, and work in tiles with a halo over threads.
#pragma once

#include <algorithm>

#include "core/context.h"
#include "core/parallel_cpu.h"
#include "editing/edit_halo_tiles_cpu.h"

namespace ldie::editing {

// Samples with stencils, which go by tiles with a halo, and how far those of one of them reach.
struct StencilSamples {
  int64_t* samples;
  int64_t count, halo;

  template <typename A>
  StencilSamples(const EditSequences<A>& sequences, int64_t batch, Context& context)
      : samples(context.scratch_array<int64_t>(batch)), count(0), halo(0) {
    for (int64_t sample = 0; sample < batch; ++sample) {
      const int64_t reach = halo_of(sequences, sample);
      if (reach > 0) samples[count++] = sample;
      halo = std::max(halo, reach);
    }
  }
};

// Calls body(task, memory) for all tasks, over threads that have so many numbers each, 0 at first.
template <typename A, typename Body>
void parallel_with_memory(int64_t tasks, int64_t numbers, Context& context, const Body& body) {
  const int64_t workers = std::min(num_threads(), tasks);
  A* const memory = context.scratch_array<A>(workers * numbers);
  parallel_workers(workers, [&](const auto& next, int64_t worker) {
    A* const own = memory + worker * numbers;
    std::fill(own, own + numbers, A(0));
    for (int64_t task = next(); task < tasks; task = next()) body(task, own);
  });
}

}  // namespace ldie::editing
