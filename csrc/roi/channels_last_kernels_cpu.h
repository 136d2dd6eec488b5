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

// A run of channels of every cell of an image: gradients to add to.
template <typename A>
struct ChannelRun {
  A* cells;  // the first channel of the first cell
  int64_t stride, count;
};

// The transpose of pool_cells for a run of channels; `grad` is [bins, channels] from the run's first channel on.
template <typename T, typename A>
void unpool_cells(const PlaneTables<A>& tables, const T* grad, int64_t channels, const ChannelRun<A>& run) {
  A* const corner = run.cells + tables.corner() * run.stride;
  for (int64_t p = 0; p < tables.bins_y; ++p) {
    for (int64_t q = 0; q < tables.bins_x; ++q, grad += channels) {
      for_cells(tables, p, q, [&](int64_t cell, A weight) {
        A* const sums = corner + cell * run.stride;
        int64_t c = 0;
        for (; c + kLanes<A> <= run.count; c += kLanes<A>) {
          store_narrow(sums + c, mul_add(all_lanes(weight), load_wide(grad + c), load_lanes(sums + c)));
        }
        for (; c < run.count; ++c) sums[c] = mul_add(weight, A(grad[c]), sums[c]);
      });
    }
  }
}

}  // namespace ldie::roi
