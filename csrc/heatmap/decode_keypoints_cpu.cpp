// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "core/fast_math.h"
#include "core/instantiate.h"
#include "core/limits.h"
#include "core/tiles_cpu.h"
#include "heatmap/decode_keypoints.h"

namespace ldie::heatmap {
namespace {

// The pixels along a side of a resized map, for all the maps of a box.
template <typename A>
class Pixels {
 public:
  void fill(const ResizedAxis<A>& axis) {
    cells_.clear();
    weights_.clear();
    first_.clear();
    for (int64_t pixel = 0; pixel < axis.outputs; ++pixel) {
      const int64_t cell = axis.cell(pixel);
      cells_.push_back(int32_t(cell));
      weights_.emplace_back(axis.source(pixel) - A(cell - 1));
    }
    for (int64_t cell = 0; cell <= axis.cells(); ++cell) first_.push_back(axis.first_pixel(cell));
  }

  int64_t count() const { return int64_t(cells_.size()); }
  const int32_t* cells() const { return cells_.data(); }              // that each pixel lies in
  const CubicWeights<A>* weights() const { return weights_.data(); }  // of each pixel
  int64_t first(int64_t cell) const { return first_[size_t(cell)]; }  // the first pixel in this cell or a later one

 private:
  std::vector<int32_t> cells_;
  std::vector<CubicWeights<A>> weights_;
  std::vector<int64_t> first_;
};

// A resized map: what is searched, with its border repeated twice, so that values (row .. row + 3, column .. column +
// 3) are those around cell (row, column).
template <typename A>
struct ResizedMap {
  const A* values;
  int64_t stride;
  const Pixels<A>&y_pixels, &x_pixels;

  const A* row(int64_t y) const { return values + y * stride; }

  // Raises the peak to the greatest pixel of a cell.
  void search_cell(int64_t row, int64_t column, ResizedPeak<A>& peak) const {
    const CubicWeights<A>*const down = y_pixels.weights(), *const across = x_pixels.weights();
    const int64_t top = y_pixels.first(row), bottom = y_pixels.first(row + 1);
    for (int64_t x = x_pixels.first(column), end = x_pixels.first(column + 1); x < end; ++x) {
      A v[kTaps];
      for (int tap = 0; tap < kTaps; ++tap) v[tap] = across[x].sum(this->row(row + tap) + column);
      for (int64_t y = top; y < bottom; ++y) peak.raise(down[y].sum(v), y * x_pixels.count() + x);
    }
  }
};

// Searches whole rows of cells, where many of their cells could hold the greatest pixel. A row of map values that is
// interpolated across serves the four rows of cells that touch it, and loops over all columns are vectors. Pixels have
// the bits that search_cell() gives them.
template <typename A>
class RowSearch {
 public:
  // For a new map.
  void start() { std::fill_n(rows_, kTaps, -1); }

  void search(const ResizedMap<A>& map, int64_t row, ResizedPeak<A>& peak) {
    const int64_t width = map.x_pixels.count();
    pixels_.resize(size_t(width));
    across_.resize(size_t(kTaps * width));
    const A* v[kTaps];
    for (int tap = 0; tap < kTaps; ++tap) v[tap] = across(map, row + tap);
    for (int64_t y = map.y_pixels.first(row), bottom = map.y_pixels.first(row + 1); y < bottom; ++y) {
      if (!any_not_below(map.y_pixels.weights()[y], v, peak.value)) continue;
      for (int64_t x = 0; x < width; ++x) peak.raise(pixels_[size_t(x)], y * width + x);
    }
  }

 private:
  // A row of the map, interpolated at every pixel's column.
  const A* across(const ResizedMap<A>& map, int64_t row) {
    const int64_t width = map.x_pixels.count();
    A* const out = &across_[size_t(row % kTaps * width)];
    if (rows_[row % kTaps] == row) return out;
    rows_[row % kTaps] = row;
    const A* const values = map.row(row);
    const int32_t* const cells = map.x_pixels.cells();
    const CubicWeights<A>* const weights = map.x_pixels.weights();
    for (int64_t x = 0; x < width; ++x) out[x] = weights[x].sum(values + cells[x]);
    return out;
  }

  // Makes a row of pixels of the four interpolated rows around it.
  bool any_not_below(const CubicWeights<A>& down, const A* const (&v)[kTaps], A value) {
    A* const pixels = pixels_.data();
    int32_t any = 0;
    for (int64_t x = 0, width = int64_t(pixels_.size()); x < width; ++x) {
      pixels[x] = down.sum(v[0][x], v[1][x], v[2][x], v[3][x]);
      any |= int32_t(!(pixels[x] < value));
    }
    return any != 0;
  }

  int64_t rows_[kTaps];  // of the map, which are in across_
  std::vector<A> across_, pixels_;
};

// The bounds of the cells of a map, a row of them at a time: each row of the map is bounded across once, and kept for
// the four rows of cells that touch it.
template <typename A>
class CellBounds {
 public:
  explicit CellBounds(int64_t cells) : cells_(cells), bounds_(size_t(cells)) {
    for (auto& row : rows_) {
      row.least.resize(size_t(cells));
      row.greatest.resize(size_t(cells));
      row.magnitude.resize(size_t(cells));
    }
  }

  // For the next row of the map, that has its border repeated.
  void add(const A* values, int64_t row) {
    Row& to = rows_[row % kTaps];
    A *const least = to.least.data(), *const greatest = to.greatest.data(), *const magnitude = to.magnitude.data();
    for (int64_t x = 0; x < cells_; ++x) {
      const RowBound<A> bound = bound_row(values[x], values[x + 1], values[x + 2], values[x + 3]);
      least[x] = bound.least;
      greatest[x] = bound.greatest;
      magnitude[x] = bound.magnitude;
    }
  }

