// SPDX-License-Identifier: Apache-2.0
// CUDA: distances of candidates, and their means.
#pragma once

#include "editing/edit_distances.h"
#include "editing/edit_groups.cuh"
#include "editing/edit_halo_tiles.cuh"

namespace ldie::editing {

// Steps whose numbers a block keeps in shared memory at once, those of a group of candidates: many, so that few threads
// idle while they are prepared, and so few that together with the sums they fit what every GPU gives without asking.
constexpr int64_t kGroupSteps = 64, kMostGroup = kGroupSteps;

// Reads images and targets once for each group of candidates, 24 bytes a pixel in float32, from the second-level cache
// but for the first time, and writes a number for each strip: at 10 to 40 flops a step, a pixel and a candidate
// arithmetic is the floor, .2 to .7 ms for five steps, 10,000 candidates and 128 x 128 at 50 Tflops of plain
// multiplications and additions. A thread keeps kWidth pixels and their targets in registers while a group's candidates
// pass over them.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads) distance_kernel(EditPairs<T> pairs, Cut cut, double* parts) {
  using A = acc_t<T>;
  constexpr int kWarps = kThreads / kWarpSize;
  LDIE_DYNAMIC_SHARED(EditStep<A>, programs);
  LDIE_SHARED(double, sums, [kMostGroup][kWarps]);
  LDIE_SHARED(bool, here, [kMostGroup]);  // halo_distance_kernel does the others
  const PixelStrides strides = pixel_strides(Layout::kChannelsFirst, pairs.pixels());
  const int64_t steps = pairs.sequences.steps, packs = pairs.pixels() / kWidth;
  const int lane = int(threadIdx.x) % kWarpSize, warp = int(threadIdx.x) / kWarpSize;
  for (int64_t item = blockIdx.y; item < pairs.batch * cut.groups; item += gridDim.y) {
    const Group group = group_at(cut, pairs.candidates, item);
    const int64_t offset = group.pair * 3 * pairs.pixels();
    load_programs(pairs.sequences, group, programs);
    for (int64_t c = lane; c < group.count; c += kWarpSize) {
      sums[c][warp] = 0;
      if (warp == 0) here[c] = stencils_of(programs + c * steps, steps) == 0;
    }
    __syncthreads();
    for (int64_t round = blockIdx.x; round * kThreads < packs; round += gridDim.x) {
      const int64_t pack = round * kThreads + threadIdx.x;
      const bool there = pack < packs;
      Pixel<A> images[kWidth] = {}, targets[kWidth] = {};
      if (there) {
        load_pixels<kWidth>(pairs.images + offset, strides, pack, images);
        load_pixels<kWidth>(pairs.targets + offset, strides, pack, targets);
      }
      for (int64_t c = 0; c < group.count; ++c) {
        if (!here[c]) continue;
        A sum = A(0);
        if (there) {
          Pixel<A> edited[kWidth];
          edit_pixels<kWidth>(pairs.sequences, programs + c * steps, steps, pairs.pixels(), pack, images, edited);
          for (int i = 0; i < kWidth; ++i) sum += channel_sum(distance(pairs.metric, edited[i] - targets[i]));
        }
        sum = warp_sum(sum);
        if (lane == 0) sums[c][warp] += double(sum);
      }
    }
    __syncthreads();
    for (int64_t c = threadIdx.x; c < group.count; c += kThreads) {
      if (!here[c]) continue;
      double sum = 0;
      for (int i = 0; i < kWarps; ++i) sum += sums[c][i];
      parts[(group.row + c) * cut.strips + blockIdx.x] = sum;
    }
  }
}

// The same of candidates with stencils, square by square through shared memory, where each candidate reads its squares
// of the image anew: 24 bytes a pixel in float32 times 1.1 for one stencil, from the second-level cache. The others it
// passes over.
template <typename T>
__global__ void __launch_bounds__(kThreads) halo_distance_kernel(EditPairs<T> pairs, double* parts) {
  using A = acc_t<T>;
  constexpr int kSide = kEditedSide;
  LDIE_DYNAMIC_SHARED(EditStep<A>, program);
  A* const channels = behind_program(pairs.sequences, program);
  const PixelStrides strides = pixel_strides(Layout::kChannelsFirst, pairs.pixels());
  for (int64_t row = blockIdx.y; row < pairs.rows(); row += gridDim.y) {
    const int64_t halo = halo_of(pairs.sequences, row), offset = row / pairs.candidates * 3 * pairs.pixels();
    if (halo == 0) continue;
    load_program(pairs.sequences, row, program);
    const SquareTiles<kSide> tiles(pairs.height, pairs.width, int(halo));
    double sum = 0;
    for (int64_t tile = blockIdx.x; tile < tiles.count(); tile += gridDim.x) {
      const Square<kSide> square = tiles.at(tile);
      load_square<kThreads>(pairs.images + offset, strides, square, channels);
      run_steps<kThreads>(pairs.sequences, program, 0, pairs.sequences.steps, pairs.pixels(), square, channels,
                          channels + 3 * square.kPixels);
      A of_tile = A(0);
      for (int i = int(threadIdx.x); i < square.kPixels; i += kThreads) {
        if (!square.in_tile(i)) continue;
        Pixel<A> target;
        load_pixels<1>(pairs.targets + offset, strides, square.pixel(i), &target);
        of_tile += channel_sum(distance(pairs.metric, pixel_at<kSide>(channels, i) - target));
      }
      sum += double(of_tile);
    }
    sum = block_sum<kThreads>(sum);
    if (threadIdx.x == 0) parts[row * gridDim.x + blockIdx.x] = sum;
  }
}

// One block a candidate: adds up its strips.
template <typename T>
__global__ void __launch_bounds__(kFinishThreads)
    mean_kernel(EditDistances<T> args, int64_t strips, const double* parts) {
  for (int64_t row = blockIdx.x; row < args.pairs.rows(); row += gridDim.x) {
    const double sum = ordered_sum<kFinishThreads>(parts + row * strips, strips);
    if (threadIdx.x == 0) args.out[row] = acc_t<T>(sum * distance_share(args.pairs.pixels()));
  }
}

}  // namespace ldie::editing
