// SPDX-License-Identifier: Apache-2.0
// CPU: the boxes kept so far, bucketed by size and place, so that a new box meets only those it can overlap.
//
// IoU > t needs an intersection wider than t * max(width_a, width_b): its area is more than t times either box's, and
// its height is at most either's. It is at most (width_a + width_b) / 2 - |distance of the centres| wide. So a box need
// only meet boxes whose areas differ by less than a factor t and whose centres are nearer than
// (width_a + width_b) / 2 - t * max(width_a, width_b), and the same in y. Boxes go into levels by area, the boxes of a
// level into a grid of cells by centre. A cell has as many slots as boxes of the whole input fall into it: memory is
// O(boxes), and the time is O(boxes) where boxes are spread out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/lanes_cpu.h"
#include "core/limits.h"
#include "suppression/nms.h"

namespace ldie::suppression {

// Whether the box can overlap anything at all. One with a NaN cannot: its area is NaN, and so is every IoU. With a
// threshold of 0 or more an intersection is needed too, which an empty or inverted box never has, and a finite area:
// with an infinite one the IoU is 0 or NaN. With a negative threshold boxes far apart suppress each other.
template <typename A>
bool can_overlap(const Box<A>& box, A area, A threshold) {
  if (threshold >= A(0)) return box.x2 > box.x1 && box.y2 > box.y1 && area > A(0) && area - area == A(0);
  return threshold < A(0) && area == area;
}

template <typename T>
class KeptGrid {
 public:
  explicit KeptGrid(T threshold) : threshold_(threshold) {}

  // Writes to kept[i] whether boxes[i] is kept; the boxes come by descending score. Once `limit` are kept, the rest
  // count as not kept. A KeptGrid reuses its memory from call to call.
  void suppress(const Box<T>* boxes, int64_t count, int64_t limit, uint8_t* kept) {
    build(boxes, count);
    for (int64_t i = 0; i < count; ++i) {
      kept[i] = limit > 0 && (cell_of_[i] == kIsolated || insert_unless_suppressed(boxes[i], cell_of_[i]));
      limit -= kept[i];
    }
  }

 private:
  static constexpr int kLevels = 6;
  static constexpr int kAreaExponentsPerLevel = 6;  // so that widths within a level differ by a factor 8 or so
  static constexpr int64_t kGridFrom = 384;         // fewer boxes are compared one by one, which is quicker then
  static constexpr uint32_t kIsolated = std::numeric_limits<uint32_t>::max();

  struct Level {
    int64_t boxes = 0;
    T min_area = kInfinite<T>, max_area = 0, max_width = 0, max_height = 0;
    T left = kInfinite<T>, top = kInfinite<T>, right = -kInfinite<T>, bottom = -kInfinite<T>;  // of the centres
    double widths = 0, heights = 0;                                                            // sums
    T columns_per_pixel = 0, rows_per_pixel = 0;
    int32_t columns = 1, rows = 1;
    uint32_t first_cell = 0;

    int32_t column(T x) const { return clamped((x - left) * columns_per_pixel, columns); }
    int32_t row(T y) const { return clamped((y - top) * rows_per_pixel, rows); }
    static int32_t clamped(T cell, int32_t size) {  // a NaN becomes 0
      return int32_t(std::min(std::max(T(0), cell), T(size - 1)));
    }
  };

  struct Cell {
    uint32_t first, kept;  // slots
  };

  static T centre(T low, T high) { return low * T(0.5) + high * T(0.5); }

  int level_of(T area) const {
    return std::min((max_exponent_ - area_exponent(area)) / kAreaExponentsPerLevel, levels_ - 1);
  }

  // floor(log2(area)) for normal numbers; below every normal number's for the others.
  static int area_exponent(T area) {
    score_key_t<T> bits;
    std::memcpy(&bits, &area, sizeof bits);
    return int(bits >> (std::numeric_limits<T>::digits - 1));
  }

