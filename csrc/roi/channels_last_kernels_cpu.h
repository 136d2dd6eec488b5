// SPDX-License-Identifier: Apache-2.0
// CPU: one RoI on channels-last maps. A bin is a weighted sum of cells, each a run of channels.
#pragma once

#include "roi/plane_kernels_cpu.h"

namespace ldie::roi {

// Calls body(cell from the corner, weight) for the cells that a bin reads.
template <typename A, typename Body>
inline __attribute__((always_inline)) void for_cells(const PlaneTables<A>& tables, int64_t p, int64_t q,
                                                     const Body& body) {
  const TapTable<A>&rows = tables.bin_rows, &columns = tables.bin_columns;
  for (int64_t i = 0; i < rows.counts[p]; ++i) {
    const int64_t start = int64_t(rows.index[i * rows.stride + p]) * tables.width;
    const A weight = rows.weight[i * rows.stride + p];
    for (int64_t j = 0; j < columns.counts[q]; ++j) {
      const int64_t at = j * columns.stride + q;
      body(start + columns.index[at], weight * columns.weight[at]);
    }
  }
}

// kRegisters registers of channels of one bin.
template <int kRegisters, typename T, typename A>
inline __attribute__((always_inline)) void pool_channels(const PlaneTables<A>& tables, int64_t p, int64_t q,
                                                         const T* corner, int64_t channels, T* output) {
  Lanes<A> sums[kRegisters];
  for (int r = 0; r < kRegisters; ++r) sums[r] = Lanes<A>{};
  for_cells(tables, p, q, [&](int64_t cell, A weight) {
    const T* const source = corner + cell * channels;
    for (int r = 0; r < kRegisters; ++r) {
      sums[r] = mul_add(all_lanes(weight), load_wide(source + r * kLanes<A>), sums[r]);
    }
  });
  for (int r = 0; r < kRegisters; ++r) store_narrow(output + r * kLanes<A>, sums[r]);
}

// Every bin and channel of one RoI; `image` is [height, width, channels], `output` [bins, channels].
template <typename T, typename A>
void pool_cells(const PlaneTables<A>& tables, const T* image, int64_t channels, T* output) {
  constexpr int kBlock = 8;
  const T* const corner = image + tables.corner() * channels;
  for (int64_t p = 0; p < tables.bins_y; ++p) {
    for (int64_t q = 0; q < tables.bins_x; ++q, output += channels) {
      int64_t c = 0;
      for (; c + kBlock * kLanes<A> <= channels; c += kBlock * kLanes<A>) {
        pool_channels<kBlock>(tables, p, q, corner + c, channels, output + c);
      }
      for (; c + kLanes<A> <= channels; c += kLanes<A>) {
        pool_channels<1>(tables, p, q, corner + c, channels, output + c);
      }
      for (; c < channels; ++c) {
        A sum = A(0);
        for_cells(tables, p, q,
                  [&](int64_t cell, A weight) { sum = mul_add(weight, A(corner[cell * channels + c]), sum); });
        output[c] = T(sum);
      }
    }
  }
}

// What one RoI passes back: a run of channels for each bin.
template <typename T>
struct BinGrads {
  const T* bins;
  int64_t row_stride, column_stride;  // elements from one bin to the next
};

// Calls body(gradient's offset, weight) for the bins that read a cell.
template <typename T, typename A, typename Body>
inline __attribute__((always_inline)) void for_bins(const PlaneTables<A>& tables, const BinGrads<T>& grads, int64_t y,
                                                    int64_t x, const Body& body) {
  const TapTable<A>&rows = tables.row_bins, &columns = tables.column_bins;
  for (int64_t i = 0; i < rows.counts[y]; ++i) {
    const T* const row = grads.bins + int64_t(rows.index[i * rows.stride + y]) * grads.row_stride;
    const A weight = rows.weight[i * rows.stride + y];
    for (int64_t j = 0; j < columns.counts[x]; ++j) {
      const int64_t at = j * columns.stride + x;
      body(row + int64_t(columns.index[at]) * grads.column_stride, weight * columns.weight[at]);
    }
  }
}

// kRegisters registers of channels of one cell.
template <int kRegisters, typename T, typename A>
inline __attribute__((always_inline)) void unpool_channels(const PlaneTables<A>& tables, const BinGrads<T>& grads,
                                                           int64_t y, int64_t x, int64_t channel, A* cell) {
  Lanes<A> sums[kRegisters];
  for (int r = 0; r < kRegisters; ++r) sums[r] = load_lanes(cell + channel + r * kLanes<A>);
  for_bins(tables, grads, y, x, [&](const T* bin, A weight) {
    for (int r = 0; r < kRegisters; ++r) {
      sums[r] = mul_add(all_lanes(weight), load_wide(bin + channel + r * kLanes<A>), sums[r]);
    }
  });
  for (int r = 0; r < kRegisters; ++r) store_narrow(cell + channel + r * kLanes<A>, sums[r]);
}

// The transpose of pool_cells for some of the rows that the RoI reads; `corner` is its first cell in the first of them.
// Each cell's channels are loaded and stored once for all bins that read it, in the bins' order.
//
// A RoI of 7 x 7 bins on 15 x 15 cells adds 225 runs of channels from 49: of 256 floats, 0.46 MB to load and store and
// 0.05 MB to load, which stand in the L2 cache where RoIs overlap: 512 of them take at least 2 ms at 128 bytes a
// nanosecond.
template <typename T, typename A>
void unpool_cells(const PlaneTables<A>& tables, const BinGrads<T>& grads, const CellRange& rows, int64_t channels,
                  A* corner) {
  constexpr int kBlock = 8;
  for (int64_t y = rows.begin - tables.rows.begin; y < rows.end - tables.rows.begin;
       ++y, corner += tables.width * channels) {
    if (tables.row_bins.counts[y] == 0) continue;
    for (int64_t x = 0; x < tables.columns.count; ++x) {
      if (tables.column_bins.counts[x] == 0) continue;
      A* const cell = corner + x * channels;
      int64_t c = 0;
      for (; c + kBlock * kLanes<A> <= channels; c += kBlock * kLanes<A>) {
        unpool_channels<kBlock>(tables, grads, y, x, c, cell);
      }
      for (; c + kLanes<A> <= channels; c += kLanes<A>) unpool_channels<1>(tables, grads, y, x, c, cell);
      for (; c < channels; ++c) {
        for_bins(tables, grads, y, x, [&](const T* bin, A weight) { cell[c] = mul_add(weight, A(bin[c]), cell[c]); });
      }
    }
  }
}

}  // namespace ldie::roi
