// SPDX-License-Identifier: Apache-2.0
// A block computes the places of kPoints points (position, offset group, tap) once; then a few lanes serve each point
// and walk its channels, 16 bytes an access. The input's gradient is gathered, not scattered: the points are sorted by
// the cell they fall into, and each pixel adds what the points of its four cells hold for it, in their order. So
// nothing depends on the order of threads, and no sum passes through memory. With E bytes an element and
// R = channels * taps a chunk of Q positions must move: columns Q R E written; point gradients Q R E read; input
// gradient Q R E read (four times, mostly from the second-level cache). On an H200 these take 53, 78 and 102 us for 2 x
// 256 x 50 x 84 floats, where Q R E is 77 MB, 18 us at a copy's speed. The products around them do 2 Q R O operations
// each.
#include "conv/deform_conv2d.h"
#include "conv/deform_points.cuh"
#include "conv/transpose.cuh"
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/pack.cuh"

namespace ldie::conv {
namespace {

constexpr int kPoints = 32;  // of a block: enough to hide their arithmetic, and blocks stay many on small maps

template <typename A>
struct Place {
  int64_t row, image, position, point, group, tap;
  A mask;
  Bilinear<A> mix;
};

// The places of points first, ... by the block's first threads; all threads must call.
template <typename T>
__device__ void compute_places(const DeformSampling<T>& sampling, const Chunk& chunk, int64_t first, int64_t count,
                               Place<acc_t<T>>* places) {
  const int64_t index = first + threadIdx.x;
  if (threadIdx.x < kPoints && index < count) {
    const PointIndex at(sampling.shape, chunk, index);
    const SamplePoint<acc_t<T>> point = sampling.point(at.image, at.position, at.point);
    places[threadIdx.x] = {at.row,   at.image, at.position, at.point,
                           at.group, at.tap,   point.mask,  bilinear(sampling.shape, at.image, point.y, point.x)};
  }
  __syncthreads();
}

template <int kWidth, typename T>
__device__ Pack<T, kWidth> load_pixel(const DeformSampling<T>& sampling, int64_t pixel, int64_t channel) {
  if (pixel >= 0) return load_pack<kWidth>(sampling.input + pixel * sampling.shape.channels + channel, 0);
  Pack<T, kWidth> zeros;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) zeros.values[i] = T(0.f);
  return zeros;
}

template <int kWidth, typename T>
__device__ void write_columns(const DeformColumns<T>& args, const Place<acc_t<T>>& place, int64_t pack) {
  using A = acc_t<T>;
  const DeformShape& shape = args.sampling.shape;
  const int64_t channel = place.group * shape.offset_channels() + pack * kWidth;
  A sum[kWidth] = {};
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int64_t pixel = place.mix.takes(k) ? place.mix.pixel[k] : -1;
    const Pack<T, kWidth> values = load_pixel<kWidth>(args.sampling, pixel, channel);
    const A weight = place.mix.weight[k] * place.mask;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum[i] += weight * A(values.values[i]);
  }
  Pack<T, kWidth> result;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) result.values[i] = T(sum[i]);
  store_pack_whole<kWidth>(args.columns + place.row * shape.row() + shape.column(place.tap, channel), 0, result);
}

template <int kWidth, typename T>
__global__ void __launch_bounds__(kThreads) columns_kernel(DeformColumns<T> args, Lanes lanes) {
  LDIE_SHARED(Place<acc_t<T>>, places, [kPoints]);
  const int64_t count = args.chunk.count * args.sampling.shape.points();
  for (int64_t first = int64_t(blockIdx.x) * kPoints; first < count; first += int64_t(gridDim.x) * kPoints) {
    compute_places(args.sampling, args.chunk, first, count, places);
    for (int p = int(threadIdx.x) / lanes.lanes; p < kPoints && first + p < count; p += kThreads / lanes.lanes) {
      for (int64_t pack = int(threadIdx.x) % lanes.lanes; pack < lanes.packs; pack += lanes.lanes) {
        write_columns<kWidth>(args, places[p], pack);
      }
    }
    __syncthreads();  // before the next places overwrite these
  }
}

// This thread's part of the products of the columns' gradient with the four pixels.
template <int kWidth, typename T>
__device__ void add_products(const DeformPointGradients<T>& args, const Place<acc_t<T>>& place, const Lanes& lanes,
                             acc_t<T> (&product)[4]) {
  using A = acc_t<T>;
  const DeformShape& shape = args.sampling.shape;
  for (int64_t pack = int(threadIdx.x) % lanes.lanes; pack < lanes.packs; pack += lanes.lanes) {
    const int64_t channel = place.group * shape.offset_channels() + pack * kWidth;
    const T* const columns = args.grad_columns + place.row * shape.row() + shape.column(place.tap, channel);
    const Pack<T, kWidth> gradient = load_pack<kWidth>(columns, 0);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const Pack<T, kWidth> pixel = load_pixel<kWidth>(args.sampling, place.mix.pixel[k], channel);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) product[k] += A(gradient.values[i]) * A(pixel.values[i]);
    }
  }
}

