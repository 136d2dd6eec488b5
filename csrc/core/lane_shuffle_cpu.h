// SPDX-License-Identifier: Apache-2.0
// CPU: a register at a time - the fused multiply-add, loads and stores of 16-bit elements, and picking numbers out of a
// row that is held in registers.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/fast_math.h"
#include "core/lanes_cpu.h"

namespace ldie {

// The integer of a number's size, which is what a shuffle takes for its indices.
template <typename A>
using LaneIndex = std::conditional_t<sizeof(A) == 8, int64_t, int32_t>;

// Rows of up to this many registers are picked from by shuffles; there are none worth using before AVX2.
#if defined(__AVX2__)
constexpr int kShuffledRegisters = 4;
#else
constexpr int kShuffledRegisters = 0;
#endif

// A register of acc_t<T> from as many elements.
template <typename T>
inline __attribute__((always_inline)) Lanes<acc_t<T>> load_wide(const T* address) {
  if constexpr (std::is_same_v<T, acc_t<T>>) {
    return load_lanes(address);
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    typedef uint16_t Narrow __attribute__((vector_size(kLaneBytes / 2)));
    Narrow bits;
    std::memcpy(&bits, address, sizeof bits);
    return (Lanes<float>)(__builtin_convertvector(bits, Lanes<uint32_t>) << 16);
  } else {
#if defined(__AVX512F__)
    return _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(address)));
#elif defined(__AVX2__) && defined(__F16C__)
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(address)));
#else
    Lanes<float> lanes;
    for (int64_t i = 0; i < kLanes<float>; ++i) lanes[i] = address[i];
    return lanes;
#endif
  }
}

template <typename T>
inline __attribute__((always_inline)) void store_narrow(T* address, const Lanes<acc_t<T>>& lanes) {
  if constexpr (std::is_same_v<T, acc_t<T>>) {
    std::memcpy(address, &lanes, sizeof lanes);
  } else {
    for (int64_t i = 0; i < kLanes<float>; ++i) address[i] = T(lanes[i]);
  }
}

// row[index[lane]] for each lane, of a row of kRegisters registers.
template <int kRegisters, typename A>
inline __attribute__((always_inline)) Lanes<A> pick(const Lanes<A>* row, const Lanes<LaneIndex<A>>& index) {
  static_assert(kRegisters >= 1 && kRegisters <= 4);
  if constexpr (kRegisters == 1) {
    return __builtin_shuffle(row[0], index);
  } else {
    const Lanes<A> low = __builtin_shuffle(row[0], row[1], index);
    if constexpr (kRegisters == 2) return low;
    const Lanes<A> high = __builtin_shuffle(row[2], row[kRegisters - 1], index);
    return index < LaneIndex<A>(2 * kLanes<A>) ? low : high;
  }
}

}  // namespace ldie
