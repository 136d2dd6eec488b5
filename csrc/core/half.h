// SPDX-License-Identifier: Apache-2.0
// 16-bit storage types. They convert to and from float and do no arithmetic of their own: kernels load a Half or a
// BFloat16, compute in acc_t<T> and round once on the way out (round to nearest even, as PyTorch does).
#pragma once

#include <cstdint>
#include <cstring>

#include "core/hd.h"
#if defined(__CUDACC__)
#include <cuda_fp16.h>
#endif

namespace ldie {

LDIE_HD uint32_t float_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

LDIE_HD float bits_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

struct BFloat16 {
  uint16_t bits;

  BFloat16() = default;
  LDIE_HD BFloat16(float value) {  // NOLINT: implicit, so that stores read like stores
    const uint32_t u = float_bits(value);
    const bool is_nan = (u & 0x7fffffffu) > 0x7f800000u;
    bits = is_nan ? uint16_t(0x7fc0u) : uint16_t((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
  LDIE_HD operator float() const { return bits_float(uint32_t(bits) << 16); }  // NOLINT
};

struct Half {
  uint16_t bits;

  Half() = default;
#if defined(__CUDA_ARCH__)
  LDIE_HD Half(float value) : bits(__half_as_ushort(__float2half_rn(value))) {}    // NOLINT
  LDIE_HD operator float() const { return __half2float(__ushort_as_half(bits)); }  // NOLINT
#else
  // The host has no portable fp16 type: rescale by powers of two and let the FPU round.
  LDIE_HD Half(float value) {  // NOLINT
    const uint32_t u = float_bits(value), sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
      bits = uint16_t(sign | 0x7e00u);
    } else if (magnitude >= 0x477ff000u) {  // rounds to 65536 or more
      bits = uint16_t(sign | 0x7c00u);
    } else if (magnitude < 0x38800000u) {  // subnormal in fp16: adding 0.5 leaves the rounded mantissa in the low bits
      bits = uint16_t(sign | (float_bits(bits_float(magnitude) + 0.5f) - 0x3f000000u));
    } else {
      bits = uint16_t(sign | ((magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13));
    }
  }
  LDIE_HD operator float() const {  // NOLINT
    const uint32_t sign = uint32_t(bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
    if (magnitude >= 0x7c00u) return bits_float(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    const float scaled = bits_float(magnitude << 13) * bits_float(0x77800000u);  // times 2^112 restores the exponent
    return bits_float(sign | float_bits(scaled));
  }
#endif
};

static_assert(sizeof(Half) == 2 && sizeof(BFloat16) == 2, "these overlay PyTorch's 16-bit elements");

// The type to compute and accumulate in: float for 16-bit storage.
template <typename T>
struct Accumulate {
  using type = float;
};
template <>
struct Accumulate<double> {
  using type = double;
};
template <typename T>
using acc_t = typename Accumulate<T>::type;

}  // namespace ldie
