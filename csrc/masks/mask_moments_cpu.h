// SPDX-License-Identifier: Apache-2.0
// Moments of masks on the CPU.
#pragma once

#include "masks/mask_moments.h"
#include "masks/mask_set_cpu.h"

namespace ldie::masks {

// Of words below each other, whole registers of them, the first of pixels from (x, y) on.
inline MaskMoments moments_of_words(const uint64_t* words, int64_t rows, int64_t x, int64_t y) {
  constexpr int64_t kCount = kLanes<uint64_t>;
  Lanes<uint64_t> row, any{}, pixels{}, places{}, depths{};
  for (int64_t lane = 0; lane < kCount; ++lane) row[lane] = uint64_t(lane);
  for (int64_t i = 0; i < rows; i += kCount, row += uint64_t(kCount)) {
    const Lanes<uint64_t> bits = load_lanes(words + i), count = count_lane_bits(bits);
    any |= bits;
    pixels += count;
    depths += count * row;
    places += sum_of_places(bits, count_lane_bits);
  }
  uint64_t columns = 0;
  MaskMoments moments;
  for (int64_t lane = 0; lane < kCount; ++lane) {
    columns |= any[lane];
    moments.area += int64_t(pixels[lane]);
    moments.sum_x += int64_t(places[lane]);
    moments.sum_y += int64_t(depths[lane]);
  }
  if (columns == 0) return {};
  moments.sum_x += moments.area * x;
  moments.sum_y += moments.area * y;
  int64_t top = 0, bottom = rows;
  while (words[top] == 0) ++top;
  while (words[bottom - 1] == 0) --bottom;
  moments.box = {x + lowest_bit(columns), y + top, x + highest_bit(columns) + 1, y + bottom};
  return moments;
}

inline MaskMoments moments_of(const CroppedMask& mask) {
  MaskMoments moments;
  for (int64_t column = mask.first; column < mask.end; ++column) {
    moments.add(moments_of_words(mask.word(mask.top, column), mask.rows(), 64 * column, mask.top));
  }
  return moments;
}

// Calls use(mask, its moments), over threads.
template <typename Use>
void for_each_moments(const MaskSet& set, const Use& use) {
  parallel_for(set.count, masks_per_task(set), [&](int64_t begin, int64_t end) {
    MaskCropper cropper(set);
    for (int64_t n = begin; n < end; ++n) use(n, moments_of(cropper.crop(n)));
  });
}

}  // namespace ldie::masks
