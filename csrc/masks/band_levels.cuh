// SPDX-License-Identifier: Apache-2.0
// A band of a mask at the strides of a pyramid, from shared memory to the levels. Include it in .cu files.
#pragma once

#include "core/reduce.cuh"
#include "masks/band_cells.cuh"

namespace ldie::masks {

// The part of a level that lies in a band of the mask.
struct LevelBand {
  const MaskLevel& level;
  int64_t top, left;
  int rows, width;

  __device__ LevelBand(const MaskLevel& level, int64_t mask_top, int64_t mask_left)
      : level(level),
        top(mask_top / level.stride),
        left(mask_left / level.stride),
        rows(int(min(kBandStride / level.stride, level.height - top))),
        width(int(min(kBandColumns / level.stride, level.width - left))) {}

  __device__ int stride() const { return int(level.stride); }
  __device__ int64_t index(int y, int x) const { return (top + y) * level.width + left + x; }
};

// What one block makes of a band. All of its threads call every function, before and behind a barrier.
template <int kThreads>
class BandReducer {
 public:
  using Cells = BandCells<kThreads>;
  using Bits = typename Cells::Bits;

  static constexpr int kWords = 1024;  // of a level's bits at a time

  // words: kWords of shared memory.
  __device__ BandReducer(const MaskTargetPyramid& args, const Bits& bits, const Cells& cells, uint32_t* words)
      : args_(args), bits_(bits), cells_(cells), words_(words) {}

  __device__ void write_fractions(const Band<const uint8_t>& band, const LevelBand& part, int64_t n, bool drawn) const {
    float* const shares = args_.shares(part.level, n);
    for (int i = threadIdx.x; i < part.rows * part.width; i += kThreads) {
      const int y = i / part.width, x = i - y * part.width;
      const int count = drawn ? cells_.cell(bits_, band, part.stride(), y, x) : 0;
      shares[part.index(y, x)] = part.level.fraction(count);
    }
  }

  // Returns the key of the fullest cell that the thread saw.
  __device__ uint64_t write_bits(const Band<const uint8_t>& band, const LevelBand& part, int64_t n, bool drawn) const {
    const int words = ceil_div(part.width, 32), at_once = kWords / words;
    uint64_t fullest = 0;
    for (int first = 0; first < part.rows; first += at_once) {
      const int rows = min(at_once, part.rows - first);
      if (drawn && args_.counts()) {
        fullest = max(fullest, halves(band, part, first, rows, words));
      } else if (drawn) {
        looks(band, part, first, rows, words);
      }
      __syncthreads();
      store_band<kThreads>(
          Band<uint8_t>(args_.mask(part.level, n), args_.row_bytes(part.level), args_.packed, part.top + first,
                        part.left, rows, part.level.height, part.level.width, band_cell_columns(part.stride())),
          words_, words, drawn);
      __syncthreads();
    }
    return fullest;
  }

 private:
  // A warp makes a word, a lane a cell of it.
  __device__ uint64_t halves(const Band<const uint8_t>& band, const LevelBand& part, int first, int rows,
                             int words) const {
    const int lane = int(threadIdx.x) % kWarpSize, half = int(part.level.half());
    uint64_t fullest = 0;
    for (int i = int(threadIdx.x) / kWarpSize; i < rows * words; i += kThreads / kWarpSize) {
      const int y = first + i / words, x = 32 * (i % words) + lane;
      const int count = x < part.width ? cells_.cell(bits_, band, part.stride(), y, x) : 0;
      if (count > 0) fullest = max(fullest, FullestCell::key(count, part.index(y, x)));
      const uint32_t word = __ballot_sync(kFullWarp, count >= half);
      if (lane == 0) words_[i] = word;
    }
    return fullest;
  }

  __device__ void looks(const Band<const uint8_t>& band, const LevelBand& part, int first, int rows, int words) const {
    const bool bilinear = args_.mode == PyramidMode::bilinear;
    const int at_once = 32 / min(32, part.stride());
    const auto pixels_at = [&](int64_t y, int64_t x) { return Cells::pixels(bits_, band, int(y), int(x)); };
    for (int i = threadIdx.x; i < rows * words; i += kThreads) {
      const int y = first + i / words, x = 32 * (i % words);
      uint32_t word = 0;
      for (int at = 0; at < 32; at += at_once) {
        word |= look_at_cells<uint32_t>(bilinear, part.level.stride, y, x + at, pixels_at) << at;
      }
      words_[i] = word;
    }
  }

  const MaskTargetPyramid& args_;
  const Bits& bits_;
  const Cells& cells_;
  uint32_t* const words_;
};

}  // namespace ldie::masks
