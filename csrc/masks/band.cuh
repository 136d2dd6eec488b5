// SPDX-License-Identifier: Apache-2.0
// Rows of a mask that a block moves between global memory, 16 bytes an access, and bits in shared memory. Up to
// kBandColumns columns a band is as wide as its mask: its rows follow one another in memory and are moved as one piece,
// wherever a row begins. Wider masks are cut into strips, which are moved row by row. Include it in .cu files.
#pragma once

#include "core/bits.cuh"
#include "core/bits.h"
#include "core/integers.h"
#include "core/reduce.cuh"

namespace ldie::masks {

constexpr int64_t kBandColumns = 2048;
constexpr int kSlot = 16;  // bytes an access

LDIE_HD int64_t band_strips(int64_t width) { return ceil_div(width, kBandColumns); }
// 32-pixel words of a row of the widest strip.
LDIE_HD int band_words(int64_t width) { return int(ceil_div(width < kBandColumns ? width : kBandColumns, 32)); }

// n / divisor for n < 2^18 and divisors up to kBandColumns.
struct SmallDivider {
  uint32_t divisor, factor;

  __device__ explicit SmallDivider(uint32_t divisor) : divisor(divisor), factor(UINT32_MAX / divisor + 1) {}
  __device__ uint32_t operator()(uint32_t n) const { return divisor == 1 ? n : __umulhi(n, factor); }
};

// A pixel in memory is a unit, a byte, or 8 of them are, when packed.
template <typename Byte>
struct Band {
  Byte* memory;  // its first unit
  int64_t row_bytes;
  int rows, width, units;  // width: pixels; units: of a row
  bool packed;

  // Rows [top, top + most_rows) and columns [left, left + most_columns) of a mask, as far as there are any.
  __device__ Band(Byte* mask, int64_t row_bytes, bool packed, int64_t top, int64_t left, int64_t most_rows,
                  int64_t height, int64_t mask_width, int64_t most_columns = kBandColumns)
      : memory(mask + top * row_bytes + (packed ? left / 8 : left)),
        row_bytes(row_bytes),
        rows(int(min(most_rows, height - top))),
        width(int(min(most_columns, mask_width - left))),
        units(mask_row_bytes(width, packed)),
        packed(packed) {}

