// SPDX-License-Identifier: Apache-2.0
// One part of a polygon on a block's canvas. Include it in .cu files.
#pragma once

#include "core/integers.h"
#include "masks/bit_canvas.cuh"
#include "masks/polygon_set.h"

namespace ldie::masks {

__device__ inline bool lies_above(const FineEdge& edge, int64_t top, int64_t height) {
  return last_row(max(edge.ya, edge.yb), height) <= top;
}
__device__ inline bool lies_below(const FineEdge& edge, int64_t bottom, int64_t height) {
  return first_row(min(edge.ya, edge.yb), height) >= bottom;
}

__device__ inline FineEdge of_lane(const FineEdge& own, int lane) {
  return {__shfl_sync(kFullWarp, own.xa, lane), __shfl_sync(kFullWarp, own.ya, lane),
          __shfl_sync(kFullWarp, own.xb, lane), __shfl_sync(kFullWarp, own.yb, lane)};
}

// Columns of the canvas that an edge crosses.
struct CrossedColumns {
  int64_t begin, end;

  __device__ CrossedColumns(const FineEdge& edge, int64_t left, int64_t right) {
    const PolygonEdge span(min(edge.xa, edge.xb), 0, max(edge.xa, edge.xb), 0);
    begin = max(left, span.first_column());
    end = span.end_column(right);
  }
};

// The edges are dealt out to the warps, one a lane. What lies above the canvas costs a word operation per 32 columns,
// what lies below nothing; the columns of long edges are shared by the warp. A part none of whose edges reaches the
// canvas's rows lies above it, where it crosses every column an even number of times, or below.
template <int kThreads, typename Canvas>
__device__ void draw_part(Canvas& canvas, const PolygonSet& polygons, const RowRange& part, const PolygonFrame& frame,
                          int64_t left, int64_t height, int64_t width) {
  constexpr int kWarps = kThreads / kWarpSize;
  constexpr int64_t kLong = 8;
  const int64_t right = min(width, left + kBandColumns);
  const int lane = int(threadIdx.x) % kWarpSize, warp = int(threadIdx.x) / kWarpSize;
  bool reaches = false;
  for (int64_t point = part.begin + threadIdx.x; point < part.end; point += kThreads) {
    const FineEdge edge = fine_edge(polygons, part, point, frame);
    reaches |= !lies_above(edge, canvas.top(), height) && !lies_below(edge, canvas.bottom(), height);
  }
  if (__syncthreads_or(reaches) == 0) return;

  canvas.begin_piece();
  const int64_t share = min(int64_t(kWarpSize), ceil_div(part.end - part.begin, kWarps));
  for (int64_t first = part.begin + warp * share; first < part.end; first += kWarps * share) {
    const int64_t point = first + lane;
    const bool own = lane < share && point < part.end;
    const FineEdge edge = fine_edge(polygons, part, own ? point : first, frame);
    const CrossedColumns columns(edge, left, right);
    const bool above = lies_above(edge, canvas.top(), height);
    const bool crosses = own && !above && columns.begin < columns.end && !lies_below(edge, canvas.bottom(), height);
    const bool is_long = crosses && columns.end - columns.begin > kLong;
    if (own && above) canvas.toggle_above(columns.begin, columns.end);
    if (crosses && !is_long) {
      const PolygonEdge walk = edge.edge();
      for (int64_t x = columns.begin; x < columns.end; ++x) canvas.toggle(walk.row(x, height), x);
    }
    for (unsigned waiting = __ballot_sync(kFullWarp, is_long); waiting != 0; waiting &= waiting - 1) {
      const FineEdge shared = of_lane(edge, __ffs(int(waiting)) - 1);
      const PolygonEdge walk = shared.edge();
      const CrossedColumns all(shared, left, right);
      for (int64_t x = all.begin + lane; x < all.end; x += kWarpSize) canvas.toggle(walk.row(x, height), x);
    }
  }
  canvas.end_piece();
}

}  // namespace ldie::masks
