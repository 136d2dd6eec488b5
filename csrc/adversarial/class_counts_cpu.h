// SPDX-License-Identifier: Apache-2.0
// The count map of class_counts.h on the CPU, a strip of rows at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "adversarial/class_counts.h"
#include "core/context.h"
#include "core/parallel_cpu.h"

namespace ldie::adversarial {

struct ClassBox {
  PixelBox cells;
  int64_t label;
};

// The boxes of each image that cover anything, those of a class together and from left to right.
class SortedBoxes {
 public:
  SortedBoxes(const ClassCounts& source, Context& context)
      : boxes_(context.scratch_array<ClassBox>(source.rows)), ranges_(context.scratch_array<RowRange>(source.batch)) {
    if (source.source != MaskSource::kBoxes) return;
    parallel_for(source.batch, 16, [&](int64_t begin, int64_t end) {
      for (int64_t image = begin; image < end; ++image) sort_image(source, image);
    });
  }
  const ClassBox* begin(int64_t image) const { return boxes_ + ranges_[image].begin; }
  const ClassBox* end(int64_t image) const { return boxes_ + ranges_[image].end; }

 private:
  void sort_image(const ClassCounts& source, int64_t image) {
    const RowRange range = row_range(source.offsets, image, source.rows);
    ClassBox* kept = boxes_ + range.begin;
    for (int64_t row = range.begin; row < range.end; ++row) {
      const ClassBox box{source.cells(row), source.label(row)};
      if (box.label >= 0 && box.cells.x1 < box.cells.x2 && box.cells.y1 < box.cells.y2) *kept++ = box;
    }
    ranges_[image] = {range.begin, kept - boxes_};
    std::sort(boxes_ + range.begin, kept, [](const ClassBox& a, const ClassBox& b) {
      return a.label != b.label ? a.label < b.label : a.cells.x1 < b.cells.x1;
    });
  }

  ClassBox* boxes_;
  RowRange* ranges_;
};

// One row of K; returns the next row that may differ. The boxes of a class come from left to right, so what each adds
// to their union is what lies right of all before it.
template <typename C>
int64_t count_row(const SortedBoxes& boxes, int64_t image, int64_t y, int64_t height, int64_t width, C* counts) {
  std::memset(counts, 0, size_t(width) * sizeof(C));
  int64_t next = height, label = -1;
  int32_t reach = 0;  // right end of the union of this class so far
  for (const ClassBox* box = boxes.begin(image); box != boxes.end(image); ++box) {
    const PixelBox& cells = box->cells;
    if (y < cells.y1) next = std::min(next, int64_t(cells.y1));
    if (y < cells.y1 || y >= cells.y2) continue;
    next = std::min(next, int64_t(cells.y2));
    if (box->label != label) reach = 0;
    label = box->label;
    for (int32_t x = std::max(cells.x1, reach); x < cells.x2; ++x) ++counts[x];
    reach = std::max(reach, cells.x2);
  }
  return next;
}

// Rows [top, bottom) of an image; the boxes' edges cut them into bands of equal rows. Writes them to `counts`.
template <typename C>
void count_boxes(const SortedBoxes& boxes, int64_t image, int64_t top, int64_t bottom, int64_t height, int64_t width,
                 C* counts) {
  for (int64_t y = top; y < bottom;) {
    C* const first = counts + (y - top) * width;
    const int64_t next = std::min(bottom, count_row(boxes, image, y, height, width, first));
    for (++y; y < next; ++y) std::memcpy(counts + (y - top) * width, first, size_t(width) * sizeof(C));
  }
}

// counts[i] += how many of kPlanes masks, one `plane` behind the other, cover cell i; or whether one does, if agnostic.
// Several at a time, so that the counts are loaded and stored once for all of them.
template <int kPlanes, typename C>
void add_planes(const uint8_t* __restrict masks, int64_t plane, bool agnostic, int64_t size, C* __restrict counts) {
  if (agnostic) {
    for (int64_t i = 0; i < size; ++i) {
      uint8_t any = 0;
      for (int k = 0; k < kPlanes; ++k) any |= masks[k * plane + i];
      counts[i] |= C(any != 0);
    }
  } else {
    for (int64_t i = 0; i < size; ++i) {
      uint8_t sum = 0;
      for (int k = 0; k < kPlanes; ++k) sum = uint8_t(sum + (masks[k * plane + i] != 0));
      counts[i] = C(counts[i] + C(sum));
    }
  }
}

// The same from dense masks, whose planes are read once, a strip each.
template <typename C>
void count_masks(const ClassCounts& source, int64_t image, int64_t top, int64_t bottom, C* counts) {
  constexpr int64_t kAtOnce = 8;
  const int64_t size = (bottom - top) * source.width, planes = source.mask_planes;
  std::memset(counts, 0, size_t(size) * sizeof(C));
  const uint8_t* masks = source.masks + image * planes * source.pixels() + top * source.width;
  int64_t plane = 0;
  for (; plane + kAtOnce <= planes; plane += kAtOnce, masks += kAtOnce * source.pixels()) {
    add_planes<kAtOnce>(masks, source.pixels(), source.class_agnostic, size, counts);
  }
  for (; plane < planes; ++plane, masks += source.pixels()) {
    add_planes<1>(masks, source.pixels(), source.class_agnostic, size, counts);
  }
}

}  // namespace ldie::adversarial