// Every thread of a warp goes through the same rounds, as the sums over lanes need them all.
template <int kWidth, typename T>
__global__ void __launch_bounds__(kThreads) point_gradients_kernel(DeformPointGradients<T> args, Lanes lanes) {
  using A = acc_t<T>;
  LDIE_SHARED(Place<A>, places, [kPoints]);
  const DeformShape& shape = args.sampling.shape;
  const int64_t count = args.chunk.count * shape.points();
  for (int64_t first = int64_t(blockIdx.x) * kPoints; first < count; first += int64_t(gridDim.x) * kPoints) {
    compute_places(args.sampling, args.chunk, first, count, places);
    for (int base = 0; base < kPoints; base += kThreads / lanes.lanes) {
      const int p = base + int(threadIdx.x) / lanes.lanes;
      const bool valid = p < kPoints && first + p < count;
      A product[4] = {};
      if (valid) add_products<kWidth>(args, places[p], lanes, product);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        for (int distance = lanes.lanes / 2; distance > 0; distance /= 2) {
          product[k] += __shfl_xor_sync(kFullWarp, product[k], distance);
        }
      }
      if (!valid || int(threadIdx.x) % lanes.lanes != 0) continue;
      const Place<A>& place = places[p];
      const SamplePoint<A> result = point_gradient(place.mix, place.mask, product);
      const int64_t plane = args.sampling.point_plane(place.image, place.point) * shape.plane();
      args.grad_offset[2 * plane + place.position] = T(result.y);
      args.grad_offset[2 * plane + shape.plane() + place.position] = T(result.x);
      if (args.grad_mask) args.grad_mask[plane + place.position] = T(result.mask);
    }
    __syncthreads();  // before the next places overwrite these
  }
}

// Adds to `sum` what the points of one cell hold for the pixel at its corner (bottom, right). `columns` is the
// channel's place in the first row of the columns' gradient, at tap 0.
template <int kWidth, typename T>
__device__ void add_cell(const DeformShape& shape, const SortedPoints<T>& sorted, int64_t cell, bool bottom, bool right,
                         const T* columns, acc_t<T> (&sum)[kWidth]) {
  using A = acc_t<T>;
  const uint32_t end = sorted.starts[cell + 1];
  for (uint32_t i = sorted.starts[cell]; i < end; ++i) {
    const SortedPoint<A> point = sorted.points[i];
    const A weight =
        (bottom ? point.fraction_y : A(1) - point.fraction_y) * (right ? point.fraction_x : A(1) - point.fraction_x);
    if (weight == A(0)) continue;
    const Pack<T, kWidth> gradient =
        load_pack<kWidth>(columns + point.row * shape.row() + point.tap * shape.group_channels(), 0);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) sum[k] += weight * point.mask * A(gradient.values[k]);
  }
}

// A few lanes own one pixel and offset group.
template <int kWidth, typename T>
__global__ void __launch_bounds__(kThreads, 4)  // 64 registers, or the compiler spills to reach more blocks
    gather_kernel(DeformInputGradient<T> args, SortedPoints<T> sorted, Lanes lanes) {
  using A = acc_t<T>;
  const DeformShape& shape = args.sampling.shape;
  const Cells& cells = sorted.cells;
  const uint32_t groups = uint32_t(shape.offset_groups), height = uint32_t(shape.height), width = uint32_t(shape.width);
  const int64_t owners = cells.images * height * width * groups, stride = int64_t(gridDim.x) * (kThreads / lanes.lanes);
  const int64_t first = int64_t(blockIdx.x) * (kThreads / lanes.lanes) + int(threadIdx.x) / lanes.lanes;
  for (int64_t owner = first; owner < owners; owner += stride) {
    const uint32_t pixel = uint32_t(owner) / groups, group = uint32_t(owner) % groups;
    const uint32_t line = pixel / width, x = pixel % width, y = line % height;
    const int64_t above = cells.row(cells.first_image + line / height, group, y) + x, below = above + cells.width;
    A* const pixel_sums = args.grad_input + (cells.first_image * height * width + pixel) * shape.channels;
    for (int64_t pack = int(threadIdx.x) % lanes.lanes; pack < lanes.packs; pack += lanes.lanes) {
      const int64_t channel = group * shape.offset_channels() + pack * kWidth;
      const T* const columns = args.grad_columns + shape.column(0, channel);
      A sum[kWidth] = {};
      add_cell<kWidth>(shape, sorted, above, true, true, columns, sum);
      add_cell<kWidth>(shape, sorted, above + 1, true, false, columns, sum);
      add_cell<kWidth>(shape, sorted, below, false, true, columns, sum);
      add_cell<kWidth>(shape, sorted, below + 1, false, false, columns, sum);
      Pack<A, kWidth> total = load_pack<kWidth>(pixel_sums + channel, 0);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) total.values[i] += sum[i];
      store_pack(pixel_sums + channel, 0, total);
    }
  }
}

