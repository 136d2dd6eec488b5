// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "boxes/select_proposals.h"
#include "boxes/smallest_cpu.h"
#include "core/instantiate.h"
#include "core/parallel_cpu.h"
#include "suppression/kept_grid_cpu.h"

namespace ldie::boxes {
namespace {

template <typename T>
using AnchorOrder = order_t<typename SelectProposals<T>::Key>;

// Floor: the scores are read once; a comparison each, vectorised only as far as the keys.
template <typename T>
std::vector<AnchorOrder<T>> best_of_level(const SelectProposals<T>& args, int64_t image, int level) {
  using Key = typename SelectProposals<T>::Key;
  constexpr int64_t kTile = 1024;
  const int64_t begin = args.levels.starts[level], end = args.levels.starts[level + 1];
  const int64_t first_row = image * args.anchors_per_image();
  Smallest<AnchorOrder<T>> best(std::min(args.pre_nms, end - begin));
  Key keys[kTile];
  for (int64_t tile = begin; tile < end; tile += kTile) {
    const int64_t count = std::min(kTile, end - tile);
    for (int64_t i = 0; i < count; ++i) keys[i] = args.key(first_row + tile + i);
    for (int64_t i = 0; i < count; ++i) {
      if (keys[i] != args.kRejected) best.offer(order_of(keys[i], tile + i));
    }
  }
  return best.take_sorted();
}

// Decodes a level's best anchors and leaves those in `survivors` that the search keeps, the best first.
template <typename T>
void search_level(const SelectProposals<T>& args, int64_t image, int level, suppression::KeptGrid<acc_t<T>>& grid,
                  std::vector<AnchorOrder<T>>& survivors) {
  std::vector<Box<acc_t<T>>> boxes;
  for (const AnchorOrder<T> order : best_of_level(args, image, level)) {
    const Box<acc_t<T>> box = args.proposal(image, index_of(order));
    if (!args.is_large(box)) continue;
    boxes.push_back(box);
    survivors.push_back(order);
  }
  std::vector<uint8_t> kept(boxes.size());
  grid.suppress(boxes.data(), int64_t(boxes.size()), args.post_nms, kept.data());
  size_t place = 0;
  for (size_t i = 0; i < kept.size(); ++i) {
    survivors[place] = survivors[i];
    place += kept[i];
  }
  survivors.resize(place);
}

// levels: the survivors of the image's levels. Decoding again what is taken is quicker than to have kept the boxes.
template <typename T>
void write_image(const SelectProposals<T>& args, int64_t image, const std::vector<AnchorOrder<T>>* levels) {
  Smallest<AnchorOrder<T>> best(args.post_nms);
  for (int level = 0; level < args.levels.count; ++level) {
    for (const AnchorOrder<T> order : levels[level]) best.offer(order);
  }
  int64_t slot = 0;
  for (const AnchorOrder<T> order : best.take_sorted()) {
    args.write(image, slot++, index_of(order), args.proposal(image, index_of(order)));
  }
  args.counts[image] = slot;
  for (; slot < args.post_nms; ++slot) args.write_unused(image, slot);
}

}  // namespace

template <typename T>
void select_proposals(const SelectProposals<T>& args, Context&) {
  const int64_t levels = args.levels.count;
  std::vector<std::vector<AnchorOrder<T>>> survivors(size_t(args.batch * levels));
  const acc_t<T> threshold = suppression::threshold_floor<acc_t<T>>(args.iou_threshold);
  const int64_t tasks = args.batch * levels;
  parallel_tasks(tasks, [&](const auto& next) {
    suppression::KeptGrid<acc_t<T>> grid(threshold);
    for (int64_t task = next(); task < tasks; task = next()) {
      const int64_t image = task % args.batch, level = task / args.batch;  // the first levels have the most anchors
      search_level(args, image, int(level), grid, survivors[size_t(image * levels + level)]);
    }
  });
  parallel_for(args.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) write_image(args, image, survivors.data() + image * levels);
  });
}

LDIE_INSTANTIATE(select_proposals, SelectProposals);

}  // namespace ldie::boxes
