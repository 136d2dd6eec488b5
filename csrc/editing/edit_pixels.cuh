// SPDX-License-Identifier: Apache-2.0
// CUDA: a thread's pixels in registers, the block's program of steps in shared memory, and the sums of a step.
#pragma once

#include "core/grid.cuh"
#include "core/pack.cuh"
#include "core/reduce.cuh"
#include "core/simt.cuh"
#include "editing/apply_edits.h"

namespace ldie::editing {

constexpr int kThreads = 256, kFinishThreads = 64;

// A column of sums for each thread fits the shared memory that every GPU gives without asking.
template <typename A>
constexpr int kBackwardThreads = sizeof(A) == 4 ? 128 : 64;

// Pixels of a thread, whose channels are packs: 16 bytes each, or 8 of 16-bit and 4 of 8-bit elements, for the
// registers' sake.
template <typename T>
constexpr int kPixelsOf = sizeof(T) == 8 ? 2 : 4;
constexpr int kBackwardPixels = 2;

// Pixel `i` of channel `c` of a sample stands at c * channel + i * pixel.
struct PixelStrides {
  int64_t channel, pixel;
};

__device__ __forceinline__ PixelStrides pixel_strides(Layout layout, int64_t pixels) {
  if (layout == Layout::kChannelsLast) return {1, 3};
  return {pixels, 1};
}

// Shared memory for a program, which is asked for also where it has no steps.
template <typename A>
size_t program_bytes(const EditSequences<A>& sequences) {
  return size_t(sequences.steps + 1) * sizeof(EditStep<A>);
}

// Numbers in shared memory behind a program.
template <typename A>
__device__ __forceinline__ A* behind_program(const EditSequences<A>& sequences, EditStep<A>* program) {
  return reinterpret_cast<A*>(program + sequences.steps + 1);
}

// Prepares a sample's steps; all threads of the block call, with the same arguments.
template <typename A>
__device__ __forceinline__ void load_program(const EditSequences<A>& sequences, int64_t sample, EditStep<A>* program) {
  __syncthreads();  // the program of the sample before is still read
  for (int64_t k = threadIdx.x; k < sequences.steps; k += blockDim.x)
    prepare_step(sequences, sample * sequences.steps + k, program[k]);
  __syncthreads();
}

template <int kWidth, typename T>
__device__ __forceinline__ void load_pixels(const T* sample, const PixelStrides& strides, int64_t pack,
                                            Pixel<acc_t<T>>* pixels) {
  if constexpr (kWidth == 1) {
    const T* const at = sample + pack * strides.pixel;
    pixels[0] = {to_number(at[0]), to_number(at[strides.channel]), to_number(at[2 * strides.channel])};
  } else {
    const auto r = load_pack<kWidth>(sample, pack), g = load_pack<kWidth>(sample + strides.channel, pack),
               b = load_pack<kWidth>(sample + 2 * strides.channel, pack);
#pragma unroll
    for (int i = 0; i < kWidth; ++i)
      pixels[i] = {to_number(r.values[i]), to_number(g.values[i]), to_number(b.values[i])};
  }
}

template <int kWidth, typename T>
__device__ __forceinline__ void store_pixels(const Pixel<acc_t<T>>* pixels, const PixelStrides& strides, int64_t pack,
                                             T* sample) {
  if constexpr (kWidth == 1) {
    T* const at = sample + pack * strides.pixel;
    at[0] = to_element<T>(pixels[0].r);
    at[strides.channel] = to_element<T>(pixels[0].g);
    at[2 * strides.channel] = to_element<T>(pixels[0].b);
  } else {
    Pack<T, kWidth> r, g, b;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      r.values[i] = to_element<T>(pixels[i].r);
      g.values[i] = to_element<T>(pixels[i].g);
      b.values[i] = to_element<T>(pixels[i].b);
    }
    store_pack(sample, pack, r);
    store_pack(sample + strides.channel, pack, g);
    store_pack(sample + 2 * strides.channel, pack, b);
  }
}

template <int kWidth, typename A>
__device__ __forceinline__ void run_step(const EditSequences<A>& sequences, const EditStep<A>& step, int64_t pixels,
                                         int64_t pack, Pixel<A>* values) {
  with_operator<A>(step.op, [&]<typename Operator>() {
    const Operator op(step.numbers);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      if (step.mask == kWholeImage) {
        values[i] = edit(op, values[i]);
      } else {
        values[i] = edit_masked(op, values[i], mask_value(sequences, step, pixels, pack * kWidth + i));
      }
    }
  });
}

// The sums of one thread's pixels in its column of [kMostSums, threads].
template <typename A>
struct ColumnSums {
  A* column;

  __device__ __forceinline__ void add(int slot, A value) const { column[slot * kBackwardThreads<A>] += value; }
  __device__ __forceinline__ void add_piece(int slot, int piece, A scaled, A grad) const {
    add(slot + piece, grad);
    add(slot + kPieces + piece, grad * (scaled - A(piece)));
  }
};

template <int kWidth, typename A, typename Sums>
__device__ __forceinline__ void run_step_backward(const EditSequences<A>& sequences, const EditStep<A>& step,
                                                  int64_t pixels, int64_t pack, const Pixel<A>* before, Pixel<A>* grads,
                                                  const Sums& sums) {
  with_operator<A>(step.op, [&]<typename Operator>() {
    const Operator op(step.numbers);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      if (step.mask == kWholeImage) {
        grads[i] = edit_backward(op, before[i], grads[i], sums);
      } else {
        const A mask = mask_value(sequences, step, pixels, pack * kWidth + i);
        grads[i] = edit_masked_backward(op, before[i], mask, grads[i], sums);
      }
    }
  });
}

// Adds up the threads' columns to the block's part, which the first call of a sample begins; a warp takes a row.
template <typename A>
__device__ __forceinline__ void add_columns(const A* columns, int sums, bool first, A* part) {
  constexpr int kBlock = kBackwardThreads<A>;
  const int lane = int(threadIdx.x) % kWarpSize, warp = int(threadIdx.x) / kWarpSize;
  __syncthreads();
  for (int slot = warp; slot < sums; slot += kBlock / kWarpSize) {
    A sum = A(0);
    for (int i = lane; i < kBlock; i += kWarpSize) sum += columns[slot * kBlock + i];
    sum = warp_sum(sum);
    if (lane == 0) part[slot] = first ? sum : part[slot] + sum;
  }
  __syncthreads();
}

}  // namespace ldie::editing