  void build(const Box<T>* boxes, int64_t count) {
    cell_of_.resize(size_t(count));
    measure(boxes, count);
    assign_cells(boxes, count);
    uint32_t slots = 0;
    for (Cell& cell : cells_) {
      cell.first = slots;
      slots += cell.kept;
      cell.kept = 0;
    }
    const size_t padded = slots + size_t(kLanes<T>);
    if (area_.size() < padded) {
      for (std::vector<T>* slot : {&x1_, &y1_, &x2_, &y2_, &area_}) slot->resize(padded);
    }
    // An area of NaN overlaps nothing, so whole registers can be read past the kept boxes of a cell.
    std::fill_n(area_.begin(), padded, kNotANumber<T>);
  }

  // What the levels and their grids are laid out by.
  void measure(const Box<T>* boxes, int64_t count) {
    T min_area = kInfinite<T>, max_area = 0, farthest = 0;
    int64_t active = 0;
    for (int64_t i = 0; i < count; ++i) {
      const T area = box_area(boxes[i]);
      cell_of_[i] = can_overlap(boxes[i], area, threshold_) ? 0 : kIsolated;
      if (cell_of_[i] == kIsolated) continue;
      ++active;
      min_area = std::min(min_area, area);
      max_area = std::max(max_area, area);
      farthest = std::max({farthest, -boxes[i].x1, -boxes[i].y1, boxes[i].x2, boxes[i].y2});
    }
    // Areas near the smallest numbers are rounded too coarsely for the search to rely on the threshold.
    constexpr T kTiny = std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon();
    bound_ = min_area < kTiny ? T(0) : threshold_ * (1 - 64 * std::numeric_limits<T>::epsilon());
    slack_ = farthest * (8 * std::numeric_limits<T>::epsilon());
    max_exponent_ = area_exponent(max_area);
    levels_ = threshold_ < T(0) || active < kGridFrom ? 1 : kLevels;
  }

  void assign_cells(const Box<T>* boxes, int64_t count) {
    std::fill_n(level_, levels_, Level());
    if (levels_ > 1) {
      for (int64_t i = 0; i < count; ++i) {
        if (cell_of_[i] != kIsolated) add(boxes[i]);
      }
    }
    uint32_t cells = 0;
    for (int l = 0; l < levels_; ++l) {
      lay_out(level_[l]);
      level_[l].first_cell = cells;
      cells += uint32_t(level_[l].columns) * uint32_t(level_[l].rows);
    }
    cells_.assign(cells, Cell{0, 0});
    for (int64_t i = 0; i < count; ++i) {
      if (cell_of_[i] == kIsolated) continue;
      if (levels_ > 1) cell_of_[i] = home(boxes[i]);
      ++cells_[cell_of_[i]].kept;
    }
  }

  void add(const Box<T>& box) {
    const T area = box_area(box), width = box.x2 - box.x1, height = box.y2 - box.y1;
    const T x = centre(box.x1, box.x2), y = centre(box.y1, box.y2);
    Level& level = level_[level_of(area)];
    ++level.boxes;
    level.min_area = std::min(level.min_area, area);
    level.max_area = std::max(level.max_area, area);
    level.max_width = std::max(level.max_width, width);
    level.max_height = std::max(level.max_height, height);
    level.left = std::min(level.left, x);
    level.right = std::max(level.right, x);
    level.top = std::min(level.top, y);
    level.bottom = std::max(level.bottom, y);
    level.widths += double(width);
    level.heights += double(height);
  }

  // A NaN, from infinite extents, becomes `low`.
  static double within(double low, double value, double high) { return std::min(std::max(low, value), high); }

  // Cells somewhat larger than the mean box, but no more of them than boxes.
  static void lay_out(Level& level) {
    if (level.boxes == 0) return;
    constexpr double kCellsPerBox = 0.75, kMost = 1 << 20;  // a float still tells these apart
    const double boxes = double(level.boxes), most = std::min(boxes, kMost);
    const double extent_x = double(level.right) - double(level.left),
                 extent_y = double(level.bottom) - double(level.top);
    double columns = within(1, kCellsPerBox * boxes * extent_x / level.widths, most);
    double rows = within(1, kCellsPerBox * boxes * extent_y / level.heights, most);
    const double excess = columns * rows / boxes;
    if (excess > 1) {  // shrink both alike, but neither below 1
      rows = within(1, boxes / std::max(1.0, columns / std::sqrt(excess)), rows);
      columns = boxes / rows;
    }
    level.columns = int32_t(columns);
    level.rows = int32_t(rows);
    level.columns_per_pixel = level.columns > 1 ? T(level.columns / extent_x) : T(0);
    level.rows_per_pixel = level.rows > 1 ? T(level.rows / extent_y) : T(0);
  }

