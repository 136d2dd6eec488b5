// SPDX-License-Identifier: Apache-2.0
// The count map of class_counts.h in CUDA kernels: each thread holds four cells of a row. Torch-free.
#pragma once

#include "adversarial/class_counts.h"
#include "core/bits.h"
#include "core/integers.h"
#include "core/simt.cuh"

namespace ldie::adversarial {

constexpr int kQuad = 4;            // cells of a thread: 16 bytes of float
constexpr int kCountThreads = 128;  // a tile is this many quads; also the boxes listed at a time
constexpr int64_t kWindow = 64;     // classes counted at a time, one bit each

template <typename T>
struct Quad {
  T v[kQuad];
};

// Four neighbours in memory, moved as one or two 16-byte words (8 or 4 bytes for the narrow types).
template <typename T>
struct alignas(sizeof(T) * kQuad < 16 ? sizeof(T) * kQuad : 16) PackedQuad {
  T v[kQuad];
};

template <typename T>
__device__ __forceinline__ bool is_packed(const T* address, int32_t count) {
  return count == kQuad && reinterpret_cast<uintptr_t>(address) % alignof(PackedQuad<T>) == 0;
}

// `count` elements, the rest as T(0).
template <typename A, typename T>
__device__ __forceinline__ Quad<A> load_quad(const T* address, int32_t count) {
  Quad<A> result;
  if (is_packed(address, count)) {
    const PackedQuad<T> packed = *reinterpret_cast<const PackedQuad<T>*>(address);
#pragma unroll
    for (int i = 0; i < kQuad; ++i) result.v[i] = A(packed.v[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kQuad; ++i) result.v[i] = i < count ? A(address[i]) : A(0);
  }
  return result;
}

template <typename T, typename A>
__device__ __forceinline__ void store_quad(T* address, const Quad<A>& quad, int32_t count) {
  if (is_packed(address, count)) {
    PackedQuad<T> packed;
#pragma unroll
    for (int i = 0; i < kQuad; ++i) packed.v[i] = T(quad.v[i]);
    *reinterpret_cast<PackedQuad<T>*>(address) = packed;
  } else {
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
      if (i < count) address[i] = T(quad.v[i]);
    }
  }
}

// The quads of a batch of maps, row by row, in tiles of one block; a tile lies in one image.
struct QuadTiles {
  int64_t batch, height, width;

  LDIE_HD int64_t quads_per_row() const { return ceil_div(width, kQuad); }
  LDIE_HD int64_t per_image() const { return ceil_div(height * quads_per_row(), kCountThreads); }
  LDIE_HD int64_t count() const { return batch * per_image(); }
};

// A thread's quad: cells [x, x + count) of row y; count is 0 beyond the map.
struct QuadPosition {
  int64_t image, y, x;
  int32_t count;
  int64_t top, bottom;  // the rows that the tile reaches

