// SPDX-License-Identifier: Apache-2.0
// A map's rows are resized along x once each, and the rows of pixels are sums of those, on whole registers: for 100
// maps of 100 x 168 on 480 x 640 that is 26 M cells picked and 31 M pixels of two to three products, 8 bytes of cache
// read for each product. Pixels that no cell above the threshold can reach are left out, which are most: what is left
// is near to reading the maps, 6.7 MB, and to writing the pixels that are near to a mask.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/instantiate.h"
#include "core/integers.h"
#include "core/parallel_cpu.h"
#include "core/tiles_cpu.h"
#include "masks/composite_masks.h"
#include "masks/mask_lanes_cpu.h"
#include "suppression/mask_order_cpu.h"

namespace ldie::masks {
namespace {

struct Interval {
  int64_t begin, end;

  static Interval none() { return {INT64_MAX, 0}; }
  bool empty() const { return begin >= end; }
  void include(const Interval& other) {
    begin = std::min(begin, other.begin);
    end = std::max(end, other.end);
  }
};

// What all masks have in common: where rows and columns of pixels read. Taps that a column lacks read the cell behind
// the last, which is 0.
template <typename A>
class ResizeTables {
 public:
  struct Row {
    ResizeTaps<A> taps;
    int count;
    int64_t last() const { return taps.cells[count - 1]; }
  };

  template <typename T>
  explicit ResizeTables(const CompositeMasks<T>& args) : rows_(size_t(args.out.height)) {
    const ResizeAxis<A> axis_y = args.axis_y(), axis_x = args.axis_x();
    for (int64_t y = 0; y < args.out.height; ++y) {
      Row& row = rows_[size_t(y)];
      row.taps = axis_y.taps(y);
      row.count = row.taps.compact();
    }
    for (int k = 0; k < kMostTaps; ++k) {
      cells_[k].resize(size_t(args.out.width));
      weights_[k].resize(size_t(args.out.width));
    }
    begin_of_.assign(size_t(args.width) + 1, args.out.width);
    end_of_.assign(size_t(args.width) + 1, args.out.width);
    int64_t begun = 0, ended = 0;  // cells that a pixel to the left reads, or reads beyond
    for (int64_t x = 0; x < args.out.width; ++x) {
      ResizeTaps<A> taps = axis_x.taps(x);
      const int count = taps.compact();
      most_taps_ = std::max(most_taps_, count);
      for (; begun <= taps.cells[count - 1]; ++begun) begin_of_[size_t(begun)] = x;
      for (; ended <= taps.cells[0]; ++ended) end_of_[size_t(ended)] = x;
      for (int k = 0; k < kMostTaps; ++k) {
        cells_[k][size_t(x)] = k < count ? taps.cells[k] : int32_t(args.width);
        weights_[k][size_t(x)] = taps.weights[k];
      }
    }
  }

  const Row& row(int64_t y) const { return rows_[size_t(y)]; }
  int most_taps() const { return most_taps_; }
  const int32_t* cells(int k) const { return cells_[k].data(); }
  const A* weights(int k) const { return weights_[k].data(); }
  // Pixels that read one of these cells, or one between.
  Interval reached(const Interval& cells) const { return {begin_of_[size_t(cells.begin)], end_of_[size_t(cells.end)]}; }

 private:
  std::vector<Row> rows_;
  std::vector<int32_t> cells_[kMostTaps];
  std::vector<A> weights_[kMostTaps];
  int most_taps_ = 1;
  std::vector<int64_t> begin_of_, end_of_;  // of a cell: the first pixel that reads it or beyond, or only beyond
};

// What one thread needs to draw bands of masks, one after the other.
template <typename T>
class Compositor {
  using A = acc_t<T>;
  using Row = typename ResizeTables<A>::Row;

 public:
  Compositor(const CompositeMasks<T>& args, const ResizeTables<A>& tables)
      : args_(args),
        tables_(tables),
        least_(A(args.threshold) - threshold_margin(A(args.threshold))),
        reaching_(size_t(args.height)),
        cells_(size_t(args.width) + 1),
        pixels_(size_t(args.out.width)) {
    for (ResizedRow& row : resized_) row.values.resize(size_t(args.out.width));
  }

