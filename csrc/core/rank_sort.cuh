// SPDX-License-Identifier: Apache-2.0
// A stable sort of up to some ten thousand pairs in two launches, in which every key finds its place by itself:
//   sort_tiles   in its tile, by counting the keys before it
//   merge_tiles  among all, by binary searches in the other tiles
// A radix sort of so few waits for one digit after another: on an H200 CUB took 10 us for 1000 pairs with 32-bit keys
// and 38 for 5000, 13 and 65 with 64-bit keys. This takes kSortedTile + count / kSortedTile * 10 comparisons a key: 5.4
// and 8.9 us, 7.2 and 11.
// Include it in .cu files; used through core/device_sort.cuh.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/grid.cuh"
#include "core/integers.h"
#include "core/pack.cuh"
#include "core/reduce.cuh"

namespace ldie {

enum class SortOrder { ascending, descending };

// Keys (unsigned, 32 or 64 bits) with the values that travel with them, `count` of each.
template <class Key, class Value>
struct KeyValueArrays {
  const Key* keys;
  Key* sorted_keys;
  const Value* values;
  Value* sorted_values;
  int64_t count;
};

constexpr int64_t kMostRanked = int64_t(1) << 15;
constexpr int kSortedTile = 1024;

namespace detail {

constexpr int kCountThreads = 128, kCountPack = 4;  // keys of a 16-byte load of shared memory
constexpr int kMergeThreads = 256, kSearchers = 8;  // threads that search for one key

template <SortOrder kOrder, class Key>
__device__ __forceinline__ bool sorts_before(Key a, Key b) {
  return kOrder == SortOrder::ascending ? a < b : b < a;
}

// Block (x, y) places the y-th kCountThreads pairs of tile x within the tile. Equal keys stay in their order: those of
// earlier warps count as before, those of later ones not.
template <SortOrder kOrder, class Key, class Value>
__global__ void __launch_bounds__(kCountThreads) sort_tiles_kernel(KeyValueArrays<Key, Value> a) {
  using Keys = Pack<Key, kCountPack>;
  LDIE_SHARED(Keys, tile, [kSortedTile / kCountPack]);
  constexpr Key kLast = kOrder == SortOrder::ascending ? Key(~Key(0)) : Key(0);
  const int64_t start = int64_t(blockIdx.x) * kSortedTile;
  const int size = int(min(int64_t(kSortedTile), a.count - start)), packs = ceil_div(size, kCountPack);
  for (int i = int(threadIdx.x); i < packs * kCountPack; i += kCountThreads) {
    tile[i / kCountPack].values[i % kCountPack] = i < size ? a.keys[start + i] : kLast;
  }
  __syncthreads();

  const int mine = int(blockIdx.y) * kCountThreads + int(threadIdx.x);
  const int own = mine / kWarpSize * kWarpSize / kCountPack, later = min(packs, own + kWarpSize / kCountPack);
  if (mine >= size) return;
  const Key key = tile[mine / kCountPack].values[mine % kCountPack];
  int before[kCountPack] = {};
  for (int p = 0; p < own; ++p) {
    const Keys others = tile[p];
#pragma unroll
    for (int q = 0; q < kCountPack; ++q) before[q] += !sorts_before<kOrder>(key, others.values[q]);
  }
  for (int p = own; p < later; ++p) {
    const Keys others = tile[p];
#pragma unroll
    for (int q = 0; q < kCountPack; ++q) {
      const Key other = others.values[q];
      before[q] += sorts_before<kOrder>(other, key) || (other == key && p * kCountPack + q < mine);
    }
  }
  for (int p = later; p < packs; ++p) {
    const Keys others = tile[p];
#pragma unroll
    for (int q = 0; q < kCountPack; ++q) before[q] += sorts_before<kOrder>(others.values[q], key);
  }
  const int64_t place = start + before[0] + before[1] + before[2] + before[3];
  a.sorted_keys[place] = key;
  a.sorted_values[place] = a.values[start + mine];
}

// How many of the sorted keys come before `key`; equal ones, if `equal`.
template <SortOrder kOrder, class Key>
__device__ __forceinline__ int keys_before(const Key* keys, int count, Key key, bool equal) {
  int begin = 0;
  while (begin < count) {
    const int middle = (begin + count) / 2;
    const bool is_before = sorts_before<kOrder>(keys[middle], key) || (equal && keys[middle] == key);
    begin = is_before ? middle + 1 : begin;
    count = is_before ? count : middle;
  }
  return begin;
}

// Brings pairs that are sorted tile by tile to their places among all.
template <SortOrder kOrder, class Key, class Value>
__global__ void __launch_bounds__(kMergeThreads) merge_tiles_kernel(KeyValueArrays<Key, Value> a) {
  const int64_t thread = thread_index<kMergeThreads>(), i = thread / kSearchers;
  const int searcher = int(thread % kSearchers), own = int(i / kSortedTile);
  const int tiles = int(ceil_div(a.count, kSortedTile));
  const Key key = i < a.count ? a.keys[i] : Key(0);
  int before = 0;
  for (int tile = searcher; tile < tiles; tile += kSearchers) {
    const int64_t start = int64_t(tile) * kSortedTile;
    if (tile == own) {
      before += int(i - start);
    } else {
      const int size = int(min(int64_t(kSortedTile), a.count - start));
      before += keys_before<kOrder>(a.keys + start, size, key, tile < own);
    }
  }
#pragma unroll
  for (int distance = kSearchers / 2; distance > 0; distance /= 2) {
    before += __shfl_xor_sync(kFullWarp, before, distance);
  }
  if (searcher == 0 && i < a.count) {
    a.sorted_keys[before] = key;
    a.sorted_values[before] = a.values[i];
  }
}

}  // namespace detail

// Stable, by all bits of the keys; at most kMostRanked of them.
template <SortOrder kOrder, class Key, class Value>
void rank_sort(Context& context, const KeyValueArrays<Key, Value>& a) {
  const int64_t tiles = ceil_div(a.count, kSortedTile);
  KeyValueArrays<Key, Value> by_tile = a;
  if (tiles > 1) {
    by_tile.sorted_keys = context.scratch_array<Key>(a.count);
    by_tile.sorted_values = context.scratch_array<Value>(a.count);
  }
  const int64_t largest = tiles > 1 ? kSortedTile : a.count;
  const dim3 grid(unsigned(tiles), unsigned(ceil_div(largest, detail::kCountThreads)));
  LDIE_LAUNCH((detail::sort_tiles_kernel<kOrder, Key, Value>), grid, dim3(detail::kCountThreads), 0, context.stream,
              by_tile);
  if (tiles == 1) return;
  const KeyValueArrays<Key, Value> merged{by_tile.sorted_keys, a.sorted_keys, by_tile.sorted_values, a.sorted_values,
                                          a.count};
  const int64_t threads = a.count * detail::kSearchers;
  LDIE_LAUNCH((detail::merge_tiles_kernel<kOrder, Key, Value>),
              dim3(unsigned(ceil_div(threads, detail::kMergeThreads))), dim3(detail::kMergeThreads), 0, context.stream,
              merged);
}

}  // namespace ldie
