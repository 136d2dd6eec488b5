// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "core/fast_math.h"
#include "core/instantiate.h"
#include "core/parallel_cpu.h"
#include "heatmap/decode_keypoints.h"

namespace ldie::heatmap {
namespace {

// No pixel of a cell is above this, for the least and the greatest of its 4 x 4 values. The weights of a pixel sum to
// 1, and their magnitudes to at most 1.375^2, so those below 0 to at least -0.4453; the rest is for rounding.
template <typename A>
A cell_bound(A least, A greatest) {
  const A magnitude = -least > greatest ? -least : greatest;
  return greatest + A(0.446) * (greatest - least) + A(1e-5) * magnitude;
}

// Searches whole rows of cells, where most of their cells could hold the greatest pixel. A row of map values that is
// interpolated across serves the four rows of cells that touch it, and loops over all columns are vectors. Pixels have
// the bits that CellValues gives them.
template <typename A>
class RowSearch {
 public:
  // For a new map, which has its border repeated as PeakSearch makes it.
  void start(const A* map, int64_t stride, const ResizedAxis<A>& x_axis) {
    map_ = map;
    stride_ = stride;
    width_ = x_axis.outputs;
    std::fill_n(rows_, kTaps, -1);
    columns_.resize(size_t(width_));
    places_.resize(size_t(width_));
    pixels_.resize(size_t(width_));
    across_.resize(size_t(kTaps * width_));
    for (int64_t x = 0; x < width_; ++x) {
      const int64_t column = x_axis.cell(x);
      columns_[size_t(x)] = int32_t(column);
      places_[size_t(x)] = x_axis.source(x) - A(column - 1);
    }
  }

  void search(int64_t row, const ResizedAxis<A>& y_axis, ResizedPeak<A>& peak) {
    const A* v[kTaps];
    for (int tap = 0; tap < kTaps; ++tap) v[tap] = across(row + tap);
    for (int64_t y = y_axis.first_pixel(row), bottom = y_axis.first_pixel(row + 1); y < bottom; ++y) {
      const CubicWeights<A> down(y_axis.source(y) - A(row - 1));
      if (!any_not_below(down, v, peak.value)) continue;
      for (int64_t x = 0; x < width_; ++x) peak.raise(pixels_[size_t(x)], y * width_ + x);
    }
  }

 private:
  // A row of the map, interpolated at every pixel's column.
  const A* across(int64_t row) {
    A* const out = &across_[size_t(row % kTaps * width_)];
    if (rows_[row % kTaps] == row) return out;
    rows_[row % kTaps] = row;
    const A *const values = map_ + row * stride_, *const places = places_.data();
    const int32_t* const columns = columns_.data();
    for (int64_t x = 0; x < width_; ++x) {
      const A* const v = values + columns[x];
      out[x] = CubicWeights<A>(places[x]).sum(v[0], v[1], v[2], v[3]);
    }
    return out;
  }

  // Makes a row of pixels of the four interpolated rows around it.
  bool any_not_below(const CubicWeights<A>& down, const A* const (&v)[kTaps], A value) {
    A* const pixels = pixels_.data();
    int32_t any = 0;
    for (int64_t x = 0; x < width_; ++x) {
      pixels[x] = down.sum(v[0][x], v[1][x], v[2][x], v[3][x]);
      any |= int32_t(!(pixels[x] < value));
    }
    return any != 0;
  }

  const A* map_ = nullptr;
  int64_t stride_ = 0, width_ = 0;
  int64_t rows_[kTaps];                      // of the map, which are in across_
  std::vector<int32_t> columns_;             // of the cell of a pixel
  std::vector<A> places_, across_, pixels_;  // places_: of a pixel in its cell, 0 to 1
};

// Searches one heatmap after another with the same buffers. The map is copied with its border repeated twice, so that
// values (row .. row + 3, column .. column + 3) of the copy are those around cell (row, column).
template <typename A>
class PeakSearch {
 public:
  PeakSearch(int64_t height, int64_t width)
      : height_(height),
        width_(width),
        rows_(height + kTaps),
        stride_(width + kTaps),
        map_(size_t(rows_ * stride_)),
        least_(map_.size()),
        greatest_(map_.size()),
        bounds_(map_.size()) {}

  template <typename T>
  void load(const T* heatmap) {
    for (int64_t row = 0; row < rows_; ++row) {
      const T* const from = heatmap + std::clamp<int64_t>(row - 2, 0, height_ - 1) * width_;
      A* const to = &map_[row * stride_];
      for (int64_t x = 0; x < width_; ++x) to[x + 2] = A(from[x]);
      to[0] = to[1] = to[2];
      to[width_ + 2] = to[width_ + 3] = to[width_ + 1];
    }
    bound_cells();
  }

