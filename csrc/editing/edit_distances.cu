// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "editing/distance_gradient_kernels.cuh"
#include "editing/distance_kernels.cuh"

namespace ldie::editing {
namespace {

// Blocks that fill every GPU a few times, and steps of a group on its way back, beside the columns of sums.
constexpr int64_t kEnoughBlocks = 2048, kBackwardGroupSteps = 32;

// Groups of this many candidates at most; as many strips as make enough blocks, where the pixels do.
Cut cut_whole(int64_t batch, int64_t candidates, int64_t group, int64_t rounds) {
  const int64_t groups = ceil_div(candidates, group);
  const int64_t strips = ceil_div(kEnoughBlocks, std::max(batch * groups, int64_t(1)));
  return {0, candidates, group, groups, std::min(strips, rounds)};
}

template <int kWidth, typename T>
void launch_distances(const EditDistances<T>& args, Context& context) {
  using A = acc_t<T>;
  const EditPairs<T>& pairs = args.pairs;
  const int64_t rows = pairs.rows(), steps = std::max(pairs.sequences.steps, int64_t(1));
  const int64_t rounds = ceil_div(pairs.pixels() / kWidth, int64_t(kThreads));
  // smaller groups where there are few candidates
  const int64_t fitting = std::min(kGroupSteps / steps, ceil_div(rows * std::max(rounds, int64_t(1)), kEnoughBlocks));
  const Cut cut = cut_whole(pairs.batch, pairs.candidates, std::max(fitting, int64_t(1)), rounds);
  double* const parts = context.scratch_array<double>(rows * cut.strips);
  LDIE_LAUNCH((distance_kernel<T, kWidth>), dim3(unsigned(cut.strips), grid_side(pairs.batch * cut.groups)),
              dim3(kThreads), group_bytes(pairs.sequences, cut.group), context.stream, pairs, cut, parts);
  LDIE_LAUNCH(halo_distance_kernel<T>, dim3(unsigned(cut.strips), grid_side(rows)), dim3(kThreads),
              program_bytes(pairs.sequences) + 4 * Square<kEditedSide>::kPixels * sizeof(A), context.stream, pairs,
              parts);
  LDIE_LAUNCH(mean_kernel<T>, dim3(grid_side(rows)), dim3(kFinishThreads), 0, context.stream, args, cut.strips, parts);
}

template <typename A>
void add_groups(const A* values, int64_t elements, int64_t groups, A* out, Context& context) {
  if (out == nullptr) return;
  LDIE_LAUNCH(group_sum_kernel<A>, dim3(loop_blocks(elements, kThreads)), dim3(kThreads), 0, context.stream, values,
              elements, groups, out);
}

template <int kWidth, typename T>
void launch_gradient(const EditDistancesBackward<T>& args, Context& context) {
  using A = acc_t<T>;
  constexpr int kBlock = kBackwardThreads<A>;
  const EditPairs<T>& pairs = args.pairs;
  const int64_t candidates = pairs.candidates, steps = pairs.sequences.steps,
                elements = pairs.batch * 3 * pairs.pixels();
  const int64_t rounds = ceil_div(pairs.pixels() / kWidth, int64_t(kBlock));
  const int64_t group = std::max(kBackwardGroupSteps / std::max(steps, int64_t(1)), int64_t(1));
  const int64_t strips = std::min(rounds, ceil_div(kEnoughBlocks, std::max(pairs.batch, int64_t(1)))),
                all_groups = std::max(ceil_div(candidates, group), int64_t(1));
  const int64_t fitting = kEnoughBlocks / std::max(pairs.batch * strips, int64_t(1));
  const int64_t groups = std::clamp(fitting, int64_t(1), all_groups);  // at a time
  const auto own_arrays = [&](A* grad) {
    return grad == nullptr || groups == 1 ? grad : context.scratch_array<A>(groups * elements);
  };
  const int64_t most = std::min(groups * group, candidates);
  const Unfinished<A> unfinished = {own_arrays(args.grad_images), own_arrays(args.grad_targets),
                                    context.scratch_array<A>(pairs.batch * most * strips * steps * kMostSums)};
  constexpr size_t kSquareBytes = GradientSquare<A>::kNumbers * sizeof(A);
  constexpr bool kInShared = sizeof(A) == 4;
  A* const squares = kInShared ? nullptr : context.scratch_array<A>(kHaloBlocks * GradientSquare<A>::kNumbers);
  const unsigned halo_blocks = std::max(grid_side(strips, kHaloBlocks), 1u);
  int64_t first = 0;
  do {  // also without candidates: gradients of images and targets are written
    const int64_t count = std::min(most, candidates - first);
    const Cut cut = {first, count, group, std::max(ceil_div(count, group), int64_t(1)), strips};
    LDIE_LAUNCH((distance_gradient_kernel<T, kWidth>), dim3(unsigned(strips), grid_side(pairs.batch * cut.groups)),
                dim3(kBlock), group_bytes(pairs.sequences, group), context.stream, args, cut, unfinished);
    LDIE_LAUNCH(halo_distance_gradient_kernel<T>,
                dim3(halo_blocks, grid_side(pairs.batch * cut.groups, kHaloBlocks / halo_blocks)), dim3(kBlock),
                program_bytes(pairs.sequences) + (kInShared ? kSquareBytes : 0), context.stream, args, cut, unfinished,
                squares);
    LDIE_LAUNCH(parameter_kernel<T>, dim3(grid_side(pairs.batch * count * steps)), dim3(kFinishThreads), 0,
                context.stream, args, cut, unfinished.parts);
    first += count;
  } while (first < candidates);
  if (groups == 1) return;
  add_groups(unfinished.images, elements, groups, args.grad_images, context);
  add_groups(unfinished.targets, elements, groups, args.grad_targets, context);
}

}  // namespace

template <typename T>
void edit_distances(const EditDistances<T>& args, Context& context) {
  const bool packed = args.pairs.pixels() % kPixelsOf<T> == 0 && packs_fit({args.pairs.images, args.pairs.targets});
  packed ? launch_distances<kPixelsOf<T>>(args, context) : launch_distances<1>(args, context);
}

template <typename T>
void edit_distances_backward(const EditDistancesBackward<T>& args, Context& context) {
  const bool packed = args.pairs.pixels() % kBackwardPixels == 0 &&
                      packs_fit({args.pairs.images, args.pairs.targets, args.grad_images, args.grad_targets});
  packed ? launch_gradient<kBackwardPixels>(args, context) : launch_gradient<1>(args, context);
}

LDIE_INSTANTIATE(edit_distances, EditDistances);
LDIE_INSTANTIATE_FOR(edit_distances, EditDistances, uint8_t);
LDIE_INSTANTIATE(edit_distances_backward, EditDistancesBackward);
LDIE_INSTANTIATE_FOR(edit_distances_backward, EditDistancesBackward, uint8_t);

}  // namespace ldie::editing
