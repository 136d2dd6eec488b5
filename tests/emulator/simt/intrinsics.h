// SPDX-License-Identifier: Apache-2.0
// Device functions without a partner thread: bits, conversions, rounding, fast math, cached loads.
#pragma once

#include <math.h>

#include <cmath>
#include <limits>
#include <type_traits>

#include "simt/engine.h"

template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  return b < a ? b : a;
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  return a < b ? b : a;
}

// ---- bits
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64; }
inline unsigned long long __brevll(unsigned long long x) {
  unsigned long long reversed = 0;
  for (int bit = 0; bit < 64; ++bit) reversed |= (x >> bit & 1) << (63 - bit);
  return reversed;
}
inline unsigned __brev(unsigned x) { return static_cast<unsigned>(__brevll(x) >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline int __float_as_int(float x) { return simt::from_bits<int>(simt::to_bits(x)); }
inline unsigned __float_as_uint(float x) { return simt::from_bits<unsigned>(simt::to_bits(x)); }
inline float __int_as_float(int x) { return simt::from_bits<float>(simt::to_bits(x)); }
inline float __uint_as_float(unsigned x) { return simt::from_bits<float>(simt::to_bits(x)); }
inline long long __double_as_longlong(double x) { return simt::from_bits<long long>(simt::to_bits(x)); }
inline double __longlong_as_double(long long x) { return simt::from_bits<double>(simt::to_bits(x)); }

// ---- conversions: _rn to nearest even, _rz toward zero, _rd down, _ru up; out of range saturates, NaN gives 0
namespace simt {
template <class Integer, class Real>
Integer saturating_cast(Real x) {
  using Limits = std::numeric_limits<Integer>;
  if (isnan(x)) return 0;
  if (x >= std::ldexp(Real(1), Limits::digits)) return Limits::max();
  if (x <= static_cast<Real>(Limits::min())) return Limits::min();
  return static_cast<Integer>(x);
}
}  // namespace simt
#define SIMT_TO_INTEGER(Real, real, Integer, name)                                                            \
  inline Integer __##real##2##name##_rn(Real x) { return simt::saturating_cast<Integer>(std::nearbyint(x)); } \
  inline Integer __##real##2##name##_rz(Real x) { return simt::saturating_cast<Integer>(std::trunc(x)); }     \
  inline Integer __##real##2##name##_rd(Real x) { return simt::saturating_cast<Integer>(std::floor(x)); }     \
  inline Integer __##real##2##name##_ru(Real x) { return simt::saturating_cast<Integer>(std::ceil(x)); }
SIMT_TO_INTEGER(float, float, int, int)
SIMT_TO_INTEGER(float, float, unsigned, uint)
SIMT_TO_INTEGER(float, float, long long, ll)
SIMT_TO_INTEGER(double, double, int, int)
SIMT_TO_INTEGER(double, double, unsigned, uint)
SIMT_TO_INTEGER(double, double, long long, ll)
#undef SIMT_TO_INTEGER
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline float __ll2float_rn(long long x) { return static_cast<float>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }

// ---- arithmetic with the rounding written out, which no compiler may fuse
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }

// ---- fast math: at least as exact as on a GPU, so compare with tolerances
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __log2f(float x) { return std::log2(x); }
inline float __powf(float x, float y) { return std::pow(x, y); }
inline float __sinf(float x) { return std::sin(x); }
inline float __cosf(float x) { return std::cos(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return x >= 0.0f ? (x <= 1.0f ? x : 1.0f) : 0.0f; }

// ---- loads and stores with cache hints
template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T __ldcs(const T* address) {
  return *address;
}
template <class T>
T __ldcg(const T* address) {
  return *address;
}
template <class T>
void __stwb(T* address, std::type_identity_t<T> value) {
  *address = value;
}
template <class T>
void __stcs(T* address, std::type_identity_t<T> value) {
  *address = value;
}
template <class T>
void __stcg(T* address, std::type_identity_t<T> value) {
  *address = value;
}