  __device__ int unit_bits() const { return packed ? 8 : 1; }
  __device__ bool contiguous() const { return units == row_bytes; }
};

// Calls use(first row, place of the first unit, units, where in memory) for the pieces that follow one another in
// memory, with the threads that share a piece: use(..., thread, threads).
template <int kThreads, typename Byte, typename Use>
__device__ __forceinline__ void for_each_piece(const Band<Byte>& band, const Use& use) {
  if (band.contiguous()) {
    use(0, band.memory, band.rows * band.units, int(threadIdx.x), kThreads);
    return;
  }
  for (int row = int(threadIdx.x) / kWarpSize; row < band.rows; row += kThreads / kWarpSize) {
    use(row, band.memory + row * band.row_bytes, band.units, int(threadIdx.x) % kWarpSize, kWarpSize);
  }
}

template <typename Byte>
__device__ __forceinline__ int slot_offset(Byte* memory) {
  return int(reinterpret_cast<uintptr_t>(memory) % kSlot);
}

// Of a piece: part(unit) for the slots, or the one, that stick out of it before its first unit or behind its last;
// returns the first unit of the first whole slot.
template <typename Part>
__device__ __forceinline__ int for_each_part(int before, int units, int thread, const Part& part) {
  const int first = before == 0 ? 0 : kSlot - before;
  if (thread == 0) {
    if (before != 0) part(-before);
    if (units > first && (units - first) % kSlot != 0) part(units - (units - first) % kSlot);
  }
  return first;
}

// ---- from bits, [rows][words], 0 beyond the width

// 32 bits of a row from one of its units on.
__device__ __forceinline__ uint32_t row_bits(const uint32_t* bits, int words, int row, int bit) {
  const int word = bit / 32;
  const uint32_t* const at = bits + row * words + word;
  const uint64_t next = word + 1 < words ? at[1] : 0u;
  return uint32_t((next << 32 | at[0]) >> bit % 32);
}

// The same for `wanted` units, which go on in the rows below.
__device__ __forceinline__ uint32_t units_from(const Band<uint8_t>& band, const uint32_t* bits, int words, int row,
                                               int unit, int wanted) {
  uint32_t value = row_bits(bits, words, row, unit * band.unit_bits());
  for (int have = band.units - unit; have < wanted && ++row < band.rows; have += band.units) {
    value |= row_bits(bits, words, row, 0) << have * band.unit_bits();
  }
  return value;
}

__device__ __forceinline__ uint4 slot_of(const Band<uint8_t>& band, const uint32_t* bits, int words, int row,
                                         int unit) {
  if (!band.packed) {
    const uint32_t cells = units_from(band, bits, words, row, unit, kSlot);
    return make_uint4(spread_4_bits(cells), spread_4_bits(cells >> 4), spread_4_bits(cells >> 8),
                      spread_4_bits(cells >> 12));
  }
  uint32_t values[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    values[i] = row < band.rows ? units_from(band, bits, words, row, unit, 4) : 0;
    for (unit += 4; unit >= band.units; unit -= band.units) ++row;
  }
  return make_uint4(values[0], values[1], values[2], values[3]);
}

__device__ __forceinline__ uint8_t unit_of(const Band<uint8_t>& band, const uint32_t* bits, int words, int row,
                                           int unit) {
  const uint32_t value = row_bits(bits, words, row, unit * band.unit_bits());
  return uint8_t(band.packed ? value : value & 1u);
}

// Writes a band; without `drawn` it is zero and no bits are read.
template <int kThreads>
__device__ void store_band(const Band<uint8_t>& band, const uint32_t* bits, int words, bool drawn) {
  const SmallDivider row_of(uint32_t(band.units));
  for_each_piece<kThreads>(band, [&](int first_row, uint8_t* to, int units, int thread, int threads) {
    const int first = for_each_part(slot_offset(to), units, thread, [&](int unit) {
      for (int i = max(unit, 0); i < min(unit + kSlot, units); ++i) {
        const int row = int(row_of(uint32_t(i)));
        to[i] = drawn ? unit_of(band, bits, words, first_row + row, i - row * band.units) : uint8_t(0);
      }
    });
    for (int unit = first + kSlot * thread; unit + kSlot <= units; unit += kSlot * threads) {
      uint4 value = make_uint4(0, 0, 0, 0);
      if (drawn) {
        const int row = int(row_of(uint32_t(unit)));
        value = slot_of(band, bits, words, first_row + row, unit - row * band.units);
      }
      *reinterpret_cast<uint4*>(to + unit) = value;
    }
  });
}

// ---- to bits, in the order of the memory

// 4 bytes of 0 or 1 to 4 bits; the product brings byte i to bit 28 + i without a carry.
LDIE_HD uint32_t gather_4_bits(uint32_t bytes) { return (bytes * 0x10204080u) >> 28; }

__device__ __forceinline__ uint32_t gather_16_bits(const uint4& cells) {
  return gather_4_bits(cells.x) | gather_4_bits(cells.y) << 4 | gather_4_bits(cells.z) << 8 |
         gather_4_bits(cells.w) << 12;
}

// Units [unit, unit + kSlot) of a piece, those outside of it 0.
__device__ inline uint4 load_part(const uint8_t* from, int unit, int units) {
  uint32_t values[4] = {0, 0, 0, 0};
#pragma unroll
  for (int i = 0; i < kSlot; ++i) {
    if (unit + i >= 0 && unit + i < units) values[i / 4] |= uint32_t(from[unit + i]) << i % 4 * 8;
  }
  return make_uint4(values[0], values[1], values[2], values[3]);
}

// Calls use(unit, the kSlot units from there on) for all slots of a piece, with several loads under way at a time.
template <typename Use>
__device__ __forceinline__ void load_piece(const uint8_t* from, int units, int thread, int threads, const Use& use) {
  constexpr int kAtOnce = 4;
  const int step = kSlot * threads;
  const auto load = [&](int unit) { return __ldg(reinterpret_cast<const uint4*>(from + unit)); };
  int unit = for_each_part(slot_offset(from), units, thread, [&](int at) { use(at, load_part(from, at, units)); });
  for (unit += kSlot * thread; unit + (kAtOnce - 1) * step + kSlot <= units; unit += kAtOnce * step) {
    uint4 values[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) values[i] = load(unit + i * step);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) use(unit + i * step, values[i]);
  }
  for (; unit + kSlot <= units; unit += step) use(unit, load(unit));
}

// The bits of kRows rows in shared memory.
template <int kThreads, int kRows>
class BandBits {
 public:
  // All threads call, and a barrier follows.
  __device__ void load(const Band<const uint8_t>& band) {
    for_each_piece<kThreads>(band, [&](int row, const uint8_t* from, int units, int thread, int threads) {
      const int before = slot_offset(from);
      const int first = band.contiguous() ? 0 : row * kStride / (kSlot * band.unit_bits());
      load_piece(from, units, thread, threads, [&](int unit, const uint4& value) {
        const int slot = first + (unit + before) / kSlot;
        if (band.packed) {
          reinterpret_cast<uint4*>(words_)[slot] = value;
        } else {
          reinterpret_cast<uint16_t*>(words_)[slot] = uint16_t(gather_16_bits(value));
        }
      });
      const int end = first + ceil_div(before + units, kSlot);  // words are read whole
      if (!band.packed && thread == 0 && end % 2 == 1) reinterpret_cast<uint16_t*>(words_)[end] = 0;
    });
  }

  // Pixels [column, column + 32) of a row as bits, 0 beyond the width.
  __device__ uint32_t pixels(const Band<const uint8_t>& band, int row, int column) const {
    const int count = min(32, band.width - column);
    const int bit = first_bit(band, row) + column, word = bit / 32, shift = bit % 32;
    const uint64_t next = shift + count > 32 ? words_[word + 1] : 0u;
    return uint32_t((next << 32 | words_[word]) >> shift) & 0xffffffffu >> (32 - count);
  }

 private:
  static constexpr int kStride = int(kBandColumns) + 8 * kSlot;  // bits of a row where rows are apart

  __device__ static int first_bit(const Band<const uint8_t>& band, int row) {
    if (band.contiguous()) return (slot_offset(band.memory) + row * band.units) * band.unit_bits();
    return row * kStride + slot_offset(band.memory + row * band.row_bytes) * band.unit_bits();
  }

  alignas(16) uint32_t words_[kRows * kStride / 32 + 8];
};

}  // namespace ldie::masks
