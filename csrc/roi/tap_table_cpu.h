// SPDX-License-Identifier: Apache-2.0
// CPU: the weights of one axis of a RoI as a short table, so that bins (or cells) can be worked on a register at a
// time. Column c holds the taps of bin c: cells and weights, one entry below the other.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/integers.h"
#include "core/lane_shuffle_cpu.h"
#include "roi/roi_align.h"

namespace ldie::roi {

template <typename A>
struct TapTable {
  using Index = LaneIndex<A>;
  int64_t stride = 0;  // columns, rounded up to whole registers
  int64_t depth = 0;   // entries of the longest column
  int64_t* counts;     // [columns] entries of each column
  Index* index;        // [depth, stride]
  A* weight;           // [depth, stride], above 0, but 0 in what a column does not fill

  // Room for `columns` columns of at most `depth` entries.
  static TapTable make(int64_t columns, int64_t depth, Context& context) {
    const int64_t stride = round_up(columns, kLanes<A>);
    TapTable table;
    table.counts = context.scratch_array<int64_t>(stride);
    table.index = context.scratch_array<Index>(stride * depth);
    table.weight = context.scratch_array<A>(stride * depth);
    return table;
  }

  void clear(int64_t columns) {
    stride = round_up(columns, kLanes<A>);
    depth = 0;
    for (int64_t c = 0; c < stride; ++c) counts[c] = 0;
  }

  void append(int64_t column, int64_t at, A value) {
    const int64_t k = counts[column]++;
    if (k == depth) {
      for (int64_t c = 0; c < stride; ++c) index[k * stride + c] = 0;
      for (int64_t c = 0; c < stride; ++c) weight[k * stride + c] = A(0);
      ++depth;
    }
    index[k * stride + column] = Index(at);
    weight[k * stride + column] = value;
  }

  // Counts cells from `origin` on, and fills short columns up with their last cell, at weight 0: whatever stands in
  // cells that a bin does not read - an infinity, say - must not reach it. (Columns without any read cell 0; whoever
  // reads them drops the sum where the first weight is 0.)
  void finish(int64_t origin) {
    for (int64_t c = 0; c < stride; ++c) {
      Index last = Index(origin);
      for (int64_t k = 0; k < depth; ++k) {
        Index& entry = index[k * stride + c];
        if (k < counts[c]) last = entry;
        entry = Index(last - origin);
      }
    }
  }
};

// Tabulates the cells of each bin, in cells of the map; returns the range of cells that any bin reads.
template <typename A>
CellRange tabulate(const RoiAxis<A>& axis, int64_t bins, TapTable<A>& table) {
  table.clear(bins);
  CellRange range{axis.cells, 0};
  for (int64_t bin = 0; bin < bins; ++bin) {
    const auto append = [&](const CellWeight<A>& tap) {
      table.append(bin, tap.cell, tap.weight);
      range = {std::min(range.begin, tap.cell), std::max(range.end, tap.cell + 1)};
      return true;
    };
    merge_taps(axis, bin, {0, axis.grid}, append);
  }
  return range;
}

// The transpose: for each of `columns` cells, the bins that read it.
template <typename A>
void transpose(const TapTable<A>& table, int64_t bins, int64_t columns, TapTable<A>& result) {
  result.clear(columns);
  for (int64_t bin = 0; bin < bins; ++bin) {
    for (int64_t k = 0; k < table.counts[bin]; ++k) {
      result.append(table.index[k * table.stride + bin], bin, table.weight[k * table.stride + bin]);
    }
  }
}

}  // namespace ldie::roi
