// SPDX-License-Identifier: Apache-2.0
// One part of a polygon on a block's canvas. Include it in .cu files.
#pragma once

#include "core/integers.h"
#include "masks/bit_canvas.cuh"
#include "masks/polygon_set.h"

namespace ldie::masks {

// What a thread knows about an edge before it computes where it crosses columns.
struct FineEdge {
  int32_t xa, ya, xb, yb;

  __device__ FineEdge(const PolygonSet& polygons, const RowRange& part, int64_t point, const PolygonFrame& frame) {
    const double* const start = polygons.coords + 2 * point;
    const double* const end = polygons.coords + 2 * (point + 1 < part.end ? point + 1 : part.begin);
    xa = frame.fine_x(start);
    ya = frame.fine_y(start);
    xb = frame.fine_x(end);
    yb = frame.fine_y(end);
  }
  __device__ bool above(int64_t top, int64_t height) const { return last_row(max(ya, yb), height) <= top; }
  __device__ bool below(int64_t bottom, int64_t height) const { return first_row(min(ya, yb), height) >= bottom; }
  __device__ PolygonEdge edge() const { return PolygonEdge(xa, ya, xb, yb); }
  __device__ FineEdge of_lane(int lane) const {
    FineEdge other = *this;
    other.xa = __shfl_sync(kFullWarp, xa, lane);
    other.ya = __shfl_sync(kFullWarp, ya, lane);
    other.xb = __shfl_sync(kFullWarp, xb, lane);
    other.yb = __shfl_sync(kFullWarp, yb, lane);
    return other;
  }
};

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
    const FineEdge edge(polygons, part, point, frame);
    reaches |= !edge.above(canvas.top(), height) && !edge.below(canvas.bottom(), height);
  }
  if (__syncthreads_or(reaches) == 0) return;

  canvas.begin_piece();
  const int64_t share = min(int64_t(kWarpSize), ceil_div(part.end - part.begin, kWarps));
  for (int64_t first = part.begin + warp * share; first < part.end; first += kWarps * share) {
    const int64_t point = first + lane;
    const bool own = lane < share && point < part.end;
    const FineEdge edge(polygons, part, own ? point : first, frame);
    const CrossedColumns columns(edge, left, right);
    const bool above = edge.above(canvas.top(), height);
    const bool crosses = own && !above && columns.begin < columns.end && !edge.below(canvas.bottom(), height);
    const bool is_long = crosses && columns.end - columns.begin > kLong;
    if (own && above) canvas.toggle_above(columns.begin, columns.end);
    if (crosses && !is_long) {
      const PolygonEdge walk = edge.edge();
      for (int64_t x = columns.begin; x < columns.end; ++x) canvas.toggle(walk.row(x, height), x);
    }
    for (unsigned waiting = __ballot_sync(kFullWarp, is_long); waiting != 0; waiting &= waiting - 1) {
      const FineEdge shared = edge.of_lane(__ffs(int(waiting)) - 1);
      const PolygonEdge walk = shared.edge();
      const CrossedColumns all(shared, left, right);
      for (int64_t x = all.begin + lane; x < all.end; x += kWarpSize) canvas.toggle(walk.row(x, height), x);
    }
  }
  canvas.end_piece();
}

}  // namespace ldie::masks
