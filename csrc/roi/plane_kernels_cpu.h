// SPDX-License-Identifier: Apache-2.0
// CPU: one RoI on one plane of a [.., height, width] feature map, and its transpose. Rows are summed first, a register
// of columns at a time, and columns second, by shuffles within the registers that hold the row (or by gathers, where
// a row is too wide for them).
#pragma once

#include "core/integers.h"
#include "roi/tap_table_cpu.h"

namespace ldie::roi {

// The columns of the map that a RoI's rows are read at: whole registers of them wherever the map is wide enough.
struct Columns {
  int64_t begin, count;
  int64_t whole;  // of these, as many as fill whole registers

  template <typename A>
  static Columns make(const CellRange& range, int64_t width) {
    const int64_t padded = round_up(range.count(), kLanes<A>);
    if (padded > width) return {range.begin, range.count(), range.count() / kLanes<A> * kLanes<A>};
    return {range.begin < width - padded ? range.begin : width - padded, padded, padded};
  }
  template <typename A>
  bool in_registers() const {
    return whole == count && count <= kShuffledRegisters * kLanes<A>;
  }
};

// A RoI's tables, remade for each RoI and used for many channels.
template <typename A>
struct PlaneTables {
  TapTable<A> bin_rows, bin_columns;  // for each bin, the rows and columns it reads, counted from the corner
  TapTable<A> row_bins, column_bins;  // backward: for each row and column from the corner on, the bins that read it
  CellRange rows;
  Columns columns;
  int64_t width, bins_y, bins_x;
  A* row;     // wide rows: [columns]
  A* spread;  // backward: [bins_y, columns]

  static PlaneTables make(const RoiLayout<A>& layout, bool backward, Context& context) {
    int64_t height = 0, width = 0;
    for (int32_t i = 0; i < layout.choice.count; ++i) {
      height = layout.levels[i].height > height ? layout.levels[i].height : height;
      width = layout.levels[i].width > width ? layout.levels[i].width : width;
    }
    PlaneTables tables{};
    tables.bins_y = layout.bins_y;
    tables.bins_x = layout.bins_x;
    tables.bin_rows = TapTable<A>::make(layout.bins_y, height, context);
    tables.bin_columns = TapTable<A>::make(layout.bins_x, width, context);
    tables.row = context.scratch_array<A>(round_up(width, kLanes<A>));
    if (backward) {
      tables.row_bins = TapTable<A>::make(height, layout.bins_y, context);
      tables.column_bins = TapTable<A>::make(width, layout.bins_x, context);
      tables.spread = context.scratch_array<A>(layout.bins_y * round_up(width, kLanes<A>));
    }
    return tables;
  }

  void fill(const Roi<A>& roi, bool backward) {
    width = roi.x.cells;
    rows = tabulate(roi.y, bins_y, bin_rows);
    const CellRange range = tabulate(roi.x, bins_x, bin_columns);
    if (empty()) return;
    columns = Columns::make<A>(range, width);
    bin_rows.finish(rows.begin);
    bin_columns.finish(columns.begin);
    if (!backward) return;
    transpose(bin_rows, bins_y, rows.count(), row_bins);
    transpose(bin_columns, bins_x, columns.count, column_bins);
    column_bins.finish(0);
  }

