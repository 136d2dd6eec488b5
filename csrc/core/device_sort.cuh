// SPDX-License-Identifier: Apache-2.0
// Device-wide sort and prefix sum behind host functions: CUB under nvcc, std:: under the emulator. Include it in .cu
// files. Pointers are device memory, inputs and outputs do not overlap, everything is queued on the context's stream.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/context.h"
#include "core/simt.cuh"

#if !LDIE_EMULATED
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#include <cub/device/device_segmented_sort.cuh>
#else
#include <algorithm>
#include <numeric>
#include <vector>
#endif

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
void stable_sort_range(const KeyValueArrays<Key, Value>& arrays, Key mask, int64_t begin, int64_t end) {
  std::vector<int64_t> from(static_cast<size_t>(end - begin));
  std::iota(from.begin(), from.end(), begin);
  std::stable_sort(from.begin(), from.end(), [&](int64_t a, int64_t b) {
    const Key key_a = arrays.keys[a] & mask, key_b = arrays.keys[b] & mask;
    return kOrder == SortOrder::ascending ? key_a < key_b : key_b < key_a;
  });
  for (const int64_t source : from) {
    arrays.sorted_keys[begin] = arrays.keys[source];
    arrays.sorted_values[begin++] = arrays.values[source];
  }
}
#endif
}  // namespace detail

// Sorts pairs by the low `key_bits` of their keys, stably; the higher bits must be the same in all keys, or zero.
// sort_pairs<SortOrder::descending>(context, arrays, 40)
template <SortOrder kOrder, class Key, class Value>
void sort_pairs(Context& context, const KeyValueArrays<Key, Value>& a, int key_bits = 8 * int(sizeof(Key))) {
  static_assert(std::is_unsigned_v<Key> && sizeof(Key) >= 4);
  if (a.count == 0) return;
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
  detail::stable_sort_range<kOrder>(a, mask, 0, a.count);
#endif
}

// Sorts each segment [offsets[s], offsets[s + 1]) by itself, stably. offsets [segments + 1] is device memory.
template <SortOrder kOrder, class Key, class Value>
void segmented_sort_pairs(Context& context, const KeyValueArrays<Key, Value>& a, const int64_t* offsets,
                          int64_t segments) {
  static_assert(std::is_unsigned_v<Key> && sizeof(Key) >= 4);
  if (a.count == 0 || segments == 0) return;
#if !LDIE_EMULATED
  detail::run_cub(context, "segmented sort", [&](void* scratch, size_t& bytes) {
    cudaStream_t stream = detail::stream_of(context);
    if constexpr (kOrder == SortOrder::ascending) {
      return cub::DeviceSegmentedSort::StableSortPairs(scratch, bytes, a.keys, a.sorted_keys, a.values, a.sorted_values,
                                                       a.count, segments, offsets, offsets + 1, stream);
    } else {
      return cub::DeviceSegmentedSort::StableSortPairsDescending(scratch, bytes, a.keys, a.sorted_keys, a.values,
                                                                 a.sorted_values, a.count, segments, offsets,
                                                                 offsets + 1, stream);
    }
  });
#else
  static_cast<void>(context);
  for (int64_t s = 0; s < segments; ++s) {
    detail::stable_sort_range<kOrder>(a, Key(~Key(0)), offsets[s], offsets[s + 1]);
  }
#endif
}

// sums[i] = values[0] + ... + values[i - 1]; sums may be values.
template <class T>
void exclusive_sum(Context& context, const T* values, T* sums, int64_t count) {
  if (count == 0) return;
#if !LDIE_EMULATED
  detail::run_cub(context, "prefix sum", [&](void* scratch, size_t& bytes) {
    return cub::DeviceScan::ExclusiveSum(scratch, bytes, values, sums, count, detail::stream_of(context));
  });
#else
  static_cast<void>(context);
  std::exclusive_scan(values, values + count, sums, T(0));
#endif
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
