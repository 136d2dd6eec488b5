// SPDX-License-Identifier: Apache-2.0
// The sampling points of a chunk: shared out over threads, and sorted by the cell of the input that they fall into.
#pragma once

#include "conv/deform_conv2d.h"
#include "core/device_sort.cuh"
#include "core/grid.cuh"
#include "core/reduce.cuh"

namespace ldie::conv {
namespace {

constexpr int kThreads = 256;

inline unsigned blocks_for(int64_t items, int per_block) { return grid_blocks(items, per_block, 1 << 20); }

// A few lanes of a warp (a power of two) walk the channels of one point or pixel, `packs` accesses of 16 bytes.
struct Lanes {
  int lanes;
  int64_t packs;
};

inline Lanes lanes_for(int64_t channels, int width) {
  Lanes result{1, channels / width};
  while (result.lanes < kWarpSize && result.lanes < result.packs) result.lanes *= 2;
  return result;
}

// A point of a chunk by its index (row * offset_groups + group) * taps + tap: below 2^32, as the columns of a chunk
// have at least one element for each point.
struct PointIndex {
  int64_t row, image, position, point, group, tap;

  __device__ PointIndex(const DeformShape& shape, const Chunk& chunk, int64_t index) {
    const uint32_t i = uint32_t(index), points = uint32_t(shape.points()), taps = uint32_t(shape.taps());
    row = i / points;
    point = i % points;
    group = uint32_t(point) / taps;
    tap = uint32_t(point) % taps;
    image = divide_size(chunk.first + row, shape.plane());
    position = chunk.first + row - image * shape.plane();
  }
};

// The cells between pixels, a border of one around: cell (image, offset group, y + 1, x + 1) has its top left pixel at
// (y, x). Images are counted from the chunk's first. There are fewer than 2^32 (chunk_rows in deform_conv2d.cpp).
struct Cells {
  int64_t first_image, images, offset_groups, height, width;  // height + 1 and width + 1 of the input

  LDIE_HD int64_t count() const { return images * offset_groups * height * width; }
  LDIE_HD int64_t row(int64_t image, int64_t group, int64_t y) const {
    return (((image - first_image) * offset_groups + group) * height + y) * width;
  }
};

// What a point hands to the pixels around it.
template <typename A>
struct SortedPoint {
  int64_t row, tap;  // of its columns
  A fraction_y, fraction_x, mask;
};

// Points in the order of their cells, and within a cell of their indices; those of a cell are starts[cell] up to
// starts[cell + 1].
template <typename T>
struct SortedPoints {
  Cells cells;
  const uint32_t* starts;
  const SortedPoint<acc_t<T>>* points;
};

// Points outside the image get the key after the last cell.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    cell_keys_kernel(DeformSampling<T> sampling, Chunk chunk, Cells cells, uint32_t* keys, uint32_t* indices) {
  const int64_t points = chunk.count * sampling.shape.points(), stride = grid_threads<kThreads>();
  for (int64_t index = thread_index<kThreads>(); index < points; index += stride) {
    const PointIndex at(sampling.shape, chunk, index);
    const SamplePoint<acc_t<T>> place = sampling.point(at.image, at.position, at.point);
    const Bilinear<acc_t<T>> mix = bilinear(sampling.shape, at.image, place.y, place.x);
    const int64_t cell = cells.row(at.image, at.group, mix.top + 1) + mix.left + 1;
    keys[index] = uint32_t(mix.inside ? cell : cells.count());
    indices[index] = uint32_t(index);
  }
}

// The first of the rising keys that is not below `cell`.
__device__ inline int64_t first_of_cell(const uint32_t* keys, int64_t points, int64_t cell) {
  int64_t low = 0, high = points;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (keys[middle] < cell) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// Sorted keys and indices to points and to starts[0 ... cells]. A cell is searched for by a thread of its own: a chunk
// may leave most of an image's cells empty, too many for the thread of the point after them.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    cell_points_kernel(DeformSampling<T> sampling, Chunk chunk, int64_t cells, const uint32_t* keys,
                       const uint32_t* indices, uint32_t* starts, SortedPoint<acc_t<T>>* sorted) {
  const int64_t points = chunk.count * sampling.shape.points(), stride = grid_threads<kThreads>();
  for (int64_t i = thread_index<kThreads>(); i <= cells || i < points; i += stride) {
    if (i <= cells) starts[i] = uint32_t(first_of_cell(keys, points, i));
    if (i >= points) continue;
    const PointIndex at(sampling.shape, chunk, indices[i]);
    const SamplePoint<acc_t<T>> place = sampling.point(at.image, at.position, at.point);
    const Bilinear<acc_t<T>> mix = bilinear(sampling.shape, at.image, place.y, place.x);
    sorted[i] = {at.row, at.tap, mix.fraction_y, mix.fraction_x, place.mask};
  }
}

template <typename T>
SortedPoints<T> sort_points(const DeformSampling<T>& sampling, const Chunk& chunk, Context& context) {
  const DeformShape& shape = sampling.shape;
  const int64_t points = chunk.count * shape.points(), first_image = chunk.first / shape.plane();
  const int64_t images = (chunk.first + chunk.count - 1) / shape.plane() + 1 - first_image;
  const Cells cells{first_image, images, shape.offset_groups, shape.height + 1, shape.width + 1};
  uint32_t* const keys = context.scratch_array<uint32_t>(2 * points);
  uint32_t* const indices = context.scratch_array<uint32_t>(2 * points);
  uint32_t* const starts = context.scratch_array<uint32_t>(cells.count() + 1);
  auto* const sorted = context.scratch_array<SortedPoint<acc_t<T>>>(points);
  LDIE_LAUNCH(cell_keys_kernel<T>, dim3(blocks_for(points, kThreads)), dim3(kThreads), 0, context.stream, sampling,
              chunk, cells, keys, indices);
  int key_bits = 1;
  while (cells.count() >> key_bits) ++key_bits;
  sort_pairs<SortOrder::ascending>(
      context, KeyValueArrays<uint32_t, uint32_t>{keys, keys + points, indices, indices + points, points}, key_bits);
  const int64_t items = points > cells.count() ? points : cells.count() + 1;
  LDIE_LAUNCH(cell_points_kernel<T>, dim3(blocks_for(items, kThreads)), dim3(kThreads), 0, context.stream, sampling,
              chunk, cells.count(), keys + points, indices + points, starts, sorted);
  return {cells, starts, sorted};
}

}  // namespace
}  // namespace ldie::conv
