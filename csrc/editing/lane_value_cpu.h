// SPDX-License-Identifier: Apache-2.0
// CPU: lanes of numbers as the values of a formula, and sums of a gradient that are kept lane by lane.
#pragma once

#include "core/lane_shuffle_cpu.h"
#include "editing/curve_operators.h"
#include "editing/value.h"

namespace ldie::editing {

template <typename A>
struct LaneValue {
  using Number = A;
  using Index = Lanes<LaneIndex<A>>;

  static inline __attribute__((always_inline)) Index truncated(const Lanes<A>& value) {
    return __builtin_convertvector(value, Index);
  }

  // By the instructions: of a comparison with a constant and a choice the compiler does not make them.
  static inline __attribute__((always_inline)) Lanes<A> minimum(const Lanes<A>& a, const Lanes<A>& b) {
#if defined(__AVX512F__)
    if constexpr (sizeof(A) == 4) return _mm512_maskz_min_ps(0xffff, b, a);
    if constexpr (sizeof(A) == 8) return _mm512_maskz_min_pd(0xff, b, a);
#elif defined(__AVX2__)
    if constexpr (sizeof(A) == 4) return _mm256_min_ps(b, a);
    if constexpr (sizeof(A) == 8) return _mm256_min_pd(b, a);
#else
    return ldie::minimum(a, b);
#endif
  }

  // Numbers from 0 on are ordered as the integers of their bits are, and integers have units of their own.
  static inline __attribute__((always_inline)) Lanes<A> clamp_unit(const Lanes<A>& value) {
    const Lanes<A> none{}, one = all_lanes(A(1));
#if defined(__AVX512F__)
    if constexpr (sizeof(A) == 4) {
      const __m512i low = (__m512i)_mm512_maskz_max_ps(0xffff, value, none);
      return (Lanes<A>)_mm512_maskz_min_epi32(0xffff, low, (__m512i)one);
    }
    if constexpr (sizeof(A) == 8) return _mm512_maskz_min_pd(0xff, _mm512_maskz_max_pd(0xff, value, none), one);
#elif defined(__AVX2__)
    if constexpr (sizeof(A) == 4) {
      return (Lanes<A>)_mm256_min_epi32((__m256i)_mm256_max_ps(value, none), (__m256i)one);
    }
    if constexpr (sizeof(A) == 8) return _mm256_min_pd(_mm256_max_pd(value, none), one);
#else
    return ldie::minimum(maximum(none, value), one);
#endif
  }

  static inline __attribute__((always_inline)) Lanes<A> square_root(const Lanes<A>& value) {
#if defined(__AVX512F__)
    if constexpr (sizeof(A) == 4) return _mm512_maskz_sqrt_ps(0xffff, value);
    if constexpr (sizeof(A) == 8) return _mm512_maskz_sqrt_pd(0xff, value);
#elif defined(__AVX2__)
    if constexpr (sizeof(A) == 4) return _mm256_sqrt_ps(value);
    if constexpr (sizeof(A) == 8) return _mm256_sqrt_pd(value);
#else
    Lanes<A> root;
    for (int64_t lane = 0; lane < kLanes<A>; ++lane) root[lane] = std::sqrt(A(value[lane]));
    return root;
#endif
  }

  // Of a row in registers, where there are shuffles for it. (A register may hold more than the row: the row after it.)
  static inline __attribute__((always_inline)) Lanes<A> entry(const A* row, const Index& index) {
    constexpr int kRegisters = kPieces > kLanes<A> ? int(kPieces / kLanes<A>) : 1;
    if constexpr (kRegisters <= kShuffledRegisters && kPieces >= kLanes<A>) {
      Lanes<A> registers[kRegisters];
      for (int i = 0; i < kRegisters; ++i) registers[i] = load_lanes(row + i * kLanes<A>);
      return pick<kRegisters, A>(registers, index);
    } else if constexpr (kPieces * 2 == kLanes<A>) {
      typedef A Half __attribute__((vector_size(kLaneBytes / 2)));
      Half half;
      std::memcpy(&half, row, sizeof half);
      return __builtin_shuffle(__builtin_shufflevector(half, half, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7),
                               index);
    } else {
      Lanes<A> picked;
      for (int64_t lane = 0; lane < kLanes<A>; ++lane) picked[lane] = row[index[lane]];
      return picked;
    }
  }
};

template <>
struct Value<Lanes<float>> : LaneValue<float> {};
template <>
struct Value<Lanes<double>> : LaneValue<double> {};

template <typename A>
struct LaneSums {
  Lanes<A>* values;

  inline __attribute__((always_inline)) void add(int slot, const Lanes<A>& value) const { values[slot] += value; }

  // As the sums of grad min(8 v, 1) .. grad min(8 v, 8), from the parts' slot on: end_curve() takes their differences.
  inline __attribute__((always_inline)) void add_piece(int slot, const typename LaneValue<A>::Index&,
                                                       const Lanes<A>& scaled, const Lanes<A>& grad) const {
    for (int i = 0; i < kPieces; ++i) {
      const Lanes<A> height = i + 1 < kPieces ? LaneValue<A>::minimum(scaled, all_lanes(A(i + 1))) : scaled;
      values[slot + kPieces + i] = mul_add(grad, height, values[slot + kPieces + i]);
    }
  }

  // Then each piece's part counts the pixels in later pieces too, and no piece has a whole.
  inline __attribute__((always_inline)) void end_curve(int slot) const {
    for (int i = kPieces - 1; i > 0; --i) values[slot + kPieces + i] -= values[slot + kPieces + i - 1];
  }
};

}  // namespace ldie::editing
