// SPDX-License-Identifier: Apache-2.0
// CUDA: candidates of a pair of images in groups, whose programs a block has in shared memory together.
#pragma once

#include "editing/edit_pixels.cuh"

namespace ldie::editing {

// How the work is cut: candidates first .. first + count of each pair into groups, and the pair's pixels into strips,
// of which a block takes rounds in turn.
struct Cut {
  int64_t first, count, group, groups, strips;
};

// A group of a pair's candidates: how many, the row of the first one among all, and its place among those of the cut.
struct Group {
  int64_t pair, number, count, row, place;
};

__device__ __forceinline__ Group group_at(const Cut& cut, int64_t candidates, int64_t item) {
  const int64_t pair = item / cut.groups, number = item % cut.groups, begin = number * cut.group;
  const int64_t left = cut.count - begin;
  return {pair, number, left < cut.group ? left : cut.group, pair * candidates + cut.first + begin,
          pair * cut.count + begin};
}

// Prepares the steps of a group, one sample's after another's; all threads of the block call.
template <typename A>
__device__ __forceinline__ void load_programs(const EditSequences<A>& sequences, const Group& group,
                                              EditStep<A>* programs) {
  __syncthreads();  // those before are still read
  for (int64_t i = threadIdx.x; i < group.count * sequences.steps; i += blockDim.x) {
    prepare_step(sequences, group.row * sequences.steps + i, programs[i]);
  }
  __syncthreads();
}

template <typename A>
size_t group_bytes(const EditSequences<A>& sequences, int64_t group) {
  return size_t(group * sequences.steps + 1) * sizeof(EditStep<A>);
}

// What the first `count` steps make of a thread's pixels.
template <int kWidth, typename A>
__device__ __forceinline__ void edit_pixels(const EditSequences<A>& sequences, const EditStep<A>* program,
                                            int64_t count, int64_t pixels, int64_t pack, const Pixel<A>* images,
                                            Pixel<A>* edited) {
#pragma unroll
  for (int i = 0; i < kWidth; ++i) edited[i] = images[i];
  for (int64_t k = 0; k < count; ++k) run_step<kWidth>(sequences, program[k], pixels, pack, edited);
}

}  // namespace ldie::editing
