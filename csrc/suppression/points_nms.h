// SPDX-License-Identifier: Apache-2.0
// Points NMS of SOLO (Wang et al., arXiv:1912.04488, the authors' code): score maps without what is no local maximum.
#pragma once

#include "heatmap/heatmap_peaks.h"

namespace ldie::suppression {

// The window of a cell: the cells before it in its line and in the line above, or (wide) all around it.
template <typename T>
struct PointsNms {
  const T* values;  // [planes, height, width]: of these the result has the kept ones
  const T* scores;  // likewise: these choose
  int64_t planes, height, width;
  bool wide;
  T* kept;  // likewise; 0 elsewhere
};

// Of a line; `left` and `right` are the neighbours of x, or x itself where there is none.
template <typename A>
struct LineCells {
  A left, here, right;
};

template <bool kWide, typename T>
LDIE_HD LineCells<acc_t<T>> line_cells(const T* line, int64_t left, int64_t x, int64_t right) {
  using A = acc_t<T>;
  return {A(line[left]), A(line[x]), A(line[kWide ? right : x])};
}

// Lines outside of the map are `here`, which changes no comparison; nor does a cell compared with itself, unless it is
// NaN and no maximum anyway.
template <bool kWide, typename A>
LDIE_HD bool is_maximum(const LineCells<A>& above, const LineCells<A>& here, const LineCells<A>& below) {
  if constexpr (kWide) {
    return heatmap::Window3x3<A>{{above.left, above.here, above.right},
                                 {here.left, here.here, here.right},
                                 {below.left, below.here, below.right}}
        .is_peak();
  } else {
    return heatmap::Window3x3<A>{
        {above.left, above.here, here.here}, {here.left, here.here, here.here}, {here.here, here.here, here.here}}
        .is_peak();
  }
}

template <typename T>
void points_nms(const PointsNms<T>& args, Context& context);

}  // namespace ldie::suppression
