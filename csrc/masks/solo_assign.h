// SPDX-License-Identifier: Apache-2.0
// SOLO's assignment of objects to grid cells (Wang et al., arXiv:1912.04488, section 3.3): a level takes the objects of
// its sizes, an object the cells around its centre of mass, and of the objects that want a cell the last one has it.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/box.h"
#include "core/context.h"
#include "core/hd.h"
#include "core/limits.h"
#include "core/ragged.h"
#include "masks/mask_set.h"

namespace ldie::masks {

constexpr int64_t kMostGrids = 16;  // they travel as arguments of the kernel
constexpr int64_t kMostGridSide = 1 << 15;

struct SoloGrid {
  int64_t side;
  double low, high;    // the scales that it takes, both included
  int64_t first_cell;  // among those of an image
};

struct SoloGrids {
  SoloGrid levels[kMostGrids] = {};
  int count = 0;
  int64_t cells = 0;  // of all levels
};

// Cells [begin, end) along an axis.
struct CellSpan {
  int32_t begin, end;

  LDIE_HD bool holds(int32_t cell) const { return begin <= cell && cell < end; }
};

struct CellRegion {
  CellSpan y, x;

  LDIE_HD bool holds(int32_t row, int32_t column) const { return y.holds(row) && x.holds(column); }
};

// One axis of a grid: `side` cells over `extent` pixels.
struct GridAxis {
  int64_t side, extent;

  // floor(coordinate * side / extent) without rounding, clamped to the grid. The quotient of doubles is that or, where
  // it was rounded up, the next integer: cell n begins at or before the coordinate if n * extent <= coordinate * side.
  LDIE_HD int64_t cell(double coordinate) const {
    if (!(coordinate > 0)) return 0;
    if (coordinate >= double(extent)) return side - 1;
    const double product = coordinate * double(side);
    const int64_t cell = int64_t(product / double(extent));
    const double begin = double(cell * extent);  // exact: below 2^45
    const bool begun = begin < product || (begin == product && fma(coordinate, double(side), -product) >= 0);
    return begun ? cell : cell - 1;
  }

  // From center - half to center + half; clamped: not beyond one cell round that of the centre.
  LDIE_HD CellSpan span(double center, double half, bool clamped) const {
    int64_t first = cell(center - half), last = cell(center + half);
    if (clamped) {
      const int64_t middle = cell(center);
      first = maximum(first, middle - 1);
      last = minimum(last, middle + 1);
    }
    return {int32_t(first), int32_t(last + 1)};
  }

  // The first pixel of a cell: what scaling to the nearest pixel takes.
  LDIE_HD int64_t nearest_pixel(int64_t cell) const { return cell * extent / side; }
};

struct SoloObject {
  double x, y, width, height;
  double scale;  // sqrt(width * height); NaN, which no level takes, of an object that is assigned nowhere
};

template <typename T>
struct SoloAssign {
  const T* boxes;          // [rows, 4] x1 y1 x2 y2
  const int64_t* labels;   // [rows]
  const T* centers;        // [rows, 2] x y
  const int64_t* areas;    // [rows]
  const int64_t* offsets;  // [batch + 1]
  int64_t rows, batch, height, width;
  SoloGrids grids;
  double half_sigma;
  bool skip_empty;  // objects without a pixel; otherwise they have the centre of their box
  bool clamp, by_area;
  bool by_mask;          // also the cells whose pixel is in the mask, within twice the region
  MaskSet masks;         // [rows] if so, dense or packed
  int64_t* cell_labels;  // [batch, grids.cells], -1 for none
  int64_t* cell_instances;

  LDIE_HD SoloObject object(int64_t row) const {
    const T *const box = boxes + 4 * row, *const center = centers + 2 * row;
    const double x1 = box[0], y1 = box[1], x2 = box[2], y2 = box[3];
    const bool empty = areas[row] <= 0;
    const double x = empty ? (x1 + x2) / 2 : double(center[0]), y = empty ? (y1 + y2) / 2 : double(center[1]);
    const bool finite = 0 * x1 + 0 * y1 + 0 * x2 + 0 * y2 + 0 * x + 0 * y == 0;
    const bool assigned = labels[row] >= 0 && x2 >= x1 && y2 >= y1 && finite && !(empty && skip_empty);
    const double width = x2 - x1, height = y2 - y1;
    return {x, y, width, height, assigned ? sqrt(width * height) : kNotANumber<double>};
  }

  LDIE_HD bool takes(const SoloGrid& level, const SoloObject& object) const {
    return level.low <= object.scale && object.scale <= level.high;
  }
  LDIE_HD GridAxis axis_y(const SoloGrid& level) const { return {level.side, height}; }
  LDIE_HD GridAxis axis_x(const SoloGrid& level) const { return {level.side, width}; }

  LDIE_HD CellRegion region(const SoloGrid& level, const SoloObject& object) const {
    return {axis_y(level).span(object.y, half_sigma * object.height, clamp),
            axis_x(level).span(object.x, half_sigma * object.width, clamp)};
  }
  // Within it the mask decides.
  LDIE_HD CellRegion mask_region(const SoloGrid& level, const SoloObject& object) const {
    return {axis_y(level).span(object.y, 2 * half_sigma * object.height, false),
            axis_x(level).span(object.x, 2 * half_sigma * object.width, false)};
  }
  LDIE_HD bool in_mask(const SoloGrid& level, int64_t row, int32_t y, int32_t x) const {
    return masks.holds(row, axis_y(level).nearest_pixel(y), axis_x(level).nearest_pixel(x));
  }

  // Whether an object of this area takes a cell from an earlier one of its image.
  LDIE_HD bool paints_over(int64_t area, int64_t earlier) const { return !by_area || area <= earlier; }
};

template <typename T>
void solo_assign(const SoloAssign<T>& args, Context& context);

}  // namespace ldie::masks
