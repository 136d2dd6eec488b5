// SPDX-License-Identifier: Apache-2.0
// The k best 3x3 local maxima of score maps (CenterNet, arXiv:1904.07850, section 4: "peaks in the heatmap").
#pragma once

#include <cmath>
#include <cstdint>

#include "core/context.h"
#include "core/half.h"
#include "core/hd.h"
#include "core/limits.h"

namespace ldie::heatmap {

// A cell and its neighbours; those outside the map are -infinity, or repeat a cell of the window.
template <typename A>
struct Window3x3 {
  A above[3], here[3], below[3];

  // Equal neighbours are both peaks; a NaN fails every comparison, so it is none and makes none of its neighbours one.
  // Without branches, so that loops over it vectorise.
  LDIE_HD bool is_peak() const {
    const A value = here[1];
    return (value > -kInfinite<A>)&(value >= above[0]) & (value >= above[1]) & (value >= above[2]) &
           (value >= here[0]) & (value >= here[2]) & (value >= below[0]) & (value >= below[1]) & (value >= below[2]);
  }
};

template <typename A>
struct Peak {
  A score;
  int64_t index;  // class * area + y * width + x within the image, or y * width + x per class
};

// No two peaks of a list are equal in this order, so its k best do not depend on how the work is divided.
template <typename A>
LDIE_HD bool better(const Peak<A>& a, const Peak<A>& b) {
  return a.score > b.score || (a.score == b.score && a.index < b.index);
}

template <typename T>
struct HeatmapPeaks {
  const T* scores;  // [batch, classes, height, width]
  int64_t batch, classes, height, width;
  int64_t k;
  bool per_class;
  T* best;                  // [lists(), k]; -infinity in unused slots
  int64_t *labels, *y, *x;  // [lists(), k]; -1 in unused slots

  // A list of k peaks is made of the planes of an image, or of one plane.
  LDIE_HD int64_t lists() const { return per_class ? batch * classes : batch; }
  LDIE_HD int64_t planes_per_list() const { return per_class ? 1 : classes; }
  LDIE_HD int64_t area() const { return height * width; }

  LDIE_HD void write(int64_t list, int64_t slot, const Peak<acc_t<T>>& peak) const {
    const int64_t at = list * k + slot, cell = peak.index % area();
    best[at] = T(peak.score);
    labels[at] = per_class ? list % classes : peak.index / area();
    y[at] = cell / width;
    x[at] = cell % width;
  }

  LDIE_HD void write_unused(int64_t list, int64_t slot) const {
    const int64_t at = list * k + slot;
    best[at] = T(-kInfinite<acc_t<T>>);
    labels[at] = y[at] = x[at] = -1;
  }
};

template <typename T>
void heatmap_peaks(const HeatmapPeaks<T>& args, Context& context);

}  // namespace ldie::heatmap
