// SPDX-License-Identifier: Apache-2.0
// Floor: the masks once, the bits that the boxes of a pair share, and 8 bytes a pair.
#include "core/instantiate.h"
#include "masks/mask_set_cpu.h"
#include "suppression/mask_order_cpu.h"
#include "suppression/matrix_nms.h"

namespace ldie::suppression {

template <typename T>
void matrix_nms(const MatrixNms<T>& args, Context& context) {
  const auto count = size_t(args.input.masks.count);
  const std::vector<size_t> rows = rows_by_score(args.input.scores, args.input.masks.count);
  const std::vector<masks::CroppedMask> masks = masks::crop_masks(args.input.masks);
  auto* const ious = context.scratch_array<double>(int64_t(count * count));  // of j with the better i: [j, i]
  std::vector<double> greatest(count);
  parallel_tasks(int64_t(count), [&](const auto& next) {
    for (size_t j = size_t(next()); j < count; j = size_t(next())) {
      const masks::CroppedMask& own = masks[rows[j]];
      for (size_t i = 0; i < j; ++i) {
        const masks::CroppedMask& better = masks[rows[i]];
        const bool same = args.input.labels[rows[i]] == args.input.labels[rows[j]];
        const double iou =
            same ? masks::mask_overlap(masks::intersection(better, own), better.area, own.area, false) : 0;
        ious[j * count + i] = iou;
        greatest[j] = std::max(greatest[j], iou);
      }
    }
  });
  parallel_tasks(int64_t(count), [&](const auto& next) {
    for (size_t j = size_t(next()); j < count; j = size_t(next())) {
      double decay = 1;
      for (size_t i = 0; i < j; ++i) {
        const double iou = ious[j * count + i];
        if (iou > 0) decay = std::min(decay, mask_decay(iou, greatest[i], args.gaussian, args.sigma));
      }
      args.scores[rows[j]] = T(acc_t<T>(args.input.scores[rows[j]]) * acc_t<T>(decay));
    }
  });
}

LDIE_INSTANTIATE(matrix_nms, MatrixNms);

}  // namespace ldie::suppression
