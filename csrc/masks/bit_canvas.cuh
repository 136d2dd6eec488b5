// SPDX-License-Identifier: Apache-2.0
// A band of a mask in shared memory, drawn by one block by toggling where columns change. Include it in .cu files.
#pragma once

#include <type_traits>

#include "core/bits.h"
#include "core/integers.h"
#include "masks/band.cuh"

namespace ldie::masks {

// kRows rows of `words` * 32 columns, the first of which is pixel (top, left) of the image. All threads of the block
// call every function but the toggles.
template <int kRows, int kThreads>
class BitCanvas {
 public:
  static constexpr size_t bytes(int words) { return sizeof(uint32_t) * size_t((2 * kRows + 1) * words + kThreads); }

  // memory: bytes(words) of shared memory.
  __device__ BitCanvas(uint32_t* memory, int words, int64_t top, int64_t left)
      : united_(memory),
        toggles_(united_ + kRows * words),
        above_(toggles_ + kRows * words),
        segments_(above_ + words),
        words_(words),
        top_(top),
        left_(left) {}

  __device__ int64_t top() const { return top_; }
  __device__ int64_t bottom() const { return top_ + kRows; }

  // Before the toggles of one piece, and after them; pieces unite.
  __device__ void begin_piece() {
    for (int i = threadIdx.x; i < kRows * words_; i += kThreads) {
      toggles_[i] = 0;
      if (!drawn_) united_[i] = 0;
    }
    for (int i = threadIdx.x; i < words_; i += kThreads) above_[i] = 0;
    drawn_ = true;
    __syncthreads();
  }
  __device__ void end_piece() {
    __syncthreads();
    unite();
    __syncthreads();
  }

  // A column changes its value at a row of the image, which may lie above or below the band.
  __device__ void toggle(int64_t row, int64_t column) {
    if (row - top_ >= kRows) return;
    const int x = int(column - left_);
    atomicXor(row <= top_ ? &above_[x / 32] : &toggles_[int(row - top_) * words_ + x / 32], 1u << x % 32);
  }
  // The columns from begin to before end, all of which are the canvas's, change above it.
  __device__ void toggle_above(int64_t begin, int64_t end) {
    for (int word = int(begin - left_) / 32; left_ + 32 * word < end; ++word) {
      atomicXor(&above_[word], covered_bits(begin, end, left_ + 32 * word, 32));
    }
  }

  // Writes the band's pixels.
  __device__ void store(uint8_t* mask, int64_t row_bytes, bool packed, int64_t height, int64_t width) const {
    store_band<kThreads>(Band<uint8_t>(mask, row_bytes, packed, top_, left_, kRows, height, width), united_, words_,
                         drawn_);
  }

 private:
  // The parity down to each row: the segments above it first, then the rows of its own.
  __device__ void unite() {
    const int segments = min(kRows, kThreads / words_), segment_rows = ceil_div(kRows, segments);
    const int word = int(threadIdx.x) % words_, own = int(threadIdx.x) / words_;
    const int begin = min(kRows, own * segment_rows), end = own < segments ? min(kRows, begin + segment_rows) : begin;
    uint32_t parity = 0;
    for (int row = begin; row < end; ++row) parity ^= toggles_[row * words_ + word];
    segments_[threadIdx.x] = parity;
    __syncthreads();
    if (own >= segments) return;
    parity = above_[word];
    for (int s = 0; s < own; ++s) parity ^= segments_[s * words_ + word];
    for (int row = begin; row < end; ++row) {
      parity ^= toggles_[row * words_ + word];
      united_[row * words_ + word] |= parity;
    }
  }

  uint32_t* united_;    // [kRows][words], the pieces drawn so far
  uint32_t* toggles_;   // [kRows][words], of one piece
  uint32_t* above_;     // [words], parity of the changes above the band
  uint32_t* segments_;  // [kThreads], parity of a segment's changes
  int words_;
  int64_t top_, left_;
  bool drawn_ = false;
};

}  // namespace ldie::masks
