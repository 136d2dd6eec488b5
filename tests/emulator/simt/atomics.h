// SPDX-License-Identifier: Apache-2.0
// Atomics. Threads of the emulator are never pre-empted, so plain read-modify-write is atomic; the race checker is
// told of it as one atomic access.
#pragma once

#include <concepts>

#include "simt/engine.h"

namespace simt {

template <class T>
concept AtomicInteger = std::integral<T> && (sizeof(T) == 4 || sizeof(T) == 8);
template <class T>
concept AtomicUnsigned = std::same_as<T, unsigned>;
template <class T>
concept AtomicNumber = AtomicInteger<T> || std::same_as<T, float> || std::same_as<T, double>;

#if defined(SIMT_RACE)
#define SIMT_ONE_ACCESS __attribute__((no_sanitize("thread"), noinline))
#else
#define SIMT_ONE_ACCESS
#endif
template <class T, class Update>
SIMT_ONE_ACCESS T read_modify_write(T* address, Update update) {
#if defined(SIMT_RACE)
  note_atomic(address, sizeof(T), __builtin_return_address(0));
#endif
  const T old = *address;
  *address = update(old);
  return old;
}
#undef SIMT_ONE_ACCESS

// Integer sums wrap on a GPU; through unsigned they do so without undefined behaviour here.
template <class T>
T wrapping_add(T a, T b) {
  if constexpr (std::integral<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
  } else {
    return a + b;
  }
}
template <class T>
using Same = std::type_identity_t<T>;  // let the pointer alone decide the type, as CUDA's overloads do

}  // namespace simt

template <simt::AtomicNumber T>
T atomicAdd(T* p, simt::Same<T> v) {
  return simt::read_modify_write(p, [v](T old) { return simt::wrapping_add(old, v); });
}
template <simt::AtomicInteger T>
T atomicSub(T* p, simt::Same<T> v) {
  return simt::read_modify_write(p, [v](T old) { return simt::wrapping_add(old, simt::wrapping_add(T(~v), T(1))); });
}
template <simt::AtomicInteger T>
T atomicMax(T* p, simt::Same<T> v) {
  return simt::read_modify_write(p, [v](T old) { return old < v ? v : old; });
}
template <simt::AtomicInteger T>
T atomicMin(T* p, simt::Same<T> v) {
  return simt::read_modify_write(p, [v](T old) { return v < old ? v : old; });
}
template <simt::AtomicInteger T>
T atomicAnd(T* p, simt::Same<T> v) {
  return simt::read_modify_write(p, [v](T old) { return old & v; });
}
template <simt::AtomicInteger T>
T atomicOr(T* p, simt::Same<T> v) {
  return simt::read_modify_write(p, [v](T old) { return old | v; });
}
template <simt::AtomicInteger T>
T atomicXor(T* p, simt::Same<T> v) {
  return simt::read_modify_write(p, [v](T old) { return old ^ v; });
}
template <simt::AtomicNumber T>
T atomicExch(T* p, simt::Same<T> v) {
  return simt::read_modify_write(p, [v](T) { return v; });
}
template <simt::AtomicInteger T>
T atomicCAS(T* p, simt::Same<T> compare, simt::Same<T> v) {
  return simt::read_modify_write(p, [compare, v](T old) { return old == compare ? v : old; });
}
template <simt::AtomicUnsigned T>
T atomicInc(T* p, simt::Same<T> last) {
  return simt::read_modify_write(p, [last](T old) { return old >= last ? T(0) : old + 1; });
}
template <simt::AtomicUnsigned T>
T atomicDec(T* p, simt::Same<T> last) {
  return simt::read_modify_write(p, [last](T old) { return old == 0 || old > last ? last : old - 1; });
}