  // Of the cells that have rows row .. row + 3 of the map around them, the last four added.
  const A* of_row(int64_t row) {
    const auto at = [&](int tap) { return Pointers{rows_[(row + tap) % kTaps]}; };
    const Pointers a = at(0), b = at(1), c = at(2), d = at(3);
    A* const bounds = bounds_.data();
    for (int64_t x = 0; x < cells_; ++x) bounds[x] = bound_cell<A>({a[x], b[x], c[x], d[x]});
    return bounds;
  }

 private:
  struct Row {
    std::vector<A> least, greatest, magnitude;
  };
  struct Pointers {
    explicit Pointers(const Row& row)
        : least(row.least.data()), greatest(row.greatest.data()), magnitude(row.magnitude.data()) {}
    RowBound<A> operator[](int64_t x) const { return {least[x], greatest[x], magnitude[x]}; }

    const A *least, *greatest, *magnitude;
  };

  int64_t cells_;
  Row rows_[kTaps];
  std::vector<A> bounds_;
};

// Searches one heatmap after another with the same buffers.
template <typename A>
class PeakSearch {
 public:
  PeakSearch(int64_t height, int64_t width)
      : height_(height),
        width_(width),
        stride_(width + kTaps),
        values_(size_t((height + kTaps) * stride_)),
        bounds_(width + 1) {}

  void resize(const ResizedAxis<A>& y_axis, const ResizedAxis<A>& x_axis) {
    y_pixels_.fill(y_axis);
    x_pixels_.fill(x_axis);
  }

  template <typename T>
  void load(const T* heatmap) {
    for (int64_t row = 0; row < height_ + kTaps; ++row) {
      const T* const from = heatmap + std::clamp<int64_t>(row - 2, 0, height_ - 1) * width_;
      A* const to = &values_[size_t(row * stride_)];
      for (int64_t x = 0; x < width_; ++x) to[x + 2] = A(from[x]);
      to[0] = to[1] = to[2];
      to[width_ + 2] = to[width_ + 3] = to[width_ + 1];
    }
  }

  // The cells around the greatest map value first: they settle what most others are below.
  ResizedPeak<A> find() {
    const ResizedMap<A> map{values_.data(), stride_, y_pixels_, x_pixels_};
    ResizedPeak<A> peak;
    const auto [top, left] = greatest_value(map);
    for (int64_t row = top; row < top + 2; ++row) {
      for (int64_t column = left; column < left + 2; ++column) map.search_cell(row, column, peak);
    }
    row_search_.start();
    for (int64_t row = 0; row < kTaps - 1; ++row) bounds_.add(map.row(row), row);
    for (int64_t row = 0; row <= height_; ++row) {
      bounds_.add(map.row(row + kTaps - 1), row + kTaps - 1);
      search_row(map, row, bounds_.of_row(row), peak);
    }
    return peak;
  }

  // e^greatest over the sum of e^x.
  A softmax(A greatest) const {
    A sum = 0;
    for (int64_t row = 2; row < height_ + 2; ++row) {
      for (int64_t x = 2; x < width_ + 2; ++x) sum += fast_exp(values_[size_t(row * stride_ + x)] - greatest);
    }
    return A(1) / sum;
  }

 private:
  struct Place {
    int64_t row, column;
  };

  // The first of the greatest; the first of all where there is no number above -inf.
  Place greatest_value(const ResizedMap<A>& map) const {
    Place place{0, 0};
    A greatest = -kInfinite<A>;
    for (int64_t row = 0; row < height_; ++row) {
      const A *const values = map.row(row + 2) + 2, of_row = tile_maximum(values, width_);
      if (of_row > greatest) greatest = of_row, place = {row, std::find(values, values + width_, of_row) - values};
    }
    return place;
  }

  void search_row(const ResizedMap<A>& map, int64_t row, const A* bounds, ResizedPeak<A>& peak) {
    constexpr int64_t kWholeRow = 8;  // from one cell in so many on, all cells of a row are searched at once
    int32_t cells = 0;
    for (int64_t column = 0; column <= width_; ++column) cells += int32_t(!(bounds[column] < peak.value));
    if (cells * kWholeRow > width_) return row_search_.search(map, row, peak);
    for (int64_t column = 0; cells > 0 && column <= width_; ++column) {
      if (!(bounds[column] < peak.value)) map.search_cell(row, column, peak);
    }
  }

  int64_t height_, width_, stride_;
  std::vector<A> values_;
  Pixels<A> y_pixels_, x_pixels_;
  CellBounds<A> bounds_;
  RowSearch<A> row_search_;
};

}  // namespace

// Reads every heatmap once and bounds each cell by its 4 x 4 values, some 30 flops; then the pixels of the few cells
// that can hold the greatest, 10 to 20 flops each.
template <typename T>
void decode_keypoints(const DecodeKeypoints<T>& args, Context&) {
  using A = acc_t<T>;
  parallel_for(args.count, 4, [&](int64_t begin, int64_t end) {
    PeakSearch<A> search(args.height, args.width);
    for (int64_t i = begin; i < end; ++i) {
      if (i == begin || i % args.per_box == 0) search.resize(args.y_axis(i), args.x_axis(i));
      search.load(args.heatmap(i));
      const ResizedPeak<A> peak = search.find();
      args.write(i, peak, args.softmax ? search.softmax(peak.value) : peak.value);
    }
  });
}

LDIE_INSTANTIATE(decode_keypoints, DecodeKeypoints);

}  // namespace ldie::heatmap