  // Rows [top, bottom) of a mask; `taken`, if there is one, has a byte for each of the band's pixels.
  void draw(int64_t mask, int64_t top, int64_t bottom, uint8_t* taken) {
    const int64_t row_bytes = args_.out.row_bytes();
    uint8_t* const output = args_.out.mask(mask);
    if (!args_.out.zeroed) std::memset(output + top * row_bytes, 0, size_t((bottom - top) * row_bytes));
    map_ = args_.map(mask);
    if (map_ == nullptr || !find_reaching(top, bottom)) return;
    for (ResizedRow& row : resized_) row.cell_row = -1;
    for (int64_t y = top; y < bottom; ++y) {
      draw_row(y, output + y * row_bytes, taken ? taken + (y - top) * args_.out.width : nullptr);
    }
  }

 private:
  // A row of cells as the columns of pixels read it.
  struct ResizedRow {
    int64_t cell_row;
    std::vector<A> values;
  };

  // Notes which cells may reach a pixel of the band, and which columns of pixels they may; whether there are any.
  bool find_reaching(int64_t top, int64_t bottom) {
    Interval all = Interval::none();
    for (int64_t row = tables_.row(top).taps.cells[0]; row <= tables_.row(bottom - 1).last(); ++row) {
      reaching_[size_t(row)] = reaching_cells(load_tile(map_ + row * args_.width, args_.width, cells_.data()));
      all.include(reaching_[size_t(row)]);
    }
    if (all.empty()) return false;
    columns_ = whole_bytes(tables_.reached(all));
    return !columns_.empty();
  }

  Interval reaching_cells(const A* cells) const {
    const int64_t width = args_.width;
    const auto reaches = [&](int64_t x) { return any_lane(load_lanes(cells + x) > all_lanes(least_)); };
    Interval found = Interval::none();
    int64_t begin = 0, end = width;
    while (begin + kLanes<A> <= width && !reaches(begin)) begin += kLanes<A>;
    while (begin < width && !(cells[begin] > least_)) ++begin;
    if (begin == width) return found;
    while (end - kLanes<A> > begin && !reaches(end - kLanes<A>)) end -= kLanes<A>;
    while (!(cells[end - 1] > least_)) --end;
    return {begin, end};
  }

  static Interval whole_bytes(const Interval& columns) { return {columns.begin / 8 * 8, columns.end}; }

  void draw_row(int64_t y, uint8_t* output, uint8_t* taken) {
    const Row& row = tables_.row(y);
    Interval cells = Interval::none();
    for (int k = 0; k < row.count; ++k) cells.include(reaching_[size_t(row.taps.cells[k])]);
    if (cells.empty()) return;
    const Interval columns = whole_bytes(tables_.reached(cells));
    if (columns.empty()) return;
    const A* values[kMostTaps];
    for (int k = 0; k < row.count; ++k) values[k] = resized(row.taps.cells[k], row);

    uint8_t* const pixels = args_.out.packed ? pixels_.data() : output;
    switch (row.count) {
      case 1: threshold_row<1>(row, values, columns, pixels); break;
      case 2: threshold_row<2>(row, values, columns, pixels); break;
      case 3: threshold_row<3>(row, values, columns, pixels); break;
      default: threshold_row<4>(row, values, columns, pixels);
    }
    if (taken) take(columns, pixels, taken);
    if (args_.out.packed) pack(columns, output);
  }

  // Rows of pixels that follow each other read the same ones: as many are kept as a row of pixels reads.
  const A* resized(int64_t cell_row, const Row& wanted) {
    ResizedRow* place = nullptr;
    for (ResizedRow& kept : resized_) {
      if (kept.cell_row == cell_row) return kept.values.data();
      const int32_t *const begin = wanted.taps.cells, *const end = begin + wanted.count;
      if (std::find(begin, end, kept.cell_row) == end) place = &kept;
    }
    place->cell_row = cell_row;
    const T* const cells = map_ + cell_row * args_.width;
    for (int64_t x = 0; x < args_.width; ++x) cells_[size_t(x)] = cells[x];
    cells_[size_t(args_.width)] = A(0);
    switch (tables_.most_taps()) {
      case 1: resize_row<1>(place->values.data()); break;
      case 2: resize_row<2>(place->values.data()); break;
      case 3: resize_row<3>(place->values.data()); break;
      default: resize_row<4>(place->values.data());
    }
    return place->values.data();
  }

  template <int kTaps>
  void resize_row(A* values) const {
    const A* const cells = cells_.data();
    const int32_t* places[kTaps];
    const A* weights[kTaps];
    for (int k = 0; k < kTaps; ++k) {
      places[k] = tables_.cells(k);
      weights[k] = tables_.weights(k);
    }
    for (int64_t x = columns_.begin; x < columns_.end; ++x) {
      A sum = weights[0][x] * cells[places[0][x]];
      for (int k = 1; k < kTaps; ++k) sum += weights[k][x] * cells[places[k][x]];
      values[x] = sum;
    }
  }

