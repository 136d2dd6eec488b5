// SPDX-License-Identifier: Apache-2.0
// The k-th best of many peaks, which a block finds by counting. Include it in .cu files.
#pragma once

#include "core/reduce.cuh"

namespace ldie::heatmap {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;

// Unsigned integers that order as the scores do; -0 equals +0.
__device__ uint32_t ordered_bits(float score) {
  const uint32_t bits = __float_as_uint(score + 0.f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ uint64_t ordered_bits(double score) {
  const uint64_t bits = uint64_t(__double_as_longlong(score + 0.)), sign = uint64_t(1) << 63;
  return bits & sign ? ~bits : bits | sign;
}

template <typename A>
using KeyOf = decltype(ordered_bits(A()));

// Order among peaks of one score, the lower index first; 0 is no peak's.
__device__ uint64_t order_of(int64_t index) { return ~uint64_t(index); }

// Counts items of the block, with one barrier a call. All threads must call, and get the result.
struct BlockCounter {
  int (*of_warp)[kWarps];  // shared [2][kWarps]
  int turn = 0;

  template <typename Items, typename Condition>
  __device__ int64_t operator()(const Items& items, const Condition& condition) {
    constexpr int kAhead = 4;
    int count = 0;
    for (int64_t base = threadIdx.x; base - threadIdx.x < items.count; base += kAhead * kThreads) {
      bool met[kAhead];
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const int64_t i = base + a * kThreads;
        met[a] = i < items.count && condition(i);
      }
#pragma unroll
      for (int a = 0; a < kAhead; ++a) count += __popc(__ballot_sync(kFullWarp, met[a]));
    }
    if (threadIdx.x % kWarpSize == 0) of_warp[turn][threadIdx.x / kWarpSize] = count;
    __syncthreads();
    int64_t total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) total += of_warp[turn][w];
    turn ^= 1;  // who is still reading needs no second barrier
    return total;
  }
};

// The peaks at least as good as one: of a greater key, or of the same and of at least this order.
template <typename Key>
struct Bound {
  Key key;
  uint64_t order;

  __device__ bool reached(Key other, uint64_t other_order) const {
    return other > key || (other == key && other_order >= order);
  }
};

// The largest threshold that `wanted` items or more reach with their of(i), found bit by bit; its lower bits stay 0
// once exactly `wanted` reach it. `reached`: how many do.
template <typename Value, typename Items, typename Of>
__device__ Value threshold(const Items& items, int64_t wanted, BlockCounter& count, const Of& of, int64_t& reached) {
  Value result = 0;
  reached = items.count;
  for (int bit = 8 * int(sizeof(Value)) - 1; bit >= 0 && reached != wanted; --bit) {
    const Value candidate = result | Value(1) << bit;
    const int64_t reaching = count(items, [&](int64_t i) { return of(i) >= candidate; });
    if (reaching < wanted) continue;
    result = candidate;
    reached = reaching;
  }
  return result;
}

// What the `wanted` best items reach and no others; all, if there are no more. All threads must call.
template <typename Items>
__device__ Bound<typename Items::Key> bound_of(const Items& items, int64_t wanted, BlockCounter& count) {
  using Key = typename Items::Key;
  Bound<Key> bound{0, 0};
  if (items.count <= wanted) return bound;
  int64_t reached = 0;
  bound.key = threshold<Key>(items, wanted, count, [&](int64_t i) { return items.key(i); }, reached);
  if (reached > wanted) {
    const int64_t above = count(items, [&](int64_t i) { return items.key(i) > bound.key; });
    const auto level = [&](int64_t i) { return items.key(i) == bound.key ? items.order(i) : 0; };
    bound.order = threshold<typename Items::Order>(items, wanted - above, count, level, reached);
  }
  return bound;
}

}  // namespace
}  // namespace ldie::heatmap
