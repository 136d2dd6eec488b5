// SPDX-License-Identifier: Apache-2.0
// CPU: as many numbers as one register holds, by GCC's vector types. The libraries are compiled once per instruction
// set, so the width is known here.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace ldie {

#if defined(__AVX512F__)
constexpr int kLaneBytes = 64;
#elif defined(__AVX2__)
constexpr int kLaneBytes = 32;
#else
constexpr int kLaneBytes = 16;
#endif

template <typename T>
struct LanesOf {
  typedef T type __attribute__((vector_size(kLaneBytes)));
};
template <typename T>
using Lanes = typename LanesOf<T>::type;
template <typename T>
constexpr int64_t kLanes = kLaneBytes / int64_t(sizeof(T));

template <typename T>
inline __attribute__((always_inline)) Lanes<T> load_lanes(const T* address) {
  Lanes<T> lanes;
  std::memcpy(&lanes, address, sizeof lanes);
  return lanes;
}

// The first `count` lanes, each as a T.
template <typename T, typename V>
inline __attribute__((always_inline)) void store_lanes(T* address, const V& lanes, int64_t count) {
  constexpr int64_t kCount = int64_t(sizeof lanes / sizeof lanes[0]);
  if (count == kCount) {
    typedef T Stored __attribute__((vector_size(kCount * sizeof(T))));
    const Stored stored = __builtin_convertvector(lanes, Stored);
    std::memcpy(address, &stored, sizeof stored);
  } else {
    for (int64_t lane = 0; lane < count; ++lane) address[lane] = T(lanes[lane]);
  }
}

template <typename T>
inline __attribute__((always_inline)) Lanes<T> all_lanes(T value) {
  return value - Lanes<T>{};
}

// The lanes of even number, or of odd number, of two registers side by side.
template <int kOdd, typename V, int... kLane>
inline __attribute__((always_inline)) V every_second_lane(const V& a, const V& b,
                                                          std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, (2 * kLane + kOdd)...);
}
template <typename T>
inline __attribute__((always_inline)) Lanes<T> even_lanes(const Lanes<T>& a, const Lanes<T>& b) {
  return every_second_lane<0>(a, b, std::make_integer_sequence<int, int(kLanes<T>)>());
}
template <typename T>
inline __attribute__((always_inline)) Lanes<T> odd_lanes(const Lanes<T>& a, const Lanes<T>& b) {
  return every_second_lane<1>(a, b, std::make_integer_sequence<int, int(kLanes<T>)>());
}

// a * b + c in each lane, in one rounding where the machine has the instruction: mul_add of core/fast_math.h.
inline __attribute__((always_inline)) Lanes<float> mul_add(const Lanes<float>& a, const Lanes<float>& b,
                                                           const Lanes<float>& c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__) && defined(__FMA__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

inline __attribute__((always_inline)) Lanes<double> mul_add(const Lanes<double>& a, const Lanes<double>& b,
                                                            const Lanes<double>& c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_pd(a, b, c);
#elif defined(__AVX2__) && defined(__FMA__)
  return _mm256_fmadd_pd(a, b, c);
#else
  return a * b + c;
#endif
}

// Whether any bit is set: a comparison is true in some lane.
template <typename Mask>
inline __attribute__((always_inline)) bool any_lane(const Mask& mask) {
  static_assert(sizeof(Mask) == kLaneBytes);
#if defined(__AVX512F__)
  return _mm512_test_epi64_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
  return _mm256_testz_si256((__m256i)mask, (__m256i)mask) == 0;
#elif defined(__SSE2__)
  return _mm_movemask_epi8(_mm_cmpeq_epi8((__m128i)mask, _mm_setzero_si128())) != 0xffff;
#else
  uint64_t words[2];
  std::memcpy(words, &mask, sizeof words);
  return (words[0] | words[1]) != 0;
#endif
}

}  // namespace ldie