  template <int kTaps>
  void threshold_row(const Row& row, const A* const* values, const Interval& columns, uint8_t* pixels) const {
    const A threshold = A(args_.threshold);
    const ResizeTaps<A> taps = row.taps;
    const A* rows[kTaps];
    for (int k = 0; k < kTaps; ++k) rows[k] = values[k];
    for (int64_t x = columns.begin; x < columns.end; ++x) {
      A sum = taps.weights[0] * rows[0][x];
      for (int k = 1; k < kTaps; ++k) sum += taps.weights[k] * rows[k][x];
      pixels[x] = uint8_t(sum > threshold);
    }
  }

  static void take(const Interval& columns, uint8_t* pixels, uint8_t* taken) {
    for (int64_t x = columns.begin; x < columns.end; ++x) {
      const uint8_t own = pixels[x], before = taken[x];
      pixels[x] = uint8_t(own & ~before);
      taken[x] = uint8_t(own | before);
    }
  }

  void pack(const Interval& columns, uint8_t* output) const {
    for (int64_t x = columns.begin; x < columns.end; x += 64) {
      const int64_t count = std::min<int64_t>(64, columns.end - x);
      const uint64_t word = gather_word(pixels_.data() + x, count);
      std::memcpy(output + x / 8, &word, size_t(ceil_div(count, 8)));
    }
  }

  const CompositeMasks<T> args_;
  const ResizeTables<A>& tables_;
  const A least_;  // cells above it may reach a pixel
  const T* map_ = nullptr;
  std::vector<Interval> reaching_;  // of a row of cells
  Interval columns_ = Interval::none();
  std::vector<A> cells_;  // a row of them, and a 0
  ResizedRow resized_[kMostTaps];
  std::vector<uint8_t> pixels_;  // of one row, to be packed
};

// Calls draw(compositor, number) for `count` pieces of about equal work, on as many threads as there is work for.
template <typename T, typename Draw>
void draw_pieces(const CompositeMasks<T>& args, int64_t count, const Draw& draw) {
  constexpr int64_t kPixelsAWorker = 1 << 16;
  const ResizeTables<acc_t<T>> tables(args);
  const int64_t useful = args.count * args.out.pixels() / kPixelsAWorker + 1;
  parallel_workers(std::min({num_threads(), count, useful}), [&](const auto& next, int64_t) {
    Compositor<T> compositor(args, tables);
    for (int64_t piece = next(); piece < count; piece = next()) draw(compositor, piece);
  });
}

// As many rows as give every thread some bands, and enough that few rows of cells are resized twice.
template <typename T>
int64_t band_rows(const CompositeMasks<T>& args, int64_t bands) {
  constexpr int64_t kLeastRows = 32;
  return std::min(args.out.height, std::max(kLeastRows, ceil_div(args.out.height, bands)));
}

template <typename T>
void draw_each(const CompositeMasks<T>& args) {
  const int64_t rows = band_rows(args, ceil_div(4 * num_threads(), args.count));
  const int64_t bands = ceil_div(args.out.height, rows);
  draw_pieces(args, args.count * bands, [&](Compositor<T>& compositor, int64_t piece) {
    const int64_t top = piece % bands * rows;
    compositor.draw(piece / bands, top, std::min(top + rows, args.out.height), nullptr);
  });
}

template <typename T>
void draw_by_score(const CompositeMasks<T>& args) {
  std::vector<size_t> order;
  if (args.scores) order = suppression::rows_by_score(args.scores, args.count);
  const int64_t rows = band_rows(args, 4 * num_threads());
  draw_pieces(args, ceil_div(args.out.height, rows), [&](Compositor<T>& compositor, int64_t band) {
    const int64_t top = band * rows, bottom = std::min(top + rows, args.out.height);
    std::vector<uint8_t> taken(size_t((bottom - top) * args.out.width), 0);
    for (int64_t rank = 0; rank < args.count; ++rank) {
      compositor.draw(args.scores ? int64_t(order[size_t(rank)]) : rank, top, bottom, taken.data());
    }
  });
}

}  // namespace

template <typename T>
void composite_masks(const CompositeMasks<T>& args, Context&) {
  args.exclusive ? draw_by_score(args) : draw_each(args);
}

LDIE_INSTANTIATE(composite_masks, CompositeMasks);

}  // namespace ldie::masks
