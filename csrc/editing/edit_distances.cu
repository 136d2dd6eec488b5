// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "editing/edit_distances.h"
#include "editing/edit_groups.cuh"

namespace ldie::editing {
namespace {

// Steps whose numbers a block keeps in shared memory at once, those of a group of candidates: many, so that few threads
// idle while they are prepared, and so few that together with the sums they fit what every GPU gives without asking.
constexpr int64_t kGroupSteps = 64, kBackwardGroupSteps = 32, kMostGroup = kGroupSteps;

// Blocks that fill every GPU a few times.
constexpr int64_t kEnoughBlocks = 2048;

// Reads images and targets once for each group of candidates, 24 bytes a pixel in float32, from the second-level cache
// but for the first time, and writes a number for each strip: at 10 to 40 flops a step, a pixel and a candidate
// arithmetic is the floor, 3 ms for five steps, 10,000 candidates and 128 x 128 at 50 Tflops of plain multiplications
// and additions. A thread keeps kWidth pixels and their targets in registers while a group's candidates pass over them.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads) distance_kernel(EditPairs<T> pairs, Cut cut, double* parts) {
  using A = acc_t<T>;
  constexpr int kWarps = kThreads / kWarpSize;
  LDIE_DYNAMIC_SHARED(EditStep<A>, programs);
  LDIE_SHARED(double, sums, [kMostGroup][kWarps]);
  const PixelStrides strides = pixel_strides(Layout::kChannelsFirst, pairs.pixels);
  const int64_t steps = pairs.sequences.steps, packs = pairs.pixels / kWidth;
  const int lane = int(threadIdx.x) % kWarpSize, warp = int(threadIdx.x) / kWarpSize;
  for (int64_t item = blockIdx.y; item < pairs.batch * cut.groups; item += gridDim.y) {
    const Group group = group_at(cut, pairs.candidates, item);
    const int64_t offset = group.pair * 3 * pairs.pixels;
    load_programs(pairs.sequences, group, programs);
    for (int64_t c = lane; c < group.count; c += kWarpSize) sums[c][warp] = 0;
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
        A sum = A(0);
        if (there) {
          Pixel<A> edited[kWidth];
          run_steps<kWidth>(pairs.sequences, programs + c * steps, steps, pairs.pixels, pack, images, edited);
          for (int i = 0; i < kWidth; ++i) sum += channel_sum(distance(pairs.metric, edited[i] - targets[i]));
        }
        sum = warp_sum(sum);
        if (lane == 0) sums[c][warp] += double(sum);
      }
    }
    __syncthreads();
    for (int64_t c = threadIdx.x; c < group.count; c += kThreads) {
      double sum = 0;
      for (int i = 0; i < kWarps; ++i) sum += sums[c][i];
      parts[(group.row + c) * cut.strips + blockIdx.x] = sum;
    }
  }
}

// One block a candidate: adds up its strips.
template <typename T>
__global__ void __launch_bounds__(kFinishThreads)
    mean_kernel(EditDistances<T> args, int64_t strips, const double* parts) {
  for (int64_t row = blockIdx.x; row < args.pairs.rows(); row += gridDim.x) {
    const double sum = ordered_sum<kFinishThreads>(parts + row * strips, strips);
    if (threadIdx.x == 0) args.out[row] = acc_t<T>(sum * distance_share(args.pairs.pixels));
  }
}

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
      run_steps<kWidth>(sequences, program, k, pixels, pack, images, before);
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
  const PixelStrides strides = pixel_strides(Layout::kChannelsFirst, pairs.pixels);
  const int64_t steps = pairs.sequences.steps, packs = pairs.pixels / kWidth;
  for (int64_t item = blockIdx.y; item < pairs.batch * cut.groups; item += gridDim.y) {
    const Group group = group_at(cut, pairs.candidates, item);
    const int64_t offset = group.pair * 3 * pairs.pixels, own = offset + group.number * pairs.batch * 3 * pairs.pixels;
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
        Pixel<A> grads[kWidth] = {};
        if (there) {
          const A scale = A(double(args.grad[group.row + c]) * distance_share(pairs.pixels));
          run_steps<kWidth>(pairs.sequences, program, steps, pairs.pixels, pack, images, grads);
          for (int i = 0; i < kWidth; ++i) {
            grads[i] = scale * distance_slope(pairs.metric, grads[i] - targets[i]);
            of_targets[i] = of_targets[i] - grads[i];
          }
        }
        A* const parts = unfinished.parts + ((group.place + c) * cut.strips + blockIdx.x) * steps * kMostSums;
        go_back<kWidth>(pairs.sequences, program, pairs.pixels, pack, there, images, grads, columns,
                        round == blockIdx.x, parts);
        for (int i = 0; i < kWidth; ++i) of_images[i] = of_images[i] + grads[i];
      }
      if (there && unfinished.images) store_pixels<kWidth>(of_images, strides, pack, unfinished.images + own);
      if (there && unfinished.targets) store_pixels<kWidth>(of_targets, strides, pack, unfinished.targets + own);
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

