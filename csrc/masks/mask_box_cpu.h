// SPDX-License-Identifier: Apache-2.0
// The box of a mask of pixels on the CPU. Floor: the bytes outside of the box, once; those inside are not read, but for
// its edges, nor is anything computed from pixels.
#pragma once

#include "masks/mask_lanes_cpu.h"
#include "masks/mask_moments.h"
#include "masks/mask_set.h"

namespace ldie::masks {

// The box of what is set, of a mask whose pixels are bytes. It is found from both ends of the memory; between the two,
// what lies right of the box in one row and left of it in the next is one piece, and mostly zero.
inline MaskBox box_of_bytes(const uint8_t* mask, int64_t height, int64_t width) {
  const int64_t begin = first_set(mask, height * width);
  if (begin == height * width) return {};
  const int64_t last = begin + end_of_set(mask + begin, height * width - begin) - 1;
  MaskBox box;
  for (const int64_t at : {begin, last}) box.include({at % width, at / width, at % width + 1, at / width + 1});
  for (int64_t y = box.top; y + 1 < box.bottom; ++y) {
    const uint8_t *const row = mask + y * width, *const next = row + width;
    if (!any_set(row + box.right, width - box.right + box.left)) continue;
    box.right += end_of_set(row + box.right, width - box.right);
    box.left = first_set(next, box.left);
  }
  return box;
}

// From the bytes of packed pixels to these: which of an edge's 8 columns some row of the box reaches.
inline MaskBox box_of_bits(const uint8_t* mask, int64_t row_bytes, const MaskBox& bytes) {
  constexpr uint8_t kLeftmost = 1, kRightmost = 0x80;
  uint8_t left = 0, right = 0;
  for (int64_t y = bytes.top; y < bytes.bottom && !(left & kLeftmost && right & kRightmost); ++y) {
    left |= mask[y * row_bytes + bytes.left];
    right |= mask[y * row_bytes + bytes.right - 1];
  }
  return {8 * bytes.left + lowest_bit(left), bytes.top, 8 * (bytes.right - 1) + highest_bit(right) + 1, bytes.bottom};
}

// Of a mask of a set that is not of runs.
inline MaskBox pixel_box(const MaskSet& set, int64_t n) {
  const uint8_t* const mask = set.mask(n);
  const MaskBox box = box_of_bytes(mask, set.height, set.row_bytes());
  return set.form == MaskForm::dense || box.empty() ? box : box_of_bits(mask, set.row_bytes(), box);
}

}  // namespace ldie::masks
