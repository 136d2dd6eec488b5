// SPDX-License-Identifier: Apache-2.0
// Floor: the masks once, and the bits that the boxes of a pair share.
#include "masks/mask_iou.h"
#include "masks/mask_set_cpu.h"

namespace ldie::masks {

void mask_iou(const MaskIou& args, Context&) {
  const std::vector<CroppedMask> a = crop_masks(args.a), b = crop_masks(args.b);
  constexpr int64_t kPairsPerTask = 1 << 9;
  parallel_for(args.a.count, kPairsPerTask / (args.b.count + 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = 0; j < args.b.count; ++j) {
        const CroppedMask &own = a[size_t(i)], &other = b[size_t(j)];
        const bool crowd = args.crowd != nullptr && args.crowd[j] != 0;
        args.iou[i * args.b.count + j] = mask_overlap(intersection(own, other), own.area, other.area, crowd);
      }
    }
  });
}

}  // namespace ldie::masks