// Groups of this many candidates at most; as many strips as make enough blocks, where the pixels do.
Cut cut_whole(int64_t batch, int64_t candidates, int64_t group, int64_t rounds) {
  const int64_t groups = ceil_div(candidates, group);
  const int64_t strips = ceil_div(kEnoughBlocks, std::max(batch * groups, int64_t(1)));
  return {0, candidates, group, groups, std::min(strips, rounds)};
}

template <int kWidth, typename T>
void launch_distances(const EditDistances<T>& args, Context& context) {
  const EditPairs<T>& pairs = args.pairs;
  const int64_t rows = pairs.rows(), steps = std::max(pairs.sequences.steps, int64_t(1));
  const int64_t rounds = ceil_div(pairs.pixels / kWidth, int64_t(kThreads));
  // smaller groups where there are few candidates
  const int64_t fitting = std::min(kGroupSteps / steps, ceil_div(rows * std::max(rounds, int64_t(1)), kEnoughBlocks));
  const Cut cut = cut_whole(pairs.batch, pairs.candidates, std::max(fitting, int64_t(1)), rounds);
  double* const parts = context.scratch_array<double>(rows * cut.strips);
  LDIE_LAUNCH((distance_kernel<T, kWidth>), dim3(unsigned(cut.strips), grid_side(pairs.batch * cut.groups)),
              dim3(kThreads), group_bytes(pairs.sequences, cut.group), context.stream, pairs, cut, parts);
  LDIE_LAUNCH(mean_kernel<T>, dim3(grid_side(rows)), dim3(kFinishThreads), 0, context.stream, args, cut.strips, parts);
}

template <int kWidth, typename T>
void launch_gradient(const EditDistancesBackward<T>& args, Context& context) {
  using A = acc_t<T>;
  constexpr int kBlock = kBackwardThreads<A>;
  const EditPairs<T>& pairs = args.pairs;
  const int64_t candidates = pairs.candidates, steps = pairs.sequences.steps, elements = pairs.batch * 3 * pairs.pixels;
  const int64_t rounds = ceil_div(pairs.pixels / kWidth, int64_t(kBlock));
  const int64_t group = std::max(kBackwardGroupSteps / std::max(steps, int64_t(1)), int64_t(1));
  const int64_t strips = std::min(rounds, kEnoughBlocks),
                all_groups = std::max(ceil_div(candidates, group), int64_t(1));
  const int64_t fitting = kEnoughBlocks / std::max(pairs.batch * strips, int64_t(1));
  const int64_t groups = std::clamp(fitting, int64_t(1), all_groups);  // at a time
  const auto own_arrays = [&](A* grad) {
    return grad == nullptr || groups == 1 ? grad : context.scratch_array<A>(groups * elements);
  };
  const int64_t most = std::min(groups * group, candidates);
  const Unfinished<A> unfinished = {own_arrays(args.grad_images), own_arrays(args.grad_targets),
                                    context.scratch_array<A>(pairs.batch * most * strips * steps * kMostSums)};
  int64_t first = 0;
  do {  // also without candidates: gradients of images and targets are written
    const int64_t count = std::min(most, candidates - first);
    const Cut cut = {first, count, group, std::max(ceil_div(count, group), int64_t(1)), strips};
    LDIE_LAUNCH((distance_gradient_kernel<T, kWidth>), dim3(unsigned(strips), grid_side(pairs.batch * cut.groups)),
                dim3(kBlock), group_bytes(pairs.sequences, group), context.stream, args, cut, unfinished);
    LDIE_LAUNCH(parameter_kernel<T>, dim3(grid_side(pairs.batch * count * steps)), dim3(kFinishThreads), 0,
                context.stream, args, cut, unfinished.parts);
    first += count;
  } while (first < candidates);
  if (groups == 1) return;
  for (const auto& [values, out] :
       {std::pair(unfinished.images, args.grad_images), std::pair(unfinished.targets, args.grad_targets)}) {
    if (out == nullptr) continue;
    LDIE_LAUNCH(group_sum_kernel<A>, dim3(loop_blocks(elements, kThreads)), dim3(kThreads), 0, context.stream, values,
                elements, groups, out);
  }
}

}  // namespace

template <typename T>
void edit_distances(const EditDistances<T>& args, Context& context) {
  const bool packed = args.pairs.pixels % kPixelsOf<T> == 0 && packs_fit({args.pairs.images, args.pairs.targets});
  packed ? launch_distances<kPixelsOf<T>>(args, context) : launch_distances<1>(args, context);
}

template <typename T>
void edit_distances_backward(const EditDistancesBackward<T>& args, Context& context) {
  const bool packed = args.pairs.pixels % kBackwardPixels == 0 &&
                      packs_fit({args.pairs.images, args.pairs.targets, args.grad_images, args.grad_targets});
  packed ? launch_gradient<kBackwardPixels>(args, context) : launch_gradient<1>(args, context);
}

LDIE_INSTANTIATE(edit_distances, EditDistances);
LDIE_INSTANTIATE_FOR(edit_distances, EditDistances, uint8_t);
LDIE_INSTANTIATE(edit_distances_backward, EditDistancesBackward);
LDIE_INSTANTIATE_FOR(edit_distances_backward, EditDistancesBackward, uint8_t);

}  // namespace ldie::editing
