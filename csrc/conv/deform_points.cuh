// SPDX-License-Identifier: Apache-2.0
// The sampling points of a chunk, shared out over threads and sorted by the cell of the input that they fall into.
#pragma once

#include "conv/deform_conv2d.h"
#include "core/device_sort.cuh"
#include "core/reduce.cuh"

namespace ldie {
namespace {

constexpr int kThreads = 256;

// How a warp is shared out: `lanes` (a power of two) serve one point, `packs` accesses cover its channels.
struct Lanes {
  int lanes;
  int64_t packs;
};

unsigned point_blocks(int64_t threads) {
  constexpr int64_t kMostBlocks = int64_t(1) << 20;
  const int64_t blocks = (threads + kThreads - 1) / kThreads;
  return unsigned(blocks < kMostBlocks ? blocks : kMostBlocks);
}

Lanes lanes_for(int64_t channels, int width) {
  Lanes result{1, channels / width};
  while (result.lanes < kWarpSize && result.lanes < result.packs) result.lanes *= 2;
  return result;
}

// A point of a chunk by its index ((row * offset_groups) + offset_group) * taps + tap: below 2^32, as the columns of a
// chunk have at least one element for each point.
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
// (y, x). Images are counted from the chunk's first.
struct Cells {
  int64_t first_image, images, offset_groups, height, width;  // height + 1 and width + 1 of the input

  LDIE_HD int64_t count() const { return images * offset_groups * height * width; }
  LDIE_HD int64_t row(int64_t image, int64_t group, int64_t y) const {
    return (((image - first_image) * offset_groups + group) * height + y) * width;
  }
};

template <typename A>
struct PointMix {
  A fraction_y, fraction_x, mask;
};

// Points outside the image get the key after the last cell.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    cell_keys_kernel(DeformSampling<T> sampling, Chunk chunk, Cells cells, uint64_t* keys, uint32_t* indices,
                     PointMix<acc_t<T>>* mixes) {
  using A = acc_t<T>;
  const int64_t points = chunk.count * sampling.shape.points(), stride = int64_t(gridDim.x) * kThreads;
  for (int64_t index = int64_t(blockIdx.x) * kThreads + threadIdx.x; index < points; index += stride) {
    const PointIndex at(sampling.shape, chunk, index);
    const SamplePoint<A> place = sampling.point(at.image, at.position, at.point);
    const Bilinear<A> mix = bilinear(sampling.shape, at.image, place.y, place.x);
    keys[index] =
        mix.inside ? uint64_t(cells.row(at.image, at.group, mix.top + 1) + mix.left + 1) : uint64_t(cells.count());
    indices[index] = uint32_t(index);
    mixes[index] = {mix.fraction_y, mix.fraction_x, place.mask};
  }
}

// starts[cell] is where the points of the cell begin in the sorted order, for cells 0 ... count.
__global__ void __launch_bounds__(kThreads)
    cell_starts_kernel(const uint64_t* keys, int64_t points, int64_t cells, int64_t* starts) {
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i <= points; i += stride) {
    const int64_t before = i == 0 ? -1 : int64_t(keys[i - 1]), here = i == points ? cells : int64_t(keys[i]);
    for (int64_t cell = before + 1; cell <= here; ++cell) starts[cell] = i;
  }
}

template <typename T>
struct SortedPoints {
  Cells cells;
  const int64_t* starts;
  const uint32_t* indices;
  const PointMix<acc_t<T>>* mixes;
};

template <typename T>
SortedPoints<T> sort_points(const DeformSampling<T>& sampling, const Chunk& chunk, Context& context) {
  const DeformShape& shape = sampling.shape;
  const int64_t points = chunk.count * shape.points(), first_image = chunk.first / shape.plane();
  const int64_t images = (chunk.first + chunk.count - 1) / shape.plane() + 1 - first_image;
  const Cells cells{first_image, images, shape.offset_groups, shape.height + 1, shape.width + 1};
  uint64_t* const keys = context.scratch_array<uint64_t>(2 * points);
  uint32_t* const indices = context.scratch_array<uint32_t>(2 * points);
  int64_t* const starts = context.scratch_array<int64_t>(cells.count() + 1);
  auto* const mixes = context.scratch_array<PointMix<acc_t<T>>>(points);
  LDIE_LAUNCH(cell_keys_kernel<T>, dim3(point_blocks(points)), dim3(kThreads), 0, context.stream, sampling, chunk,
              cells, keys, indices, mixes);
  int key_bits = 1;
  while (cells.count() >> key_bits) ++key_bits;
  sort_pairs<SortOrder::ascending>(
      context, KeyValueArrays<uint64_t, uint32_t>{keys, keys + points, indices, indices + points, points}, key_bits);
  LDIE_LAUNCH(cell_starts_kernel, dim3(point_blocks(points + 1)), dim3(kThreads), 0, context.stream, keys + points,
              points, cells.count(), starts);
  return {cells, starts, indices + points, mixes};
}

}  // namespace
}  // namespace ldie
