// SPDX-License-Identifier: Apache-2.0
// Masks a register or more at a time: where bytes are not zero (searches end where they find something), bytes of 0 or
// 1 as bits, and the number of bits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/bits_cpu.h"
#include "core/lanes_cpu.h"
#include "masks/mask_moments.h"

namespace ldie::masks {

constexpr int64_t kWordBytes = 8;
constexpr int64_t kBlockBytes = 4 * kLaneBytes;  // that one branch is for

// A copy of known size is one instruction.
inline uint64_t load_whole_word(const uint8_t* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, kWordBytes);
  return word;
}
// What is beyond the bytes is 0.
inline uint64_t load_word(const uint8_t* bytes, int64_t count) {
  if (count >= kWordBytes) return load_whole_word(bytes);
  uint64_t word = 0;
  std::memcpy(&word, bytes, size_t(count));
  return word;
}

// 64 bytes of 0 or 1 to the bits of a word.
inline uint64_t gather_64_bits(const uint8_t* bytes) {
  uint64_t word = 0;
#if defined(__AVX512BW__)
  const __m512i own = _mm512_loadu_si512(bytes);
  word = _mm512_test_epi8_mask(own, own);
#elif defined(__AVX2__)
  for (int64_t i = 0; i < 64; i += 32) {
    const __m256i own = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + i));
    word |= uint64_t(uint32_t(_mm256_movemask_epi8(_mm256_slli_epi16(own, 7)))) << i;  // each byte's bit 0 to its top
  }
#else
  for (int64_t i = 0; i < 64; i += 8) word |= gather_8_bits(load_whole_word(bytes + i)) << i;
#endif
  return word;
}
// The same of fewer; what is beyond them is 0.
inline uint64_t gather_word(const uint8_t* bytes, int64_t count) {
  if (count >= 64) return gather_64_bits(bytes);
  uint64_t word = 0;
  for (int64_t i = 0; i < count; i += 8) word |= gather_8_bits(load_word(bytes + i, count - i)) << i;
  return word;
}

// Of each lane. Half bytes are looked up, as AVX-512 has no count of its own before VPOPCNTDQ.
inline Lanes<uint64_t> count_lane_bits(const Lanes<uint64_t>& bits) {
#if defined(__AVX512BW__)
  const __m512i low = _mm512_set1_epi8(15), own = (__m512i)bits;
  const __m512i counts =
      _mm512_maskz_broadcast_i32x4(0xffff, _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m512i of_low = _mm512_shuffle_epi8(counts, _mm512_and_si512(own, low));
  const __m512i of_high = _mm512_shuffle_epi8(counts, _mm512_and_si512(_mm512_srli_epi16(own, 4), low));
  return (Lanes<uint64_t>)_mm512_sad_epu8(_mm512_add_epi8(of_low, of_high), _mm512_setzero_si512());
#elif defined(__AVX2__)
  const __m256i low = _mm256_set1_epi8(15), own = (__m256i)bits;
  const __m256i counts = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m256i of_low = _mm256_shuffle_epi8(counts, _mm256_and_si256(own, low));
  const __m256i of_high = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(own, 4), low));
  return (Lanes<uint64_t>)_mm256_sad_epu8(_mm256_add_epi8(of_low, of_high), _mm256_setzero_si256());
#else
  Lanes<uint64_t> counts;
  for (int64_t lane = 0; lane < kLanes<uint64_t>; ++lane) counts[lane] = uint64_t(count_bits(bits[lane]));
  return counts;
#endif
}

inline bool any_set_in_block(const uint8_t* bytes) {
  const auto part = [bytes](int64_t i) { return load_lanes(bytes + i * kLaneBytes); };
  return any_lane((part(0) | part(1)) | (part(2) | part(3)));
}

// How many bytes from an address on, or before it, lie outside of whole registers of aligned memory: loads across cache
// lines take twice as long.
inline int64_t before_aligned(const uint8_t* address) {
  return int64_t(-reinterpret_cast<uintptr_t>(address) % uintptr_t(kLaneBytes));
}
inline int64_t behind_aligned(const uint8_t* address) {
  return int64_t(reinterpret_cast<uintptr_t>(address) % uintptr_t(kLaneBytes));
}

inline bool any_set(const uint8_t* bytes, int64_t count) {
  if (count < kLaneBytes) {
    uint64_t any = 0;
    for (int64_t at = 0; at < count; at += kWordBytes) any |= load_word(bytes + at, count - at);
    return any != 0;
  }
  if (any_lane(load_lanes(bytes) | load_lanes(bytes + count - kLaneBytes))) return true;
  int64_t at = before_aligned(bytes);
  for (; at + kBlockBytes <= count; at += kBlockBytes) {
    if (any_set_in_block(bytes + at)) return true;
  }
  for (; at + kLaneBytes <= count; at += kLaneBytes) {
    if (any_lane(load_lanes(bytes + at))) return true;
  }
  return false;
}

// The first byte that is not 0; `count` when there is none.
inline int64_t first_set(const uint8_t* bytes, int64_t count) {
  int64_t at = count >= kLaneBytes && !any_lane(load_lanes(bytes)) ? before_aligned(bytes) : 0;
  while (at + kBlockBytes <= count && !any_set_in_block(bytes + at)) at += kBlockBytes;
  for (; at < count; at += kWordBytes) {
    const uint64_t word = load_word(bytes + at, count - at);
    if (word != 0) return at + lowest_bit(word) / 8;
  }
  return count;
}

// One beyond the last byte that is not 0; 0 when there is none.
inline int64_t end_of_set(const uint8_t* bytes, int64_t count) {
  int64_t end = count;
  if (count >= kLaneBytes && !any_lane(load_lanes(bytes + count - kLaneBytes))) end -= behind_aligned(bytes + count);
  while (end >= kBlockBytes && !any_set_in_block(bytes + end - kBlockBytes)) end -= kBlockBytes;
  for (; end > 0; end -= kWordBytes) {
    const int64_t begin = std::max<int64_t>(0, end - kWordBytes);
    const uint64_t word = load_word(bytes + begin, end - begin);
    if (word != 0) return begin + highest_bit(word) / 8 + 1;
  }
  return 0;
}

}  // namespace ldie::masks
