// SPDX-License-Identifier: Apache-2.0
// A rectangle of a polygon's mask in shared memory, drawn by one block. Include it in .cu files.
#pragma once

#include "core/simt.cuh"
#include "masks/polygon_set.h"

namespace ldie {

// kWords * 32 columns by kRows rows. Threads of the block: kWords * kSegments, each of which owns one word in a segment
// of rows.
template <int kWords, int kRows, int kSegments>
struct PolygonCanvas {
  static constexpr int kThreads = kWords * kSegments, kColumns = 32 * kWords, kSegmentRows = kRows / kSegments;
  static_assert(kRows % kSegments == 0);

  uint32_t toggles[kRows][kWords];      // crossings of one part, by the row from which they count
  uint32_t above[kWords];               // parity of the crossings above the rectangle
  uint32_t segment[kSegments][kWords];  // parity of a segment's crossings
  uint32_t united[kRows][kWords];       // the parts drawn so far

  __device__ void clear() {
    for (int i = threadIdx.x; i < kRows * kWords; i += kThreads) united[i / kWords][i % kWords] = 0;
  }

  // Adds a part of the image whose pixel (top, left) is the rectangle's first; left is a multiple of 32.
  __device__ void draw(const PolygonSet& polygons, const RowRange& part, const PolygonFrame& frame, int64_t top,
                       int64_t left, int64_t height, int64_t width) {
    for (int i = threadIdx.x; i < kRows * kWords; i += kThreads) toggles[i / kWords][i % kWords] = 0;
    if (threadIdx.x < kWords) above[threadIdx.x] = 0;
    __syncthreads();
    for (int64_t point = part.begin + threadIdx.x; point < part.end; point += kThreads) {
      toggle(polygon_edge(polygons, part, point, frame), top, left, height, width);
    }
    __syncthreads();
    unite();
  }

 private:
  __device__ void toggle(const PolygonEdge& edge, int64_t top, int64_t left, int64_t height, int64_t width) {
    const int64_t begin = max(left, edge.first_column()), end = edge.end_column(min(width, left + kColumns));
    for (int64_t column = begin; column < end; ++column) {
      const int64_t row = edge.row(column, height) - top;
      if (row >= kRows) continue;
      const int word = int(column - left) / 32;
      atomicXor(row < 0 ? &above[word] : &toggles[row][word], 1u << (column - left) % 32);
    }
  }

  // The parity down to each row: the segments above it first, then the rows of its own.
  __device__ void unite() {
    const int word = threadIdx.x % kWords, own = threadIdx.x / kWords;
    uint32_t parity = 0;
    for (int row = own * kSegmentRows; row < (own + 1) * kSegmentRows; ++row) parity ^= toggles[row][word];
    segment[own][word] = parity;
    __syncthreads();
    parity = above[word];
    for (int s = 0; s < own; ++s) parity ^= segment[s][word];
    for (int row = own * kSegmentRows; row < (own + 1) * kSegmentRows; ++row) {
      parity ^= toggles[row][word];
      united[row][word] |= parity;
    }
    __syncthreads();
  }
};

}  // namespace ldie