  // The cells around the greatest map value first: they settle what most others are below.
  ResizedPeak<A> find(const ResizedAxis<A>& y_axis, const ResizedAxis<A>& x_axis) {
    ResizedPeak<A> peak;
    const auto [top, left] = greatest_value();
    for (int64_t row = top; row < top + 2; ++row) {
      for (int64_t column = left; column < left + 2; ++column) search(y_axis, x_axis, row, column, peak);
    }
    bool started = false;
    for (int64_t row = 0; row <= height_; ++row) {
      const int64_t cells = cells_to_search(row, peak.value);
      if (cells * kWholeRow > width_) {
        if (!started) row_search_.start(map_.data(), stride_, x_axis);
        started = true;
        row_search_.search(row, y_axis, peak);
      } else if (cells > 0) {
        search_cells(y_axis, x_axis, row, peak);
      }
    }
    return peak;
  }

  // e^greatest over the sum of e^x.
  A softmax(A greatest) const {
    A sum = 0;
    for (int64_t row = 2; row < height_ + 2; ++row) {
      for (int64_t x = 2; x < width_ + 2; ++x) sum += fast_exp(map_[row * stride_ + x] - greatest);
    }
    return A(1) / sum;
  }

 private:
  struct Place {
    int64_t row, column;
  };

  void search(const ResizedAxis<A>& y_axis, const ResizedAxis<A>& x_axis, int64_t row, int64_t column,
              ResizedPeak<A>& peak) const {
    CellValues<A> cell;
    for (int y = 0; y < kTaps; ++y) std::copy_n(&map_[(row + y) * stride_ + column], kTaps, cell.values[y]);
    cell.search(y_axis, x_axis, row, column, peak);
  }

  // From one in so many on, all cells of a row are searched at once.
  static constexpr int64_t kWholeRow = 8;

  int64_t cells_to_search(int64_t row, A value) const {
    const A* const bounds = &bounds_[row * stride_];
    int32_t cells = 0;
    for (int64_t column = 0; column <= width_; ++column) cells += int32_t(!(bounds[column] < value));
    return cells;
  }

  void search_cells(const ResizedAxis<A>& y_axis, const ResizedAxis<A>& x_axis, int64_t row,
                    ResizedPeak<A>& peak) const {
    const A* const bounds = &bounds_[row * stride_];
    for (int64_t column = 0; column <= width_; ++column) {
      if (!(bounds[column] < peak.value)) search(y_axis, x_axis, row, column, peak);
    }
  }

  Place greatest_value() const {
    Place place{0, 0};
    A greatest = -kInfinite<A>;
    for (int64_t row = 0; row < height_; ++row) {
      const A* const values = &map_[(row + 2) * stride_ + 2];
      for (int64_t x = 0; x < width_; ++x) {
        if (values[x] > greatest) greatest = values[x], place = {row, x};
      }
    }
    return place;
  }

  // The bounds of all cells, by extremes over four values across and then over four down.
  void bound_cells() {
    for (int64_t row = 0; row < rows_; ++row) {
      const A* const v = &map_[row * stride_];
      A *const least = &least_[row * stride_], *const greatest = &greatest_[row * stride_];
      for (int64_t x = 0; x <= width_; ++x) {
        least[x] = minimum(minimum(v[x], v[x + 1]), minimum(v[x + 2], v[x + 3]));
        greatest[x] = maximum(maximum(v[x], v[x + 1]), maximum(v[x + 2], v[x + 3]));
      }
    }
    for (int64_t row = 0; row <= height_; ++row) {
      const A *const low = &least_[row * stride_], *const high = &greatest_[row * stride_];
      const int64_t s = stride_;
      A* const bounds = &bounds_[row * stride_];
      for (int64_t x = 0; x <= width_; ++x) {
        const A least = minimum(minimum(low[x], low[x + s]), minimum(low[x + 2 * s], low[x + 3 * s]));
        const A greatest = maximum(maximum(high[x], high[x + s]), maximum(high[x + 2 * s], high[x + 3 * s]));
        bounds[x] = cell_bound(least, greatest);
      }
    }
  }

  int64_t height_, width_, rows_, stride_;
  std::vector<A> map_, least_, greatest_, bounds_;
  RowSearch<A> row_search_;
};

}  // namespace

// Reads every heatmap once and finds the extremes of 4 x 4 values for each cell, some 15 flops; then the pixels of the
// few cells that can hold the greatest, 50 flops each. Of a map of noise these are most, at some 15 flops each.
template <typename T>
void decode_keypoints(const DecodeKeypoints<T>& args, Context&) {
  using A = acc_t<T>;
  parallel_for(args.count, 4, [&](int64_t begin, int64_t end) {
    PeakSearch<A> search(args.height, args.width);
    for (int64_t i = begin; i < end; ++i) {
      search.load(args.heatmap(i));
      const ResizedPeak<A> peak = search.find(args.y_axis(i), args.x_axis(i));
      args.write(i, peak, args.softmax ? search.softmax(peak.value) : peak.value);
    }
  });
}

LDIE_INSTANTIATE(decode_keypoints, DecodeKeypoints);

}  // namespace ldie::heatmap
