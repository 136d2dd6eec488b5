// SPDX-License-Identifier: Apache-2.0
// CPU: bands of maps with margins of zeros, and sums over the taps of a window on them, a register of cells at a time.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/half.h"
#include "core/integers.h"
#include "core/lanes_cpu.h"

namespace ldie::pyramid {

#if defined(__AVX512F__)
constexpr bool kManyRegisters = true;  // 32, elsewhere 16
#else
constexpr bool kManyRegisters = false;
#endif

// Rows and maps whose sums for kSums results each are in registers at a time.
constexpr int kTileRows = 4;
template <int kSums>
constexpr int kTileMaps = kManyRegisters ? (kSums == 1 ? 4 : 2) : (kSums == 1 ? 3 : 1);

// `count` elements, converted.
template <typename T, typename A>
inline __attribute__((always_inline)) void copy_cells(const T* __restrict__ from, int64_t count, A* __restrict__ to) {
  for (int64_t i = 0; i < count; ++i) to[i] = A(from[i]);
}

// The first `count` lanes, rounded to T. A part of them goes through an array of its own: the lanes' own address would
// keep them in memory.
template <typename T>
inline __attribute__((always_inline)) void store_cells(T* cells, Lanes<acc_t<T>> lanes, int64_t count) {
  constexpr int64_t kCount = kLanes<acc_t<T>>;
  if constexpr (std::is_same_v<T, acc_t<T>>) {
    if (count >= kCount) return store_lanes(cells, lanes, kCount);
  }
  acc_t<T> values[kCount];
  std::memcpy(values, &lanes, sizeof values);
  for (int64_t i = 0; i < std::min(count, kCount); ++i) cells[i] = T(values[i]);
}

// Rows of a band, the window's radius, and the lengths of rows: whole registers, and with a margin on either side.
template <typename A>
struct BandLayout {
  int64_t rows, radius, length;

  BandLayout(int64_t rows, int64_t radius, int64_t width)
      : rows(rows), radius(radius), length(round_up(width, kLanes<A>)) {}

  int64_t columns() const { return length / kLanes<A>; }
  int64_t wide() const { return length + 2 * radius; }
  int64_t wide_rows() const { return rows + 2 * radius; }
};

#define LDIE_INLINE __attribute__((always_inline))

// body(0) to body(kCount - 1), of constants. Sums that loops index stay in memory where they are too many for the
// compiler to unroll these loops early.
template <typename Body, int... kIndex>
inline LDIE_INLINE void unroll(std::integer_sequence<int, kIndex...>, const Body& body) {
  (body(std::integral_constant<int, kIndex>()), ...);
}
template <int kCount, typename Body>
inline LDIE_INLINE void unroll(const Body& body) {
  unroll(std::make_integer_sequence<int, kCount>(), body);
}

// Cells of kMaps maps, each with its channels, and responses for kSums results of each. kSide is the window's side, or
// 0 for any.
template <typename A, int kMaps, int kSums, int kSide>
struct TapOperands {
  using Sums = Lanes<A>[kMaps][kTileRows][kSums];

  const A* maps;  // [kMaps, channels, wide_rows, wide]
  const A* taps;  // [rows / kTileRows, columns, channels, kTileRows, side * side, kSums, lanes]
  int64_t any_side, channels;
  BandLayout<A> layout;

  int64_t side() const { return kSide > 0 ? kSide : any_side; }
  int64_t map_size() const { return layout.wide_rows() * layout.wide(); }
  int64_t line_size() const { return side() * side() * kSums * kLanes<A>; }
  int64_t tile_size() const { return channels * kTileRows * line_size(); }

  // Where the responses to tap k for result s of a register of cells stand.
  int64_t place(int64_t y, int64_t column, int64_t channel, int64_t k, int s) const {
    const int64_t tile = y / kTileRows * layout.columns() + column;
    return tile * tile_size() + (channel * kTileRows + y % kTileRows) * line_size() + (k * kSums + s) * kLanes<A>;
  }

  // For the cells of this column in kTileRows rows from y on. A register of a map's cells serves all rows whose windows
  // it is in, and one of responses all maps.
  inline __attribute__((always_inline)) void add(int64_t y, int64_t column, Sums& sums) const {
    for (int64_t c = 0; c < channels; ++c) {
      const A* const responses = taps + place(y, column, c, 0, 0);
      const A* cells = maps + c * map_size() + y * layout.wide() + column * kLanes<A>;
      if constexpr (kSide > 0) {
        add_rows<0>(responses, cells, sums);
      } else {
        for (int64_t row = 0; row < side() + kTileRows - 1; ++row, cells += layout.wide()) {
          add_row<0, kTileRows - 1>(responses, row, cells, sums);
        }
      }
    }
  }

 private:
  template <int kRow>
  inline __attribute__((always_inline)) void add_rows(const A* responses, const A* cells, Sums& sums) const {
    if constexpr (kRow < kSide + kTileRows - 1) {
      add_row<std::max(0, kRow - kSide + 1), std::min(kTileRows - 1, kRow)>(responses, kRow, cells, sums);
      add_rows<kRow + 1>(responses, cells + layout.wide(), sums);
    }
  }

  // What a row of the maps gives to the tile's rows from kFirst to kLast, whose windows it is in if the side is known.
  // Loads of cells mostly come across two cache lines, those of responses do not: these may be repeated.
  template <int kFirst, int kLast>
  inline __attribute__((always_inline)) void add_row(const A* responses, int64_t row, const A* cells,
                                                     Sums& sums) const {
    for (int64_t kx = 0; kx < any_side; ++kx, ++cells) {
      unroll<kMaps>([&](auto n) LDIE_INLINE {
        const Lanes<A> gates = load_lanes(cells + n * channels * map_size());
        unroll<kLast - kFirst + 1>([&](auto place) LDIE_INLINE {
          constexpr int j = kFirst + place;
          const int64_t ky = row - j;
          if (kSide == 0 && (ky < 0 || ky >= side())) return;
          const A* const of_row = responses + j * line_size() + (ky * side() + kx) * kSums * kLanes<A>;
          unroll<kSums>([&](auto s) LDIE_INLINE {
            sums[n][j][s] = mul_add(gates, load_lanes(of_row + s * kLanes<A>), sums[n][j][s]);
          });
        });
      });
    }
  }
};

// Gradients of the outputs and gates of `count` hypotheses.
template <typename A>
struct ProductOperands {
  const A* grads;  // [rows, count, wide]
  const A* gates;  // [wide_rows, count, length]
  int64_t count, side;
  BandLayout<A> layout;

  // What the gradients in row y give to kY x kX taps from (ky, kx) on, in the rows that these look at it from.
  template <int kY, int kX>
  inline __attribute__((always_inline)) void add(int64_t y, int64_t x, int64_t ky, int64_t kx,
                                                 Lanes<A> (&sums)[kY][kX]) const {
    const int64_t gate_row = count * layout.length;
    const A* gate = gates + (y + ky) * gate_row + x;
    const A* cells = grads + y * count * layout.wide() + x + side - 1 - kx;
    for (int64_t n = 0; n < count; ++n, gate += layout.length, cells += layout.wide()) {
      unroll<kX>([&](auto i) LDIE_INLINE {
        const Lanes<A> gradients = load_lanes(cells - i);
        unroll<kY>([&](auto j)
                       LDIE_INLINE { sums[j][i] = mul_add(gradients, load_lanes(gate + j * gate_row), sums[j][i]); });
      });
    }
  }
};

}  // namespace ldie::pyramid
