// SPDX-License-Identifier: Apache-2.0
// Labels are searched one by one, over threads. Floor: the masks once, and the bits that the boxes of a mask and a kept
// one share.
#include "core/instantiate.h"
#include "masks/mask_set_cpu.h"
#include "suppression/mask_nms.h"
#include "suppression/mask_order_cpu.h"

namespace ldie::suppression {
namespace {

// Ranks label by label, each label by descending score.
struct LabelledRanks {
  std::vector<size_t> ranks, starts;
};

template <typename T>
LabelledRanks by_label(const ScoredMasks<T>& input, const std::vector<size_t>& rows) {
  LabelledRanks labelled{std::vector<size_t>(rows.size()), {}};
  std::iota(labelled.ranks.begin(), labelled.ranks.end(), size_t(0));
  const auto label = [&](size_t rank) { return input.labels[rows[rank]]; };
  std::stable_sort(labelled.ranks.begin(), labelled.ranks.end(),
                   [&](size_t a, size_t b) { return label(a) < label(b); });
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i == 0 || label(labelled.ranks[i]) != label(labelled.ranks[i - 1])) labelled.starts.push_back(i);
  }
  labelled.starts.push_back(rows.size());
  return labelled;
}

bool suppressed(const masks::CroppedMask& mask, const std::vector<const masks::CroppedMask*>& kept, double threshold) {
  return std::any_of(kept.begin(), kept.end(), [&](const masks::CroppedMask* better) {
    return masks::mask_overlap(masks::intersection(*better, mask), better->area, mask.area, false) > threshold;
  });
}

}  // namespace

template <typename T>
void mask_nms(const MaskNms<T>& args, Context&) {
  const std::vector<size_t> rows = rows_by_score(args.input.scores, args.input.masks.count);
  const std::vector<masks::CroppedMask> masks = masks::crop_masks(args.input.masks);
  const LabelledRanks labelled = by_label(args.input, rows);
  std::vector<uint8_t> alive(rows.size(), 0);  // by rank
  parallel_tasks(int64_t(labelled.starts.size()) - 1, [&](const auto& next) {
    std::vector<const masks::CroppedMask*> kept;
    for (size_t n = size_t(next()); n + 1 < labelled.starts.size(); n = size_t(next())) {
      kept.clear();
      for (size_t i = labelled.starts[n]; i < labelled.starts[n + 1]; ++i) {
        const size_t rank = labelled.ranks[i];
        const masks::CroppedMask& mask = masks[rows[rank]];
        if (suppressed(mask, kept, args.iou_threshold)) continue;
        kept.push_back(&mask);
        alive[rank] = 1;
      }
    }
  });
  int64_t count = 0;
  for (size_t rank = 0; rank < rows.size(); ++rank) {
    if (alive[rank]) args.keep[count++] = int64_t(rows[rank]);
  }
  *args.kept = count;
}

LDIE_INSTANTIATE(mask_nms, MaskNms);

}  // namespace ldie::suppression
