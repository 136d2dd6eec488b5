// SPDX-License-Identifier: Apache-2.0
// exp, log and the logistic family for loops over millions of elements. The float forms are straight-line polynomials
// that a compiler vectorises, as it cannot std::exp; the double forms are the standard library's.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/half.h"
#include "core/hd.h"
#include "core/limits.h"

namespace ldie {

// a * b + c, in one rounding where the machine has the instruction (a call of std::fma would cost more than it gains).
LDIE_HD float mul_add(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#elif defined(__FMA__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

LDIE_HD double mul_add(double a, double b, double c) {
#if defined(__CUDA_ARCH__)
  return __fma_rn(a, b, c);
#elif defined(__FMA__)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

// Within 2 ulp of e^x for -87 <= x <= 88; 0 below, so that e^x times a huge x vanishes, and e^88 above. NaN stays NaN.
LDIE_HD float fast_exp(float x) {
  const float clamped = x < -87.f ? -87.f : x > 88.f ? 88.f : x;
#if defined(__CUDA_ARCH__)
  const float result = expf(clamped);  // an instruction of its own does the work here
#else
  // x = n ln 2 + r with |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to the integer n and leaves it in the low bits. ln 2
  // is split in two so that n times the first part is exact.
  constexpr float kShift = 12582912.f, kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  const float shifted = mul_add(clamped, kLog2E, kShift), n = shifted - kShift;
  const float r = mul_add(n, -kLn2Low, mul_add(n, -kLn2High, clamped));
  float p = 1.38145965e-3f;  // (e^r - 1 - r) / r^2, least maximal relative error of e^r
  p = mul_add(p, r, 8.36871751e-3f);
  p = mul_add(p, r, 4.16683890e-2f);
  p = mul_add(p, r, 0.166665211f);
  p = mul_add(p, r, 0.499999940f);
  const float power = bits_float((float_bits(shifted) << 23) + 0x3f800000u);  // 2^n
  const float result = mul_add(p, r * r, r + 1.f) * power;
#endif
  return x < -87.f ? 0.f : result;
}

LDIE_HD double fast_exp(double x) { return std::exp(x); }

// Within 1 ulp of log x, subnormal x too; -inf for 0, NaN below.
LDIE_HD float fast_log(float x) {
#if defined(__CUDA_ARCH__)
  return logf(x);
#else
  // x = m 2^n with m in [sqrt(1/2), sqrt(2)), found in the bits of x; f = m - 1.
  constexpr float kLeastNormal = 1.17549435e-38f, kScale = 8388608.f, kLn2High = 0.693359375f,
                  kLn2Low = -2.12194440e-4f;
  constexpr uint32_t kRootOfHalf = 0x3f3504f3u;
  const bool subnormal = x < kLeastNormal;
  const uint32_t bits = float_bits(subnormal ? x * kScale : x);
  const int32_t exponent = int32_t(bits - kRootOfHalf) >> 23;  // of an x below 0 it is any number, and not used
  const float n = float(exponent) - (subnormal ? 23.f : 0.f);
  const float f = bits_float(bits - (uint32_t(exponent) << 23)) - 1.f;
  float p = -0.0763449669f;  // (log(1 + f) - f + f^2 / 2) / f^3, least maximal relative error of log(1 + f)
  p = mul_add(p, f, 0.127615765f);
  p = mul_add(p, f, -0.131601825f);
  p = mul_add(p, f, 0.142017573f);
  p = mul_add(p, f, -0.166233569f);
  p = mul_add(p, f, 0.200012267f);
  p = mul_add(p, f, -0.250008196f);
  p = mul_add(p, f, 0.333333313f);
  const float tail = mul_add(n, kLn2Low, mul_add(-0.5f, f * f, p * f * f * f));
  const float finite = mul_add(n, kLn2High, f + tail);
  const float positive = x < kInfinite<float> ? finite : x;  // and NaN stays NaN
  return x > 0.f ? positive : x == 0.f ? -kInfinite<float> : kNotANumber<float>;
#endif
}

LDIE_HD double fast_log(double x) { return std::log(x); }

// log(1 + e) for 0 <= e <= 1, within 2 ulp.
LDIE_HD float log1p_unit(float e) {
  float p = -3.31842015e-3f;  // (log(1 + e) - e) / e^2, least maximal relative error of log(1 + e)
  p = mul_add(p, e, 2.02043485e-2f);
  p = mul_add(p, e, -5.76640032e-2f);
  p = mul_add(p, e, 0.106805108f);
  p = mul_add(p, e, -0.153553694f);
  p = mul_add(p, e, 0.196953923f);
  p = mul_add(p, e, -0.249585852f);
  p = mul_add(p, e, 0.333305120f);
  p = mul_add(p, e, -0.499999315f);
  return mul_add(p, e * e, e);
}

LDIE_HD double log1p_unit(double e) { return std::log1p(e); }

// 1 / x for normal x well inside the range of float.
LDIE_HD float fast_reciprocal(float x) {
#if defined(__CUDA_ARCH__)
  return __fdividef(1.f, x);
#else
  return 1.f / x;
#endif
}

LDIE_HD double fast_reciprocal(double x) { return 1.0 / x; }

// What the losses on logits need, from one exponential; nothing overflows or cancels for any finite x.
template <typename A>
struct Logistic {
  A p;     // 1 / (1 + e^-x)
  A q;     // 1 - p
  A tail;  // log(1 + e^-|x|); -log q = max(x, 0) + tail and -log p = max(-x, 0) + tail
};

// The exponential, e^-|x|.
template <typename A>
LDIE_HD A exp_minus_abs(A x) {
  return fast_exp(x > A(0) ? -x : x);
}

template <typename A>
LDIE_HD Logistic<A> logistic(A x, A exp_minus_abs_x) {
  const bool positive = x > A(0);
  const A larger = fast_reciprocal(A(1) + exp_minus_abs_x), smaller = exp_minus_abs_x * larger;
  return {positive ? larger : smaller, positive ? smaller : larger, log1p_unit(exp_minus_abs_x)};
}

}  // namespace ldie
