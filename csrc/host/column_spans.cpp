// SPDX-License-Identifier: Apache-2.0
#include "host/column_spans.h"

#include <algorithm>

#include "core/integers.h"

namespace ldie::host {

namespace {

constexpr size_t kMostLayers = 8;
constexpr int64_t kMostColumnsOfSpan = 4;  // on average

// Calls visit(column, top, bottom) for the part of each span in each column, in order, until one returns false. True
// where all were visited.
template <typename Visit>
bool each_column(const std::vector<Span>& spans, uint32_t height, const Visit& visit) {
  uint32_t column = 0, start = 0;  // of the column
  for (const Span& span : spans) {
    if (span.start - start >= height) {  // the next column, mostly
      ++column;
      start += height;
    }
    if (span.start - start >= height) {
      column = span.start / height;
      start = column * height;
    }
    uint32_t top = span.start - start;
    for (; span.end - start > height; top = 0, ++column, start += height) {
      if (!visit(column, top, height)) return false;
    }
    if (!visit(column, top, span.end - start)) return false;
  }
  return true;
}

}  // namespace

ColumnSpans::ColumnSpans(const std::vector<Span>& spans, const PixelBox& box, int64_t height) {
  const int64_t columns = int64_t(box.width), left = int64_t(box.x);
  if (height > INT16_MAX || columns > kMostColumnsOfSpan * int64_t(spans.size())) return;
  first_ = left / kColumns;
  width_ = size_t(ceil_div(left + columns, kColumns) - first_);
  size_t layer = 0;
  int64_t last = -1;
  const bool fit = each_column(spans, uint32_t(height), [&](int64_t column, uint32_t top, uint32_t bottom) {
    layer = column == last ? layer + 1 : 0;
    if (layer == kMostLayers) return false;
    last = column;
    Block& block = block_of(layer, column / kColumns);
    block.tops[column % kColumns] = int16_t(top);
    block.bottoms[column % kColumns] = int16_t(bottom);
    return true;
  });
  if (!fit) layers_.clear();
}

ColumnSpans::Block& ColumnSpans::block_of(size_t layer, int64_t block) {
  if (layer == layers_.size()) {
    layers_.push_back({block, block});
    blocks_.resize(layers_.size() * width_);
  }
  layers_[layer].end = block + 1;
  return blocks_[layer * width_ + size_t(block - first_)];
}

int64_t intersection(const ColumnSpans& a, const ColumnSpans& b) {
  int32_t rows[ColumnSpans::kColumns] = {};  // together less than the pixels of a mask
  for (size_t i = 0; i < a.layers_.size(); ++i) {
    for (size_t j = 0; j < b.layers_.size(); ++j) {
      const int64_t begin = std::max(a.layers_[i].begin, b.layers_[j].begin);
      const int64_t end = std::min(a.layers_[i].end, b.layers_[j].end);
      if (begin >= end) continue;
      const ColumnSpans::Block *left = a.blocks_from(i, begin), *right = b.blocks_from(j, begin);
      for (int64_t n = 0; n < end - begin; ++n) {
        for (int64_t k = 0; k < ColumnSpans::kColumns; ++k) {
          const int16_t top = std::max(left[n].tops[k], right[n].tops[k]);
          const int16_t bottom = std::min(left[n].bottoms[k], right[n].bottoms[k]);
          rows[k] += std::max<int16_t>(0, int16_t(bottom - top));
        }
      }
    }
  }
  int64_t pixels = 0;
  for (const int32_t count : rows) pixels += count;
  return pixels;
}

}  // namespace ldie::host