// Calls body(width, lanes) with the elements of one access as a constant: 16 bytes, or one where channels or addresses
// forbid.
template <typename T, typename Body>
void with_width(const DeformShape& shape, std::initializer_list<const void*> addresses, const Body& body) {
  constexpr int kWidth = kPackWidth<T>;
  const bool wide = shape.group_channels() % kWidth == 0 && shape.offset_channels() % kWidth == 0;
  if (wide && packs_fit(addresses)) {
    body(std::integral_constant<int, kWidth>(), lanes_for(shape.offset_channels(), kWidth));
  } else {
    body(std::integral_constant<int, 1>(), lanes_for(shape.offset_channels(), 1));
  }
}

}  // namespace

template <typename T>
void transpose_matrices(const Transpose<T>& args, Context& context) {
  const int64_t down = ceil_div(args.rows, kTransposeTile);
  const int64_t across = ceil_div(args.columns, kTransposeTile);
  LDIE_LAUNCH(transpose_kernel<T>, dim3(blocks_for(args.count * down * across, 1)),
              dim3(kTransposeTile * kTransposeRows), 0, context.stream, args);
}

template <typename T>
void repeat_row(const RepeatRow<T>& args, Context& context) {
  constexpr int kWidth = kPackWidth<T>, kBlock = kTransposeTile * kTransposeRows;
  const bool wide = args.columns % kWidth == 0 && packs_fit({args.row, args.output});
  const dim3 grid(loop_blocks(args.rows * args.columns / (wide ? kWidth : 1), kBlock));
  if (wide) {
    LDIE_LAUNCH((repeat_row_kernel<kWidth, T>), grid, dim3(kBlock), 0, context.stream, args);
  } else {
    LDIE_LAUNCH((repeat_row_kernel<1, T>), grid, dim3(kBlock), 0, context.stream, args);
  }
}

template <typename T>
void deform_columns(const DeformColumns<T>& args, Context& context) {
  const DeformShape& shape = args.sampling.shape;
  const dim3 grid(blocks_for(args.chunk.count * shape.points(), kPoints));
  with_width<T>(shape, {args.sampling.input, args.columns}, [&](auto width, const Lanes& lanes) {
    LDIE_LAUNCH((columns_kernel<decltype(width)::value, T>), grid, dim3(kThreads), 0, context.stream, args, lanes);
  });
}

template <typename T>
void deform_point_gradients(const DeformPointGradients<T>& args, Context& context) {
  const DeformShape& shape = args.sampling.shape;
  const dim3 grid(blocks_for(args.chunk.count * shape.points(), kPoints));
  with_width<T>(shape, {args.sampling.input, args.grad_columns}, [&](auto width, const Lanes& lanes) {
    LDIE_LAUNCH((point_gradients_kernel<decltype(width)::value, T>), grid, dim3(kThreads), 0, context.stream, args,
                lanes);
  });
}

template <typename T>
void deform_input_gradient(const DeformInputGradient<T>& args, Context& context) {
  const DeformShape& shape = args.sampling.shape;
  const SortedPoints<T> sorted = sort_points(args.sampling, args.chunk, context);
  const int64_t owners = sorted.cells.images * shape.height * shape.width * shape.offset_groups;
  with_width<T>(shape, {args.grad_columns, args.grad_input}, [&](auto width, const Lanes& lanes) {
    LDIE_LAUNCH((gather_kernel<decltype(width)::value, T>), dim3(blocks_for(owners, kThreads / lanes.lanes)),
                dim3(kThreads), 0, context.stream, args, sorted, lanes);
  });
}

LDIE_INSTANTIATE(transpose_matrices, Transpose);
LDIE_INSTANTIATE(repeat_row, RepeatRow);
LDIE_INSTANTIATE(deform_columns, DeformColumns);
LDIE_INSTANTIATE(deform_point_gradients, DeformPointGradients);
LDIE_INSTANTIATE(deform_input_gradient, DeformInputGradient);

}  // namespace ldie::conv
