// SPDX-License-Identifier: Apache-2.0
// Masks at the strides of a feature pyramid, with their centres of mass and areas. Strides are powers of two, so that
// the pixels of a coarse cell are those of four finer ones.
#pragma once

#include "core/bits.h"
#include "masks/mask_centers.h"

namespace ldie::masks {

// What a cell says: a pixel of it, whether two of the four round its centre are set, whether half of its pixels are or,
// where none has as many, the most of all cells, or what share of them is.
enum class PyramidMode : int64_t { nearest, bilinear, area, fraction };
constexpr PyramidMode last_option(PyramidMode) { return PyramidMode::fraction; }

constexpr int64_t kLargestStride = int64_t(1) << 14;
constexpr int kMostStrides = 15;

struct MaskLevel {
  int64_t stride, height, width;
  int64_t start;  // its place in the output

  LDIE_HD int64_t half() const { return ceil_div(stride * stride, 2); }  // the pixels that set a cell
  LDIE_HD float fraction(int64_t count) const { return float(count) / float(stride * stride); }
};

struct MaskTargetPyramid {
  MaskCenters centers;  // and the masks
  MaskLevel levels[kMostStrides];
  int count;  // of levels
  PyramidMode mode;
  bool packed;       // cells
  bool zeroed;       // the output is zero already (CPU)
  uint8_t* cells;    // level by level [masks, height, row_bytes()], as masks are; or null, where
  float* fractions;  // has [masks, height, width]

  LDIE_HD const MaskSet& masks() const { return centers.masks; }
  LDIE_HD bool counts() const { return mode == PyramidMode::area || mode == PyramidMode::fraction; }
  LDIE_HD int64_t row_bytes(const MaskLevel& level) const { return mask_row_bytes(level.width, packed); }
  LDIE_HD int64_t size(const MaskLevel& level) const { return level.height * row_bytes(level); }
  LDIE_HD uint8_t* mask(const MaskLevel& level, int64_t n) const { return cells + level.start + n * size(level); }
  LDIE_HD float* shares(const MaskLevel& level, int64_t n) const { return fractions + level.start + n * size(level); }

  LDIE_HD void set(const MaskLevel& level, int64_t n, int64_t y, int64_t x) const {
    uint8_t* const row = mask(level, n) + y * row_bytes(level);
    if (packed) {
      row[x / 8] |= uint8_t(1 << x % 8);
    } else {
      row[x] = 1;
    }
  }
};

// ---- cells that look at one pixel or four

// Of four pixels each, whether at least two are set.
template <typename Word>
LDIE_HD Word at_least_two(Word a, Word b, Word c, Word d) {
  return (a & b) | (c & d) | ((a | b) & (c | d));
}

// Bits 0, stride, 2 stride, ... of a word side by side; of strides as long as the word bit 0.
template <typename Word>
LDIE_HD Word every_nth_bit(Word bits, int64_t stride) {
  constexpr int64_t kBits = 8 * int64_t(sizeof(Word));
#if defined(__BMI2__) && !defined(__CUDA_ARCH__)
  if constexpr (kBits == 64) {
    return __builtin_ia32_pext_di(bits, stride < kBits ? ~Word(0) / ((Word(1) << stride) - 1) : 1);
  }
#endif
  Word result = 0;
  for (int64_t at = 0, place = 0; at < kBits; at += stride, ++place) result |= (bits >> at & 1) << place;
  return result;
}

// The cells from (y, x) on that begin in a word of pixels, as bits. pixels_at(y, x) is a word of the mask's pixels, 0
// beyond it; strides up to its length divide it, and x is a multiple of that length or of a longer stride.
template <typename Word, typename PixelsAt>
LDIE_HD Word look_at_cells(bool bilinear, int64_t stride, int64_t y, int64_t x, const PixelsAt& pixels_at) {
  if (!bilinear || stride == 1) return every_nth_bit(pixels_at(y * stride, x * stride), stride);
  const int64_t above = y * stride + stride / 2 - 1, left = x * stride + stride / 2 - 1;
  return every_nth_bit(at_least_two(pixels_at(above, left), pixels_at(above, left + 1), pixels_at(above + 1, left),
                                    pixels_at(above + 1, left + 1)),
                       stride);
}

// ---- cells that count. V may be a vector of words.

// Of every four pixels side by side how many are set, in four bits each.
template <typename V>
LDIE_HD V count_fours(V bits) {
  bits = bits - ((bits >> 1) & 0x5555555555555555u);
  return (bits & 0x3333333333333333u) + ((bits >> 2) & 0x3333333333333333u);
}

// From two rows each, at most 8 in four bits, to four rows, in a byte each: the cells of even number.
template <typename V>
LDIE_HD V even_squares(const V& upper, const V& lower) {
  return (upper & 0x0f0f0f0f0f0f0f0fu) + (lower & 0x0f0f0f0f0f0f0f0fu);
}
// Those of odd number.
template <typename V>
LDIE_HD V odd_squares(const V& upper, const V& lower) {
  return even_squares<V>(upper >> 4, lower >> 4);
}

constexpr int64_t kSquare = 4;  // the stride of these cells

// The greatest of these is that of the cell with the largest count, and of equals of the first.
struct FullestCell {
  static LDIE_HD uint64_t key(int64_t count, int64_t index) {
    return uint64_t(count) << 32 | (kLast - uint64_t(index));
  }
  static LDIE_HD int64_t count(uint64_t key) { return int64_t(key >> 32); }
  static LDIE_HD int64_t index(uint64_t key) { return int64_t(kLast - (key & kLast)); }

 private:
  static constexpr uint64_t kLast = (uint64_t(1) << 32) - 1;
};

// Sets it where no cell has half of its pixels set, of a mask that has pixels.
LDIE_HD void set_fullest(const MaskTargetPyramid& args, const MaskLevel& level, int64_t n, uint64_t key) {
  const int64_t count = FullestCell::count(key), index = FullestCell::index(key);
  if (count > 0 && count < level.half()) args.set(level, n, index / level.width, index % level.width);
}

void mask_target_pyramid(const MaskTargetPyramid& args, Context& context);

}  // namespace ldie::masks
