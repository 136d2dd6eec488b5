// SPDX-License-Identifier: Apache-2.0
// Stable sort of unsigned keys on the CPU, each with the 32-bit index that travels with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ldie {

template <typename Key>
struct Keyed {
  Key key;
  uint32_t index;
};

// Sorts by ascending key and returns the sorted array, which is either `items` or `spare` (both [count]). Least
// significant digit first, 11 bits a pass: three passes for 32-bit keys, and none over a digit that all keys share, so
// that small integers and widened 16-bit floats cost what they should.
template <typename Key>
Keyed<Key>* radix_sort(Keyed<Key>* items, Keyed<Key>* spare, int64_t count) {
  constexpr int kDigitBits = 11;
  constexpr Key kDigit = (Key(1) << kDigitBits) - 1;
  Key varying = 0;
  for (int64_t i = 1; i < count; ++i) varying |= items[i].key ^ items[0].key;

  std::vector<uint32_t> ends(std::size_t(1) << kDigitBits);
  for (int shift = 0; shift < int(8 * sizeof(Key)); shift += kDigitBits) {
    if ((varying >> shift & kDigit) == 0) continue;
    ends.assign(ends.size(), 0);
    for (int64_t i = 0; i < count; ++i) ++ends[items[i].key >> shift & kDigit];
    uint32_t total = 0;
    for (uint32_t& end : ends) {
      const uint32_t size = end;
      end = total;
      total += size;
    }
    for (int64_t i = 0; i < count; ++i) spare[ends[items[i].key >> shift & kDigit]++] = items[i];
    Keyed<Key>* const sorted = spare;
    spare = items;
    items = sorted;
  }
  return items;
}

}  // namespace ldie
