// SPDX-License-Identifier: Apache-2.0
// Device-wide sort and prefix sum behind host functions: CUB under nvcc, std:: under the emulator, and for sorts of few
// pairs rank_sort.cuh under both. Include it in .cu files. Pointers are device memory, inputs and outputs do not
// overlap, everything is queued on the context's stream. No segmented sort: CUB's waits for the device when there are
// many segments. Sort twice, by key and by segment.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/context.h"
#include "core/rank_sort.cuh"
#include "core/simt.cuh"

#if !LDIE_EMULATED
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#else
#include <algorithm>
#include <numeric>
#include <vector>
#endif

namespace ldie {

namespace detail {
#if !LDIE_EMULATED
// CUB's protocol: the first call tells the size of the temporary memory, the second does the work.
template <class Algorithm>
void run_cub(Context& context, const char* name, Algorithm algorithm) {
  size_t bytes = 0;
  cudaError_t status = algorithm(nullptr, bytes);
  if (status == cudaSuccess) status = algorithm(context.scratch(bytes), bytes);
  if (status != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    throw std::runtime_error(std::string(name) + " failed: " + cudaGetErrorString(status));
  }
}

inline cudaStream_t stream_of(const Context& context) { return static_cast<cudaStream_t>(context.stream); }
#else
template <SortOrder kOrder, class Key, class Value>
void stable_sort_arrays(const KeyValueArrays<Key, Value>& arrays, Key mask) {
  std::vector<int64_t> from(static_cast<size_t>(arrays.count));
  std::iota(from.begin(), from.end(), int64_t(0));
  std::stable_sort(from.begin(), from.end(), [&](int64_t a, int64_t b) {
    const Key key_a = arrays.keys[a] & mask, key_b = arrays.keys[b] & mask;
    return kOrder == SortOrder::ascending ? key_a < key_b : key_b < key_a;
  });
  for (int64_t place = 0; place < arrays.count; ++place) {
    arrays.sorted_keys[place] = arrays.keys[from[size_t(place)]];
    arrays.sorted_values[place] = arrays.values[from[size_t(place)]];
  }
}
#endif
}  // namespace detail

// Sorts pairs by the low `key_bits` of their keys, stably; the higher bits must be the same in all keys, or zero.
// sort_pairs<SortOrder::descending>(context, arrays, 40)
template <SortOrder kOrder, class Key, class Value>
void sort_pairs(Context& context, const KeyValueArrays<Key, Value>& a, int key_bits = 8 * int(sizeof(Key))) {
  static_assert(std::is_unsigned_v<Key> && sizeof(Key) >= 4);
  constexpr int kCheapBits = 8;  // a radix sort of so few bits is one pass
  if (a.count == 0) return;
  if (a.count <= kMostRanked && key_bits > kCheapBits) return rank_sort<kOrder>(context, a);
#if !LDIE_EMULATED
  detail::run_cub(context, "radix sort", [&](void* scratch, size_t& bytes) {
    cudaStream_t stream = detail::stream_of(context);
    if constexpr (kOrder == SortOrder::ascending) {
      return cub::DeviceRadixSort::SortPairs(scratch, bytes, a.keys, a.sorted_keys, a.values, a.sorted_values, a.count,
                                             0, key_bits, stream);
    } else {
      return cub::DeviceRadixSort::SortPairsDescending(scratch, bytes, a.keys, a.sorted_keys, a.values, a.sorted_values,
                                                       a.count, 0, key_bits, stream);
    }
  });
#else
  static_cast<void>(context);
  const Key mask = Key(~Key(0)) >> (8 * int(sizeof(Key)) - key_bits);
  detail::stable_sort_arrays<kOrder>(a, mask);
#endif
}

// The values in the order of ascending keys, in scratch memory; the keys in order go to sorted_keys.
template <typename Key>
uint32_t* sorted_values(Context& context, const Key* keys, Key* sorted_keys, const uint32_t* values, int64_t count) {
  auto* const sorted = context.scratch_array<uint32_t>(count);
  sort_pairs<SortOrder::ascending>(context, KeyValueArrays<Key, uint32_t>{keys, sorted_keys, values, sorted, count});
  return sorted;
}

// sums[i] = values[0] + ... + values[i]; sums may be values.
template <class T>
void inclusive_sum(Context& context, const T* values, T* sums, int64_t count) {
  if (count == 0) return;
#if !LDIE_EMULATED
  detail::run_cub(context, "prefix sum", [&](void* scratch, size_t& bytes) {
    return cub::DeviceScan::InclusiveSum(scratch, bytes, values, sums, count, detail::stream_of(context));
  });
#else
  static_cast<void>(context);
  std::inclusive_scan(values, values + count, sums);
#endif
}

}  // namespace ldie