  // The first cell that is read, as an index into a plane.
  int64_t corner() const { return rows.begin * width + columns.begin; }
  bool empty() const { return bin_rows.depth == 0 || bin_columns.depth == 0; }
};

// sum_y wy[p, y] plane[y, x] for the columns from x on, as many as fill kRegisters registers.
template <int kRegisters, typename T, typename A>
inline __attribute__((always_inline)) void sum_rows(const PlaneTables<A>& tables, const T* corner, int64_t p,
                                                    Lanes<A>* sums) {
  const TapTable<A>& rows = tables.bin_rows;
  for (int r = 0; r < kRegisters; ++r) sums[r] = Lanes<A>{};
  for (int64_t k = 0; k < rows.counts[p]; ++k) {
    const T* const cells = corner + int64_t(rows.index[k * rows.stride + p]) * tables.width;
    const Lanes<A> weight = all_lanes(rows.weight[k * rows.stride + p]);
    for (int r = 0; r < kRegisters; ++r) sums[r] = mul_add(weight, load_wide(cells + r * kLanes<A>), sums[r]);
  }
}

// The weighted sums of a register of columns of the table, out of a row of registers.
template <int kRegisters, typename A>
inline __attribute__((always_inline)) Lanes<A> sum_picked(const TapTable<A>& table, int64_t column,
                                                          const Lanes<A>* row) {
  const Lanes<A> zero{}, first = load_lanes(table.weight + column);
  Lanes<A> sum{};
  for (int64_t k = 0; k < table.depth; ++k) {
    const auto index = load_lanes(table.index + k * table.stride + column);
    sum = mul_add(load_lanes(table.weight + k * table.stride + column), pick<kRegisters, A>(row, index), sum);
  }
  return first > zero ? sum : zero;
}

// The bins of one plane. `bins` has room for one register beyond its end.
template <int kRegisters, typename T, typename A>
void pool_in_registers(const PlaneTables<A>& tables, const T* corner, A* bins) {
  const TapTable<A>& columns = tables.bin_columns;
  for (int64_t p = 0; p < tables.bins_y; ++p) {
    Lanes<A> row[kRegisters];
    sum_rows<kRegisters>(tables, corner, p, row);
    for (int64_t q = 0; q < tables.bins_x; q += kLanes<A>) {
      store_narrow(bins + p * tables.bins_x + q, sum_picked<kRegisters>(columns, q, row));
    }
  }
}

template <typename T, typename A>
void pool_through_memory(const PlaneTables<A>& tables, const T* corner, A* bins) {
  const TapTable<A>&rows = tables.bin_rows, &columns = tables.bin_columns;
  for (int64_t p = 0; p < tables.bins_y; ++p) {
    int64_t x = 0;
    for (; x < tables.columns.whole; x += kLanes<A>) {
      Lanes<A> sum;
      sum_rows<1>(tables, corner + x, p, &sum);
      store_narrow(tables.row + x, sum);
    }
    for (; x < tables.columns.count; ++x) {
      tables.row[x] = A(0);
      for (int64_t k = 0; k < rows.counts[p]; ++k) {
        const int64_t at = k * rows.stride + p;
        tables.row[x] = mul_add(rows.weight[at], A(corner[int64_t(rows.index[at]) * tables.width + x]), tables.row[x]);
      }
    }
    A* const sums = bins + p * tables.bins_x;
    for (int64_t q = 0; q < tables.bins_x; ++q) sums[q] = A(0);
    for (int64_t k = 0; k < columns.depth; ++k) {
      const LaneIndex<A>* const index = columns.index + k * columns.stride;
      const A* const weight = columns.weight + k * columns.stride;
      for (int64_t q = 0; q < tables.bins_x; ++q) sums[q] = mul_add(weight[q], tables.row[index[q]], sums[q]);
    }
    for (int64_t q = 0; q < tables.bins_x; ++q) sums[q] = columns.weight[q] > A(0) ? sums[q] : A(0);
  }
}

// Asks for the cells of a plane that pool_plane and unpool_plane will touch. Rows stand too far apart for the machine
// to foresee them, and waiting for them took most of the forward's time.
constexpr int64_t kPlanesAhead = 2;
template <typename T, typename A>
inline __attribute__((always_inline)) void prefetch_plane(const PlaneTables<A>& tables, const T* plane) {
  constexpr int64_t kLine = 64 / int64_t(sizeof(T));
  const T* const corner = plane + tables.corner();
  const TapTable<A>& rows = tables.bin_rows;
  const int64_t last = tables.columns.count - 1;
  int64_t next = 0;  // rows mostly rise
  for (int64_t p = 0; p < tables.bins_y; ++p) {
    for (int64_t k = 0; k < rows.counts[p]; ++k) {
      const int64_t y = rows.index[k * rows.stride + p];
      if (y < next) continue;
      next = y + 1;
      const T* const cells = corner + y * tables.width;
      for (int64_t x = 0; x < last; x += kLine) __builtin_prefetch(cells + x);
      __builtin_prefetch(cells + last);
    }
  }
}

template <typename T, typename A>
void pool_plane(const PlaneTables<A>& tables, const T* plane, A* bins) {
  const T* const corner = plane + tables.corner();
  if constexpr (kShuffledRegisters == 4) {
    if (tables.columns.template in_registers<A>()) {
      switch (tables.columns.count / kLanes<A>) {
        case 1: return pool_in_registers<1>(tables, corner, bins);
        case 2: return pool_in_registers<2>(tables, corner, bins);
        case 3: return pool_in_registers<3>(tables, corner, bins);
        default: return pool_in_registers<4>(tables, corner, bins);
      }
    }
  }
  pool_through_memory(tables, corner, bins);
}

// spread[p, x] = sum_q wx[q, x] grad[p, q]; rows of up to kRegisters registers of bins (0: any).
template <int kRegisters, typename A>
void spread_bins(const PlaneTables<A>& tables, const A* grad) {
  const TapTable<A>& bins = tables.column_bins;
  for (int64_t p = 0; p < tables.bins_y; ++p) {
    const A* const source = grad + p * tables.bins_x;
    A* const result = tables.spread + p * tables.columns.count;
    int64_t x = 0;
    if constexpr (kRegisters > 0) {
      Lanes<A> row[kRegisters];
      for (int r = 0; r < kRegisters; ++r) row[r] = load_lanes(source + r * kLanes<A>);
      for (; x < tables.columns.whole; x += kLanes<A>) {
        store_narrow(result + x, sum_picked<kRegisters>(bins, x, row));
      }
    }
    for (; x < tables.columns.count; ++x) {
      A sum = A(0);
      for (int64_t k = 0; k < bins.counts[x]; ++k) {
        sum = mul_add(bins.weight[k * bins.stride + x], source[bins.index[k * bins.stride + x]], sum);
      }
      result[x] = sum;
    }
  }
}

// plane[y, x] += sum_p wy[p, y] spread[p, x]: each row of the plane is loaded and stored once.
template <typename A>
void add_rows(const PlaneTables<A>& tables, A* corner) {
  const TapTable<A>& bins = tables.row_bins;
  for (int64_t y = 0; y < tables.rows.count(); ++y) {
    A* const cells = corner + y * tables.width;
    const int64_t count = bins.counts[y];
    const auto spread = [&](int64_t k) {
      return tables.spread + int64_t(bins.index[k * bins.stride + y]) * tables.columns.count;
    };
    int64_t x = 0;
    for (; count > 0 && x < tables.columns.whole; x += kLanes<A>) {
      Lanes<A> sum = load_lanes(cells + x);
      for (int64_t k = 0; k < count; ++k) {
        sum = mul_add(all_lanes(bins.weight[k * bins.stride + y]), load_lanes(spread(k) + x), sum);
      }
      store_narrow(cells + x, sum);
    }
    for (; x < tables.columns.count; ++x) {
      for (int64_t k = 0; k < count; ++k) cells[x] = mul_add(bins.weight[k * bins.stride + y], spread(k)[x], cells[x]);
    }
  }
}

// The transpose of pool_plane: adds to the plane. `grad` has room for a row of registers beyond its end.
template <typename A>
void unpool_plane(const PlaneTables<A>& tables, const A* grad, A* plane) {
  const int64_t registers = round_up(tables.bins_x, kLanes<A>) / kLanes<A>;
  if (registers > kShuffledRegisters) {
    spread_bins<0>(tables, grad);
  } else if constexpr (kShuffledRegisters == 4) {
    switch (registers) {
      case 1: spread_bins<1>(tables, grad); break;
      case 2: spread_bins<2>(tables, grad); break;
      case 3: spread_bins<3>(tables, grad); break;
      default: spread_bins<4>(tables, grad);
    }
  }
  add_rows(tables, plane + tables.corner());
}

}  // namespace ldie::roi
