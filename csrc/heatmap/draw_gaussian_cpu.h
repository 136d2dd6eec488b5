// SPDX-License-Identifier: Apache-2.0
// Drawing on the CPU, of a whole map or a part of it.
#pragma once

#include <algorithm>

#include "core/half.h"
#include "heatmap/gaussian.h"

namespace ldie::heatmap {

// Consecutive cells of a map, counted row by row.
struct CellRange {
  int64_t begin, end;
};

// Raises those of the cells, one at least, that a Gaussian reaches.
template <typename T>
void draw_gaussian(const CenterGaussian& gaussian, int64_t height, int64_t width, const CellRange& range, T* cells) {
  using A = acc_t<T>;
  constexpr int64_t kColumns = 256;  // drawn at a time, their factors in the first-level cache
  const CellWindow window = gaussian.window(height, width);
  const int64_t top = std::max<int64_t>(window.y1, range.begin / width);
  const int64_t bottom = std::min<int64_t>(window.y2, (range.end - 1) / width + 1);
  A factors[kColumns];
  for (int64_t left = window.x1; left < window.x2 && top < bottom; left += kColumns) {
    const int64_t right = std::min<int64_t>(window.x2, left + kColumns);
    for (int64_t x = left; x < right; ++x) factors[x - left] = gaussian.factor<A>(x - gaussian.x);
    for (int64_t y = top; y < bottom; ++y) {
      const A row_factor = gaussian.factor<A>(y - gaussian.y);
      const int64_t row = y * width;
      const int64_t first = std::max(row + left, range.begin), last = std::min(row + right, range.end);
      for (int64_t i = first; i < last; ++i) {
        const A value = row_factor * factors[i - row - left], before = A(cells[i - range.begin]);
        cells[i - range.begin] = T(value > before ? value : before);
      }
    }
  }
}

}  // namespace ldie::heatmap
