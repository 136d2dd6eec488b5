// SPDX-License-Identifier: Apache-2.0
// Elementwise loops that move 16 bytes an access. Include it in .cu files.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <type_traits>

#include "core/simt.cuh"

namespace ldie {

template <typename T>
constexpr int kPackWidth = 16 / int(sizeof(T));

template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth) Pack {
  T values[kWidth];
};

template <int kWidth, typename T>
__device__ __forceinline__ Pack<T, kWidth> load_pack(const T* elements, int64_t index) {
  return reinterpret_cast<const Pack<T, kWidth>*>(elements)[index];
}

template <int kWidth, typename T>
__device__ __forceinline__ void store_pack(T* elements, int64_t index, const Pack<T, kWidth>& pack) {
  reinterpret_cast<Pack<T, kWidth>*>(elements)[index] = pack;
}

// The same with one instruction whatever surrounds it, to global memory only. Behind conditions, as of an unrolled
// loop, the compiler takes other stores apart into their elements.
template <int kWidth, typename T>
__device__ __forceinline__ void store_pack_whole(T* elements, int64_t index, const Pack<T, kWidth>& pack) {
  if constexpr (sizeof pack < 8) {
    store_pack(elements, index, pack);
  } else {
    using Word = std::conditional_t<sizeof pack == 8, uint2, uint4>;
    static_assert(sizeof pack == sizeof(Word));
    Word word;
    memcpy(&word, &pack, sizeof word);
    __stwb(reinterpret_cast<Word*>(elements) + index, word);
  }
}

// Zeros from `threads` threads of a block or a grid, of which this is one.
template <typename T>
__device__ __forceinline__ void fill_zeros(T* to, int64_t count, int64_t thread, int64_t threads) {
  constexpr int kWidth = kPackWidth<T>;
  const int64_t packs = reinterpret_cast<uintptr_t>(to) % 16 == 0 ? count / kWidth : 0;
  for (int64_t i = thread; i < packs; i += threads) store_pack<kWidth>(to, i, Pack<T, kWidth>{});
  for (int64_t i = packs * kWidth + thread; i < count; i += threads) to[i] = T(0);
}

// Whether packs can start at all these addresses; a view may begin anywhere.
inline bool packs_fit(std::initializer_list<const void*> addresses) {
  uintptr_t joined = 0;
  for (const void* address : addresses) joined |= reinterpret_cast<uintptr_t>(address);
  return joined % 16 == 0;
}

}  // namespace ldie
