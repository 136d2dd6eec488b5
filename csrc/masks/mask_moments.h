// SPDX-License-Identifier: Apache-2.0
// Where the pixels of a mask lie: their box, their number and the sums of their coordinates, all integers.
#pragma once

#include "masks/mask_set.h"

namespace ldie::masks {

LDIE_HD int64_t count_bits(uint64_t bits) {
#if defined(__CUDA_ARCH__)
  return __popcll(bits);
#else
  return __builtin_popcountll(bits);
#endif
}

// Of bits that are not all 0.
LDIE_HD int64_t lowest_bit(uint64_t bits) {
#if defined(__CUDA_ARCH__)
  return __ffsll(int64_t(bits)) - 1;
#else
  return __builtin_ctzll(bits);
#endif
}
LDIE_HD int64_t highest_bit(uint64_t bits) {
#if defined(__CUDA_ARCH__)
  return 63 - __clzll(int64_t(bits));
#else
  return 63 - __builtin_clzll(bits);
#endif
}

struct CountBits {
  LDIE_HD uint64_t operator()(uint64_t bits) const { return uint64_t(count_bits(bits)); }
};

// The sum of the places of all ones: those whose place has binary digit k, times 2^k. V may be a vector of words.
template <typename V, typename Count>
LDIE_HD V sum_of_places(const V& bits, const Count& count) {
  return count(bits & 0xaaaaaaaaaaaaaaaau) + 2 * count(bits & 0xccccccccccccccccu) +
         4 * count(bits & 0xf0f0f0f0f0f0f0f0u) + 8 * count(bits & 0xff00ff00ff00ff00u) +
         16 * count(bits & 0xffff0000ffff0000u) + 32 * count(bits >> 32);
}

struct MaskMoments {
  MaskBox box;
  int64_t area = 0, sum_x = 0, sum_y = 0;

  // 64 pixels of row y, from column x on.
  LDIE_HD void add(uint64_t bits, int64_t x, int64_t y) {
    if (bits == 0) return;
    const int64_t count = count_bits(bits);
    box.include({x + lowest_bit(bits), y, x + highest_bit(bits) + 1, y + 1});
    area += count;
    sum_x += count * x + int64_t(sum_of_places(bits, CountBits()));
    sum_y += count * y;
  }

  LDIE_HD void add(const MaskMoments& other) {
    box.include(other.box);
    area += other.area;
    sum_x += other.sum_x;
    sum_y += other.sum_y;
  }
};

}  // namespace ldie::masks
