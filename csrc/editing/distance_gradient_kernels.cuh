// SPDX-License-Identifier: Apache-2.0
// CUDA: the gradients of distances to images, targets and parameters.
#pragma once

#include "editing/edit_distances.h"
#include "editing/edit_groups.cuh"
#include "editing/edit_halo_gradient.cuh"

namespace ldie::editing {

// Sums over candidates and over pixels that are not yet all. Each group has its own of the gradients of images and
// targets, [groups, batch, 3, pixels], null where they are not wanted; parts are those of the steps' sums, [batch,
// count, strips, steps, kMostSums].
template <typename A>
struct Unfinished {
  A *images, *targets, *parts;
};

// Takes grads, of what the program makes of the images, to the images; each step does those before it again.
template <int kWidth, typename A>
__device__ __forceinline__ void go_back(const EditSequences<A>& sequences, const EditStep<A>* program, int64_t pixels,
                                        int64_t pack, bool there, const Pixel<A>* images, Pixel<A>* grads, A* columns,
                                        bool first, A* parts) {
  for (int64_t k = sequences.steps - 1; k >= 0; --k) {
    const int sums = sums_of<A>(program[k].op);
    for (int slot = 0; slot < sums; ++slot) columns[slot * kBackwardThreads<A> + threadIdx.x] = A(0);
    if (there) {
      Pixel<A> before[kWidth];
      edit_pixels<kWidth>(sequences, program, k, pixels, pack, images, before);
      run_step_backward<kWidth>(sequences, program[k], pixels, pack, before, grads,
                                ColumnSums<A>{columns + threadIdx.x});
    }
    add_columns(columns, sums, first, parts + k * kMostSums);
  }
}

// A thread keeps kWidth pixels, their targets and what both gradients add up to in registers while a group's candidates
// pass over them: K (K + 1) / 2 steps forward for K back, 30 to 120 flops each. Reads and writes 72 bytes a pixel for a
// group of candidates, and writes 4 bytes a sum for a strip.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kBackwardThreads<acc_t<T>>)
    distance_gradient_kernel(EditDistancesBackward<T> args, Cut cut, Unfinished<acc_t<T>> unfinished) {
  using A = acc_t<T>;
  constexpr int kBlock = kBackwardThreads<A>;
  LDIE_DYNAMIC_SHARED(EditStep<A>, programs);
  LDIE_SHARED(A, columns, [kMostSums * kBackwardThreads<acc_t<T>>]);
  const EditPairs<T>& pairs = args.pairs;
  const PixelStrides strides = pixel_strides(Layout::kChannelsFirst, pairs.pixels());
  const int64_t steps = pairs.sequences.steps, packs = pairs.pixels() / kWidth;
  for (int64_t item = blockIdx.y; item < pairs.batch * cut.groups; item += gridDim.y) {
    const Group group = group_at(cut, pairs.candidates, item);
    const int64_t offset = group.pair * 3 * pairs.pixels(),
                  own = offset + group.number * pairs.batch * 3 * pairs.pixels();
    load_programs(pairs.sequences, group, programs);
    for (int64_t round = blockIdx.x; round * kBlock < packs; round += gridDim.x) {
      const int64_t pack = round * kBlock + threadIdx.x;
      const bool there = pack < packs;
      Pixel<A> images[kWidth] = {}, targets[kWidth] = {}, of_images[kWidth] = {}, of_targets[kWidth] = {};
      if (there) {
        load_pixels<kWidth>(pairs.images + offset, strides, pack, images);
        load_pixels<kWidth>(pairs.targets + offset, strides, pack, targets);
        if (cut.first > 0) {  // go on from the candidates before
          if (unfinished.images) load_pixels<kWidth>(unfinished.images + own, strides, pack, of_images);
          if (unfinished.targets) load_pixels<kWidth>(unfinished.targets + own, strides, pack, of_targets);
        }
      }
      for (int64_t c = 0; c < group.count; ++c) {
        const EditStep<A>* const program = programs + c * steps;
        if (stencils_of(program, steps) > 0) continue;  // halo_distance_gradient_kernel's
        Pixel<A> grads[kWidth] = {};
        if (there) {
          const A scale = gradient_scale(args, group.row + c);
          edit_pixels<kWidth>(pairs.sequences, program, steps, pairs.pixels(), pack, images, grads);
          for (int i = 0; i < kWidth; ++i) {
            grads[i] = scale * distance_slope(pairs.metric, grads[i] - targets[i]);
            of_targets[i] = of_targets[i] - grads[i];
          }
        }
        A* const parts = unfinished.parts + ((group.place + c) * cut.strips + blockIdx.x) * steps * kMostSums;
        go_back<kWidth>(pairs.sequences, program, pairs.pixels(), pack, there, images, grads, columns,
                        round == blockIdx.x, parts);
        for (int i = 0; i < kWidth; ++i) of_images[i] = of_images[i] + grads[i];
      }
      if (there && unfinished.images) store_pixels<kWidth>(of_images, strides, pack, unfinished.images + own);
      if (there && unfinished.targets) store_pixels<kWidth>(of_targets, strides, pack, unfinished.targets + own);
    }
  }
}

// Edits a square, and leaves in `values.grads` the gradient of the distance to it.
template <typename T, typename A>
__device__ __forceinline__ void load_slopes(const EditPairs<T>& pairs, const EditStep<A>* program, int64_t offset,
                                            const Square<kGradientSide>& square, A scale,
                                            const GradientSquare<A>& values) {
  constexpr int kBlock = kBackwardThreads<A>;
  const PixelStrides strides = pixel_strides(Layout::kChannelsFirst, pairs.pixels());
  load_square<kBlock>(pairs.images + offset, strides, square, values.channels);
  run_steps<kBlock>(pairs.sequences, program, 0, pairs.sequences.steps, pairs.pixels(), square, values.channels,
                    values.fields);
  for (int i = int(threadIdx.x); i < Square<kGradientSide>::kPixels; i += kBlock) {
    Pixel<A> grad = {};
    if (square.in_image(i)) {
      Pixel<A> target;
      load_pixels<1>(pairs.targets + offset, strides, square.pixel(i), &target);
      grad = scale * distance_slope(pairs.metric, pixel_at<kGradientSide>(values.channels, i) - target);
    }
    put_pixel<kGradientSide>(grad, i, values.grads);
  }
}

// Adds a multiple of the tile's gradient to what is there, if it is wanted.
template <typename A>
__device__ __forceinline__ void add_tile(const Square<kGradientSide>& square, const GradientSquare<A>& values, A factor,
                                         int64_t pixels, A* sums, int64_t own) {
  if (sums == nullptr) return;
  const PixelStrides strides = pixel_strides(Layout::kChannelsFirst, pixels);
  for (int i = int(threadIdx.x); i < Square<kGradientSide>::kPixels; i += kBackwardThreads<A>) {
    if (!square.in_tile(i)) continue;
    Pixel<A> sum;
    load_pixels<1>(sums + own, strides, square.pixel(i), &sum);
    sum = sum + factor * pixel_at<kGradientSide>(values.grads, i);
    store_pixels<1>(&sum, strides, square.pixel(i), sums + own);
  }
}

// The same of candidates with stencils, of which it adds the gradients to those that are there. The squares of all of a
// group have the halo that the widest of them needs, so that a thread has the same pixels for each; in shared memory
// but for float64, whose squares would not fit every GPU: they lie in `squares`, one a block.
template <typename T>
__global__ void __launch_bounds__(kBackwardThreads<acc_t<T>>)
    halo_distance_gradient_kernel(EditDistancesBackward<T> args, Cut cut, Unfinished<acc_t<T>> unfinished,
                                  acc_t<T>* squares) {
  using A = acc_t<T>;
  LDIE_DYNAMIC_SHARED(EditStep<A>, program);
  LDIE_SHARED(A, columns, [kMostSums * kBackwardThreads<acc_t<T>>]);
  const EditPairs<T>& pairs = args.pairs;
  const int64_t sums = pairs.sequences.steps * kMostSums, block = int64_t(blockIdx.y) * gridDim.x + blockIdx.x;
  const GradientSquare<A> values(
      squares == nullptr ? behind_program(pairs.sequences, program) : squares + block * GradientSquare<A>::kNumbers,
      columns);
  for (int64_t item = blockIdx.y; item < pairs.batch * cut.groups; item += gridDim.y) {
    const Group group = group_at(cut, pairs.candidates, item);
    int64_t halo = 0;
    for (int64_t c = 0; c < group.count; ++c) halo = maximum(halo, 2 * halo_of(pairs.sequences, group.row + c));
    const SquareTiles<kGradientSide> tiles(pairs.height, pairs.width, int(halo));
    const int64_t offset = group.pair * 3 * pairs.pixels(),
                  own = offset + group.number * pairs.batch * 3 * pairs.pixels();
    for (int64_t c = 0; c < group.count; ++c) {
      if (halo_of(pairs.sequences, group.row + c) == 0) continue;
      load_program(pairs.sequences, group.row + c, program);
      A* const parts = unfinished.parts + (group.place + c) * cut.strips * sums;
      for (int64_t strip = blockIdx.x; strip < cut.strips; strip += gridDim.x) {
        for (int64_t i = threadIdx.x; i < sums; i += kBackwardThreads<A>) parts[strip * sums + i] = A(0);
      }
      const A scale = gradient_scale(args, group.row + c);
      for (int64_t tile = blockIdx.x; tile < tiles.count(); tile += gridDim.x) {
        const Square<kGradientSide> square = tiles.at(tile);
        load_slopes(pairs, program, offset, square, scale, values);
        add_tile(square, values, A(-1), pairs.pixels(), unfinished.targets, own);
        run_square_backward(pairs.sequences, program, pairs.images + offset, pairs.pixels(), square, values,
                            parts + blockIdx.x * sums);
        add_tile(square, values, A(1), pairs.pixels(), unfinished.images, own);
      }
    }
  }
}

// One block a step: adds up its strips and writes a row of the parameters' gradient. Reads the parts only.
template <typename T>
__global__ void __launch_bounds__(kFinishThreads)
    parameter_kernel(EditDistancesBackward<T> args, Cut cut, const acc_t<T>* parts) {
  LDIE_SHARED(double, totals, [kMostSums]);
  const EditSequences<acc_t<T>>& sequences = args.pairs.sequences;
  const int64_t steps = sequences.steps;
  for (int64_t item = blockIdx.x; item < args.pairs.batch * cut.count * steps; item += gridDim.x) {
    const int64_t place = item / steps, k = item % steps, pair = place / cut.count;
    const int64_t at = (pair * args.pairs.candidates + cut.first + place % cut.count) * steps + k;
    const int sums = sums_of<acc_t<T>>(operator_at(sequences, at));
    for (int slot = int(threadIdx.x); slot < sums; slot += kFinishThreads) {
      double total = 0;
      for (int64_t strip = 0; strip < cut.strips; ++strip) {
        total += double(parts[((place * cut.strips + strip) * steps + k) * kMostSums + slot]);
      }
      totals[slot] = total;
    }
    __syncthreads();
    if (threadIdx.x == 0) parameter_gradient(sequences, at, totals, args.grad_params + at * kParameters);
    __syncthreads();
  }
}

// Adds up the groups' arrays, in their order; reads them once and writes one.
template <typename A>
__global__ void __launch_bounds__(kThreads) group_sum_kernel(const A* values, int64_t count, int64_t groups, A* out) {
  for (int64_t i = thread_index<kThreads>(); i < count; i += grid_threads<kThreads>()) {
    A sum = A(0);
    for (int64_t group = 0; group < groups; ++group) sum += values[group * count + i];
    out[i] = sum;
  }
}

}  // namespace ldie::editing
