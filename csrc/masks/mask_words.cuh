// SPDX-License-Identifier: Apache-2.0
// 32 pixels of a mask in global memory as a word. Include it in .cu files.
#pragma once

#include "masks/band.cuh"
#include "masks/mask_set.h"

namespace ldie::masks {

// The pixels of `count` <= 32 bytes of 0 or 1 as bits.
__device__ inline uint32_t gather_pixels(const uint8_t* pixels, int64_t count) {
  uint32_t word = 0;
  for (int64_t i = 0; i < count; ++i) word |= uint32_t(pixels[i] != 0) << i;
  return word;
}

__device__ inline uint32_t join_bytes(const uint8_t* bytes, int64_t count) {
  uint32_t word = 0;
  for (int64_t i = 0; i < count; ++i) word |= uint32_t(bytes[i]) << 8 * i;
  return word;
}

// 32 pixels of bytes from `at` on, which may lie anywhere: the aligned slots that hold them are read.
__device__ inline uint32_t gather_whole(const uint8_t* at) {
  const int before = slot_offset(at);
  const uint4* const slots = reinterpret_cast<const uint4*>(at - before);
  const uint64_t low = gather_16_bits(slots[0]), middle = gather_16_bits(slots[1]);
  const uint64_t high = before == 0 ? 0 : gather_16_bits(slots[2]);
  return uint32_t((high << 32 | middle << 16 | low) >> before);
}

// The same of packed pixels.
__device__ inline uint32_t join_whole(const uint8_t* at) {
  const int before = int(reinterpret_cast<uintptr_t>(at) % 4);
  const uint32_t* const words = reinterpret_cast<const uint32_t*>(at - before);
  const uint64_t high = before == 0 ? 0 : words[1];
  return uint32_t((high << 32 | words[0]) >> 8 * before);
}

// Up to 32 pixels from byte `begin` of a mask on, those beyond its end 0.
__device__ inline uint32_t load_word(const uint8_t* mask, int64_t begin, int64_t bytes, MaskForm form) {
  const uint8_t* const at = mask + begin;
  const int64_t size = form == MaskForm::dense ? 32 : 4, boundary = form == MaskForm::dense ? kSlot : 4;
  const int64_t before = int64_t(reinterpret_cast<uintptr_t>(at) % uintptr_t(boundary));
  const bool whole = begin >= before && begin + size + (before == 0 ? 0 : boundary - before) <= bytes;
  if (form == MaskForm::dense) return whole ? gather_whole(at) : gather_pixels(at, min(size, bytes - begin));
  return whole ? join_whole(at) : join_bytes(at, min(size, bytes - begin));
}

}  // namespace ldie::masks