  __device__ __forceinline__ QuadPosition(const QuadTiles& tiles, int64_t tile) {
    const int64_t per_row = tiles.quads_per_row(), first = tile % tiles.per_image() * kCountThreads;
    const int64_t quad = first + threadIdx.x;
    image = tile / tiles.per_image();
    y = quad / per_row;
    x = quad % per_row * kQuad;
    count = y < tiles.height ? int32_t(min(int64_t(kQuad), tiles.width - x)) : 0;
    top = first / per_row;
    bottom = min(tiles.height, (first + kCountThreads - 1) / per_row + 1);
  }
  __device__ __forceinline__ int64_t pixel(int64_t width) const { return y * width + x; }
};

struct ListedBox {
  PixelBox cells;
  int32_t bit;
};

// K of a quad from the boxes of its image. All threads of the block must call. The block lists the boxes that reach
// its tile, kCountThreads at a time, and each thread sets the bits of the classes that cover its cells; 64 classes are
// done at a time, starting at the next class that occurs, so that the number of classes is not limited.
__device__ __forceinline__ Quad<int32_t> count_boxes(const ClassCounts& source, const QuadPosition& at) {
  LDIE_SHARED(ListedBox, listed, [kCountThreads]);
  LDIE_SHARED(int, listed_count, );
  LDIE_SHARED(long long, next_label, );
  const RowRange range = row_range(source.offsets, at.image, source.rows);
  Quad<int32_t> result{};
  for (int64_t first_label = 0, next = source.planes; first_label < source.planes; first_label = next) {
    next = source.planes;
    unsigned long long classes[kQuad] = {};
    for (int64_t base = range.begin; base < range.end; base += kCountThreads) {
      if (threadIdx.x == 0) listed_count = 0;
      if (threadIdx.x == 0 && base == range.begin) next_label = source.planes;
      __syncthreads();
      const int64_t row = base + threadIdx.x, label = row < range.end ? source.label(row) : -1;
      if (label >= first_label) {
        const PixelBox cells = source.cells(row);
        const bool reaches = cells.x1 < cells.x2 && cells.y1 < at.bottom && cells.y2 > at.top;
        if (reaches && label < first_label + kWindow) {
          listed[atomicAdd(&listed_count, 1)] = {cells, int32_t(label - first_label)};
        } else if (reaches) {
          atomicMin(&next_label, static_cast<long long>(label));
        }
      }
      __syncthreads();
      for (int k = 0; k < listed_count; ++k) {
        const ListedBox box = listed[k];
        if (at.y < box.cells.y1 || at.y >= box.cells.y2) continue;
        const uint32_t covered = covered_bits(box.cells.x1, box.cells.x2, at.x, kQuad);
#pragma unroll
        for (int i = 0; i < kQuad; ++i) classes[i] |= static_cast<unsigned long long>(covered >> i & 1u) << box.bit;
      }
      next = next_label;
      __syncthreads();  // all have read before the list and next_label start anew
    }
#pragma unroll
    for (int i = 0; i < kQuad; ++i) result.v[i] += __popcll(classes[i]);
  }
  return result;
}

// Each byte of the word becomes 1 where it was not 0.
__device__ __forceinline__ uint32_t nonzero_bytes(uint32_t word) {
  constexpr uint32_t kLow = 0x7f7f7f7fu;
  return (((word & kLow) + kLow) | word) >> 7 & 0x01010101u;
}

// K of a quad from dense masks: four masks' bytes in a word, added as bytes for as many planes as cannot overflow.
__device__ __forceinline__ Quad<int32_t> count_masks(const ClassCounts& source, const QuadPosition& at) {
  constexpr int64_t kPlanes = 255;
  Quad<int32_t> result{};
  if (at.count == 0) return result;
  const uint8_t* const masks = source.masks + at.image * source.mask_planes * source.pixels() + at.pixel(source.width);
  const bool packed = source.pixels() % kQuad == 0 && is_packed(masks, at.count);
  for (int64_t base = 0; base < source.mask_planes; base += kPlanes) {
    const int64_t end = min(source.mask_planes, base + kPlanes);
    uint32_t sum = 0;
    if (packed) {
#pragma unroll 8
      for (int64_t plane = base; plane < end; ++plane) {
        sum += nonzero_bytes(*reinterpret_cast<const uint32_t*>(masks + plane * source.pixels()));
      }
    } else {
      for (int64_t plane = base; plane < end; ++plane) {
        for (int i = 0; i < at.count; ++i) sum += uint32_t(masks[plane * source.pixels() + i] != 0) << (8 * i);
      }
    }
#pragma unroll
    for (int i = 0; i < kQuad; ++i) result.v[i] += int32_t(sum >> (8 * i) & 255u);
  }
  if (source.class_agnostic) {
#pragma unroll
    for (int i = 0; i < kQuad; ++i) result.v[i] = min(result.v[i], 1);
  }
  return result;
}

}  // namespace ldie::adversarial
