// SPDX-License-Identifier: Apache-2.0
// Warp collectives: each waits for the lanes of its mask, then the engine computes the result.
#pragma once

#include <concepts>

#include "simt/engine.h"

#define SIMT_HERE std::source_location where = std::source_location::current()

namespace simt {
template <class T>
concept Shuffled = std::is_arithmetic_v<T>;
template <Shuffled V>
V shuffle(unsigned mask, V value, int source_lane, std::source_location where) {
  return from_bits<V>(wait_warp(WarpOp::shuffle, mask, to_bits(value), source_lane, where));
}
template <class T>
concept Word = std::same_as<T, int> || std::same_as<T, unsigned>;
template <Word T>
T reduce(WarpOp op, unsigned mask, T value, std::source_location where) {
  const auto widened = static_cast<std::uint64_t>(static_cast<std::int64_t>(value));
  return static_cast<T>(wait_warp(op, mask, widened, 0, where));
}
}  // namespace simt

inline void __syncwarp(unsigned mask = ~0u, SIMT_HERE) { simt::wait_warp(simt::WarpOp::syncwarp, mask, 0, 0, where); }

// Shuffles within segments of `width` lanes; a source outside the own segment means the own value.
template <simt::Shuffled T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, SIMT_HERE) {
  const int segment = simt::current.lane & ~(width - 1);
  return simt::shuffle(mask, value, segment + (source & (width - 1)), where);
}
template <simt::Shuffled T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, SIMT_HERE) {
  const int lane = simt::current.lane, source = lane ^ lane_mask, segment_end = (lane & ~(width - 1)) + width;
  return simt::shuffle(mask, value, source < segment_end ? source : lane, where);
}
template <simt::Shuffled T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_HERE) {
  const int lane = simt::current.lane, source = lane + static_cast<int>(delta);
  return simt::shuffle(mask, value, (lane & (width - 1)) + static_cast<int>(delta) < width ? source : lane, where);
}
template <simt::Shuffled T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_HERE) {
  const int lane = simt::current.lane, source = lane - static_cast<int>(delta);
  return simt::shuffle(mask, value, (lane & (width - 1)) >= static_cast<int>(delta) ? source : lane, where);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_HERE) {
  return static_cast<unsigned>(simt::wait_warp(simt::WarpOp::ballot, mask, predicate != 0, 0, where));
}
inline int __any_sync(unsigned mask, int predicate, SIMT_HERE) {
  return static_cast<int>(simt::wait_warp(simt::WarpOp::any, mask, predicate != 0, 0, where));
}
inline int __all_sync(unsigned mask, int predicate, SIMT_HERE) {
  return static_cast<int>(simt::wait_warp(simt::WarpOp::all, mask, predicate != 0, 0, where));
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, SIMT_HERE) {
  return static_cast<unsigned>(simt::wait_warp(simt::WarpOp::match_any, mask, simt::to_bits(value), 0, where));
}
template <class T>
unsigned __match_all_sync(unsigned mask, T value, int* all_equal, SIMT_HERE) {
  const auto lanes =
      static_cast<unsigned>(simt::wait_warp(simt::WarpOp::match_all, mask, simt::to_bits(value), 0, where));
  *all_equal = lanes != 0;
  return lanes;
}

template <simt::Word T>
T __reduce_add_sync(unsigned mask, T value, SIMT_HERE) {
  return simt::reduce(simt::WarpOp::add, mask, value, where);
}
template <simt::Word T>
T __reduce_min_sync(unsigned mask, T value, SIMT_HERE) {
  return simt::reduce(std::signed_integral<T> ? simt::WarpOp::min_signed : simt::WarpOp::min_unsigned, mask, value,
                      where);
}
template <simt::Word T>
T __reduce_max_sync(unsigned mask, T value, SIMT_HERE) {
  return simt::reduce(std::signed_integral<T> ? simt::WarpOp::max_signed : simt::WarpOp::max_unsigned, mask, value,
                      where);
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned value, SIMT_HERE) {
  return simt::reduce(simt::WarpOp::bit_and, mask, value, where);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value, SIMT_HERE) {
  return simt::reduce(simt::WarpOp::bit_or, mask, value, where);
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned value, SIMT_HERE) {
  return simt::reduce(simt::WarpOp::bit_xor, mask, value, where);
}

// The caller's view only, as on a GPU: which lanes happen to run together is no synchronisation.
inline unsigned __activemask() { return 1u << simt::current.lane; }

#undef SIMT_HERE