  uint32_t home(const Box<T>& box) const {
    const Level& level = level_[level_of(box_area(box))];
    const int32_t column = level.column(centre(box.x1, box.x2)), row = level.row(centre(box.y1, box.y2));
    return level.first_cell + uint32_t(row) * uint32_t(level.columns) + uint32_t(column);
  }

  bool insert_unless_suppressed(const Box<T>& box, uint32_t own) {
    const T area = box_area(box);
    Cell& cell = cells_[own];  // first: most suppressed boxes meet their suppressor here
    if (cell.kept > 0 && meets_overlap(cell, box, area)) return false;
    if (levels_ > 1 && suppressed_nearby(box, area, own)) return false;
    const uint32_t slot = cell.first + cell.kept++;
    x1_[slot] = box.x1;
    y1_[slot] = box.y1;
    x2_[slot] = box.x2;
    y2_[slot] = box.y2;
    area_[slot] = area;
    return true;
  }

  // The farthest that the centre of a box that overlaps one of this width can be, when none is wider than `widest`.
  T reach(T width, T widest) const {
    const T other = std::min(widest, bound_ >= T(0.5) ? width : width / bound_);
    return (width + other) * T(0.5) - bound_ * std::max(width, other) + slack_;
  }

  bool suppressed_nearby(const Box<T>& box, T area, uint32_t own) const {
    const T x = centre(box.x1, box.x2), y = centre(box.y1, box.y2), width = box.x2 - box.x1, height = box.y2 - box.y1;
    for (int l = 0; l < levels_; ++l) {
      const Level& level = level_[l];
      if (level.boxes == 0 || level.max_area < bound_ * area || bound_ * level.min_area > area) continue;
      const T reach_x = reach(width, level.max_width), reach_y = reach(height, level.max_height);
      const int32_t first = level.column(x - reach_x), last = level.column(x + reach_x);
      const int32_t bottom = level.row(y + reach_y);
      for (int32_t row = level.row(y - reach_y); row <= bottom; ++row) {
        const uint32_t row_start = level.first_cell + uint32_t(row) * uint32_t(level.columns);
        for (uint32_t c = row_start + uint32_t(first); c <= row_start + uint32_t(last); ++c) {
          if (cells_[c].kept > 0 && c != own && meets_overlap(cells_[c], box, area)) return true;
        }
      }
    }
    return false;
  }

  // Floor: 20 bytes read and about 12 flops for each kept box of the cell.
  bool meets_overlap(const Cell& cell, const Box<T>& candidate, T candidate_area) const {
    using V = Lanes<T>;
    const V zero{}, area = zero + candidate_area, threshold = zero + threshold_, bound = zero + bound_;
    const Box<V> box{zero + candidate.x1, zero + candidate.y1, zero + candidate.x2, zero + candidate.y2};
    for (uint32_t slot = cell.first; slot < cell.first + cell.kept; slot += uint32_t(kLanes<T>)) {
      const Box<V> kept{load_lanes(&x1_[slot]), load_lanes(&y1_[slot]), load_lanes(&x2_[slot]), load_lanes(&y2_[slot])};
      const PairOverlap<V> pair(kept, load_lanes(&area_[slot]), box, area);
      // A division takes as long as all the rest, and few boxes come near enough to need it.
      if (threshold_ >= T(0) && !any_lane(pair.intersects() & (pair.intersection >= bound * pair.all))) continue;
      if (any_lane(pair.exceeds(threshold))) return true;
    }
    return false;
  }

  T threshold_;
  T bound_ = 0;  // a little below the threshold: what the search relies on in spite of rounding
  T slack_ = 0;  // pixels, more than the rounding of centres and sizes
  int max_exponent_ = 0, levels_ = 1;
  Level level_[kLevels];
  std::vector<uint32_t> cell_of_;  // [count]
  std::vector<Cell> cells_;
  std::vector<T> x1_, y1_, x2_, y2_, area_;  // [slots]
};

}  // namespace ldie::suppression
