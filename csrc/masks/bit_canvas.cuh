// SPDX-License-Identifier: Apache-2.0
// A rectangle of a mask in shared memory, drawn by one block by toggling where columns change. Include it in .cu files.
#pragma once

#include "core/bits.cuh"
#include "core/simt.cuh"

namespace ldie {

// kWords * 32 columns by kRows rows, the first of which is pixel (top, left) of the image. Threads of the block:
// kWords * kSegments, each of which owns one word in a segment of rows. All of them call every function but toggle().
template <int kWords, int kRows, int kSegments>
class BitCanvas {
 public:
  static constexpr int kThreads = kWords * kSegments, kColumns = 32 * kWords;

  __device__ void clear() {
    for (int i = threadIdx.x; i < kRows * kWords; i += kThreads) united_[i / kWords][i % kWords] = 0;
  }

  // Before the toggles of one piece, and after them; pieces unite.
  __device__ void begin_piece() {
    for (int i = threadIdx.x; i < kRows * kWords; i += kThreads) toggles_[i / kWords][i % kWords] = 0;
    if (threadIdx.x < kWords) above_[threadIdx.x] = 0;
    __syncthreads();
  }
  __device__ void end_piece() {
    __syncthreads();
    unite();
    __syncthreads();
  }

  // A column changes its value at a row of the image, which may lie above or below the rectangle.
  __device__ void toggle(int64_t row, int64_t column, int64_t top, int64_t left) {
    if (row - top >= kRows) return;
    const int word = int(column - left) / 32;
    atomicXor(row < top ? &above_[word] : &toggles_[row - top][word], 1u << (column - left) % 32);
  }

  // Writes the rectangle's pixels.
  __device__ void store(uint8_t* mask, int64_t row_bytes, bool packed, int64_t top, int64_t left, int64_t height,
                        int64_t width) const {
    store_rectangle<kThreads>(united_, mask, row_bytes, packed, top, left, height, width);
  }

 private:
  static constexpr int kSegmentRows = kRows / kSegments;
  static_assert(kRows % kSegments == 0);

  // The parity down to each row: the segments above it first, then the rows of its own.
  __device__ void unite() {
    const int word = threadIdx.x % kWords, own = threadIdx.x / kWords;
    uint32_t parity = 0;
    for (int row = own * kSegmentRows; row < (own + 1) * kSegmentRows; ++row) parity ^= toggles_[row][word];
    segment_[own][word] = parity;
    __syncthreads();
    parity = above_[word];
    for (int s = 0; s < own; ++s) parity ^= segment_[s][word];
    for (int row = own * kSegmentRows; row < (own + 1) * kSegmentRows; ++row) {
      parity ^= toggles_[row][word];
      united_[row][word] |= parity;
    }
  }

  uint32_t toggles_[kRows][kWords];      // of one piece
  uint32_t above_[kWords];               // parity of the changes above the rectangle
  uint32_t segment_[kSegments][kWords];  // parity of a segment's changes
  uint32_t united_[kRows][kWords];       // the pieces drawn so far
};

}  // namespace ldie
