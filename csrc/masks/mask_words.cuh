// SPDX-License-Identifier: Apache-2.0
// 32 pixels of a mask in global memory as a word. Include it in .cu files.
#pragma once

#include "core/bits.h"
#include "core/simt.cuh"
#include "masks/mask_set.h"

namespace ldie {

constexpr int64_t kLoadBoundary = 16;  // bytes

// The pixels of `count` <= 32 bytes of 0 or 1 as bits.
__device__ inline uint32_t gather_pixels(const uint8_t* pixels, int64_t count) {
  uint32_t word = 0;
  if (count == 32 && reinterpret_cast<uintptr_t>(pixels) % kLoadBoundary == 0) {
    const ulonglong2 low = *reinterpret_cast<const ulonglong2*>(pixels);
    const ulonglong2 high = *reinterpret_cast<const ulonglong2*>(pixels + 16);
    return uint32_t(gather_8_bits(low.x) | gather_8_bits(low.y) << 8 | gather_8_bits(high.x) << 16 |
                    gather_8_bits(high.y) << 24);
  }
  for (int64_t i = 0; i < count;) {
    if (i + 4 <= count && reinterpret_cast<uintptr_t>(pixels + i) % 4 == 0) {
      word |= uint32_t(gather_8_bits(uint64_t(*reinterpret_cast<const uint32_t*>(pixels + i)))) << i;
      i += 4;
    } else {
      word |= uint32_t(pixels[i] != 0) << i;
      ++i;
    }
  }
  return word;
}

__device__ inline uint32_t join_bytes(const uint8_t* bytes, int64_t count) {
  if (count == 4 && reinterpret_cast<uintptr_t>(bytes) % 4 == 0) return *reinterpret_cast<const uint32_t*>(bytes);
  uint32_t word = 0;
  for (int64_t i = 0; i < count; ++i) word |= uint32_t(bytes[i]) << 8 * i;
  return word;
}

// The first 32 pixels, fewer where only `bytes` are left of the row or mask, the missing ones 0.
__device__ inline uint32_t load_word(const uint8_t* source, int64_t bytes, MaskForm form) {
  return form == MaskForm::dense ? gather_pixels(source, min(int64_t(32), bytes))
                                 : join_bytes(source, min(int64_t(4), bytes));
}

}  // namespace ldie
