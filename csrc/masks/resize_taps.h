// SPDX-License-Identifier: Apache-2.0
// Two bilinear resizings, one after the other, along one axis: which cells a pixel reads, and how much of each. Where a
// pixel lies is rounded as in PyTorch's kernels, which fuse the product and the shift.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/hd.h"

namespace ldie::masks {

constexpr int kMostTaps = 4;

// Cells that rise; those of -1 are not read, and have weight 0.
template <typename A>
struct ResizeTaps {
  int32_t cells[kMostTaps];
  A weights[kMostTaps];

  static LDIE_HD ResizeTaps none() { return {{-1, -1, -1, -1}, {}}; }

  // A cell that stands twice is read once, for both weights.
  LDIE_HD void join() {
    for (int i = 1; i < kMostTaps; ++i) {
      for (int j = 0; j < i; ++j) {
        if (cells[i] < 0 || cells[i] != cells[j]) continue;
        weights[j] += weights[i];
        weights[i] = A(0);
        cells[i] = -1;
      }
    }
  }

  // Without those that are not read; returns how many there are.
  LDIE_HD int compact() {
    int count = 0;
    for (int i = 0; i < kMostTaps; ++i) {
      if (cells[i] < 0) continue;
      cells[count] = cells[i];
      weights[count] = weights[i];
      ++count;
    }
    for (int i = count; i < kMostTaps; ++i) {
      cells[i] = -1;
      weights[i] = A(0);
    }
    return count;
  }
};

// One step: the cell low at 1 - fraction, the cell high at fraction. As many pixels as cells are the cells.
template <typename A>
struct ResizeStep {
  int64_t cells;
  A scale;  // cells a pixel
  bool align_corners, copies;

  LDIE_HD ResizeStep(int64_t cells, int64_t pixels, bool align_corners)
      : cells(cells), scale(0), align_corners(align_corners), copies(cells == pixels) {
    if (!align_corners) {
      scale = A(cells) / A(pixels);
    } else if (pixels > 1) {
      scale = A(cells - 1) / A(pixels - 1);
    }
  }

  struct Tap {
    int32_t low, high;
    A fraction;
  };
  LDIE_HD Tap tap(int64_t pixel) const {
    if (copies) return {int32_t(pixel), int32_t(pixel), A(0)};
    const A position = align_corners ? scale * A(pixel) : std::fma(scale, A(pixel) + A(0.5), A(-0.5));
    const A at = position > A(0) ? position : A(0);
    const int64_t floor = int64_t(at), low = floor < cells - 1 ? floor : cells - 1;
    const A fraction = at - A(low);
    return {int32_t(low), int32_t(low < cells - 1 ? low + 1 : low), fraction < A(1) ? fraction : A(1)};
  }
};

// cells -> between, of which `crop` are kept -> pixels; between 0: the cells are cropped themselves.
template <typename A>
struct ResizeAxis {
  ResizeStep<A> first, second;
  bool direct;  // without the first

  LDIE_HD ResizeAxis(int64_t cells, int64_t between, int64_t crop, int64_t pixels, bool align_corners)
      : first(cells, between > 0 ? between : 1, align_corners),
        second(crop, pixels, align_corners),
        direct(between == 0) {}

  LDIE_HD ResizeTaps<A> taps(int64_t pixel) const {
    const auto [low, high, fraction] = second.tap(pixel);
    const A rest = A(1) - fraction;
    ResizeTaps<A> taps{{low, -1, high, -1}, {rest, A(0), fraction, A(0)}};
    if (!direct) {
      const auto upper = first.tap(low), lower = first.tap(high);
      taps = {{upper.low, upper.high, lower.low, lower.high},
              {rest * (A(1) - upper.fraction), rest * upper.fraction, fraction * (A(1) - lower.fraction),
               fraction * lower.fraction}};
    }
    taps.join();
    return taps;
  }
};

}  // namespace ldie::masks
