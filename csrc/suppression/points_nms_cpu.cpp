// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/instantiate.h"
#include "core/parallel_cpu.h"
#include "core/tiles_cpu.h"
#include "suppression/points_nms.h"

namespace ldie::suppression {
namespace {

// One map. Lines are swept one after the other as one long line, in vectors; the cells of the first and last column,
// whose neighbours there belong to other lines, are decided anew.
template <bool kWide, typename T>
class Plane {
 public:
  Plane(const PointsNms<T>& args, int64_t plane)
      : height_(args.height),
        width_(args.width),
        values_(args.values + plane * height_ * width_),
        scores_(args.scores + plane * height_ * width_),
        kept_(args.kept + plane * height_ * width_) {}

  // Lines [begin, end).
  void decide(int64_t begin, int64_t end) const {
    const int64_t first = std::max<int64_t>(begin, 1), last = std::min(end, height_ - 1);
    if (begin == 0) sweep(0, 1, 0, height_ > 1 ? width_ : 0);
    if (first < last) sweep(first, last, -width_, width_);
    if (end == height_ && height_ > 1) sweep(last, end, -width_, 0);
    for (int64_t y = begin; y < end; ++y) {
      decide_cell(y, 0);
      if (kWide) decide_cell(y, width_ - 1);
    }
  }

 private:
  void store(int64_t at, bool keep) const { kept_[at] = keep ? values_[at] : T(0); }

  // Lines [begin, end) without the first cell and the last, of which the lines above and below lie at these offsets.
  void sweep(int64_t begin, int64_t end, int64_t above, int64_t below) const {
    const int64_t last = end * width_ - kWide;
    for (int64_t i = begin * width_ + 1; i < last; i += kTile) {
      const int64_t count = std::min(kTile, last - i), neighbours = count + 1 + kWide;
      acc_t<T> buffers[3][kTile + 2];
      const auto tile = [&](int64_t line, int n) { return load_tile(scores_ + i - 1 + line, neighbours, buffers[n]); };
      const acc_t<T>* const here = tile(0, 0);
      sweep_tile(i, count, tile(above, 1), here, kWide ? tile(below, 2) : here);
    }
  }

  // Lines begin with the neighbour on the left. Of 16 bits, whose choice would not vectorise beside comparisons of 32,
  // the choice comes after them.
  void sweep_tile(int64_t at, int64_t count, const acc_t<T>* above, const acc_t<T>* here, const acc_t<T>* below) const {
    const auto chosen = [&](int64_t j) {
      const auto cells = [j](const acc_t<T>* line) { return line_cells<kWide>(line, j, j + 1, j + 2); };
      return is_maximum<kWide>(cells(above), cells(here), cells(below));
    };
    if constexpr (sizeof(T) == 2) {
      int32_t bits[kTile];
      for (int64_t j = 0; j < count; ++j) bits[j] = chosen(j) ? 0xffff : 0;
      for (int64_t j = 0; j < count; ++j) kept_[at + j].bits = values_[at + j].bits & uint16_t(bits[j]);
    } else {
      for (int64_t j = 0; j < count; ++j) store(at + j, chosen(j));
    }
  }

  void decide_cell(int64_t y, int64_t x) const {
    const int64_t left = std::max<int64_t>(0, x - 1), right = std::min(width_ - 1, x + 1);
    const auto cells = [&](int64_t line) { return line_cells<kWide>(scores_ + line * width_, left, x, right); };
    store(y * width_ + x,
          is_maximum<kWide>(cells(std::max<int64_t>(0, y - 1)), cells(y), cells(std::min(height_ - 1, y + 1))));
  }

  int64_t height_, width_;
  const T *values_, *scores_;
  T* kept_;
};

template <bool kWide, typename T>
void decide_lines(const PointsNms<T>& args, int64_t begin, int64_t end) {
  for (int64_t line = begin; line < end;) {
    const int64_t plane = line / args.height, y = line % args.height;
    const int64_t lines = std::min(args.height - y, end - line);
    Plane<kWide, T>(args, plane).decide(y, y + lines);
    line += lines;
  }
}

}  // namespace

// Reads the scores and writes as much: memory decides, or the second-level cache.
template <typename T>
void points_nms(const PointsNms<T>& args, Context&) {
  constexpr int64_t kCellsPerTask = 1 << 15;
  parallel_for(args.planes * args.height, 1 + kCellsPerTask / args.width, [&](int64_t begin, int64_t end) {
    if (args.wide) {
      decide_lines<true>(args, begin, end);
    } else {
      decide_lines<false>(args, begin, end);
    }
  });
}

LDIE_INSTANTIATE(points_nms, PointsNms);

}  // namespace ldie::suppression
