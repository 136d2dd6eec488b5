// SPDX-License-Identifier: Apache-2.0
// Moments of masks on the CPU.
#pragma once

#include "masks/mask_moments.h"
#include "masks/mask_set_cpu.h"

namespace ldie::masks {

inline MaskMoments moments_of(const CroppedMask& mask) {
  MaskMoments moments;
  for (int64_t column = mask.first; column < mask.end; ++column) {
    const uint64_t* const words = mask.word(mask.top, column);
    for (int64_t i = 0; i < mask.rows(); ++i) moments.add(words[i], 64 * column, mask.top + i);
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
