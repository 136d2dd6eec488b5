// SPDX-License-Identifier: Apache-2.0
// CPU: the RoIs by the map they read (image and level), neighbours on the map next to each other, so that the rows
// that one reads are still in the cache for the next. The order depends on the boxes alone.
#pragma once

#include "core/parallel_cpu.h"
#include "core/radix_sort_cpu.h"
#include "roi/roi_align.h"

namespace ldie::roi {

struct RoiRange {
  int64_t begin, end;

  // One of `parts` almost equal ranges.
  RoiRange part(int64_t index, int64_t parts) const {
    const int64_t count = end - begin;
    return {begin + count * index / parts, begin + count * (index + 1) / parts};
  }
};

template <typename A>
class RoiGroups {
 public:
  RoiGroups(const RoiLayout<A>& layout, Context& context)
      : levels_(layout.choice.count),
        groups_(layout.batch * levels_),
        begins_(context.scratch_array<int64_t>(groups_ + 2)) {
    const int64_t rois = layout.rois;
    Item* const items = context.scratch_array<Item>(rois);
    parallel_for(rois, 256, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) items[row] = {key(layout.roi(row)), uint32_t(row)};
    });
    items_ = radix_sort(items, context.scratch_array<Item>(rois), rois);
    int64_t i = 0;
    for (int64_t group = 0; group <= groups_; ++group) {
      begins_[group] = i;
      while (i < rois && int64_t(items_[i].key >> kPlaceBits) == group) ++i;
    }
    begins_[groups_ + 1] = rois;
  }

  RoiRange of_map(int64_t image, int64_t level) const { return of_group(image * levels_ + level); }
  RoiRange without_image() const { return of_group(groups_); }
  int64_t row(int64_t i) const { return items_[i].index; }

 private:
  using Item = Keyed<uint64_t>;
  static constexpr int kPlaceBits = 24;  // 12 for each axis, in steps of 8 cells

  RoiRange of_group(int64_t group) const { return {begins_[group], begins_[group + 1]}; }

  static uint64_t coarse(A start) {
    const A steps = start / A(8);
    return steps > A(0) ? steps < A(4095) ? uint64_t(steps) : 4095 : 0;
  }
  uint64_t key(const Roi<A>& roi) const {
    const int64_t group = roi.valid() ? roi.image * levels_ + roi.level : groups_;
    return uint64_t(group) << kPlaceBits | coarse(roi.y.start) << kPlaceBits / 2 | coarse(roi.x.start);
  }

  int64_t levels_, groups_;
  int64_t* begins_;
  const Item* items_;
};

}  // namespace ldie::roi
