// SPDX-License-Identifier: Apache-2.0
// A point (position, offset group, tap) is served by a few lanes of a warp that share its place and walk its channels,
// 16 bytes an access. The input's gradient is gathered, not scattered: the points are sorted by the cell they fall
// into, and each pixel adds what the points of its four cells hold for it, in their order. So nothing depends on the
// order of threads, and no sum passes through memory. With E bytes an element and R = channels * taps a chunk of Q
// positions must move: columns Q R E written; point gradients Q R E read; input gradient Q R E read (four times, mostly
// from the second-level cache). The products around them do 2 Q R O operations each.
#include "conv/deform_conv2d.h"
#include "conv/deform_points.cuh"
#include "core/pack.cuh"

namespace ldie {
namespace {

template <int kWidth, typename T>
__device__ Pack<T, kWidth> load_pixel(const DeformSampling<T>& sampling, int64_t pixel, int64_t channel) {
  Pack<T, kWidth> pack;
  if (pixel >= 0) return load_pack<kWidth>(sampling.input + pixel * sampling.shape.channels + channel, 0);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) pack.values[i] = T(0.f);
  return pack;
}

template <int kWidth, typename T>
__global__ void __launch_bounds__(kThreads) columns_kernel(DeformColumns<T> args, Lanes lanes) {
  using A = acc_t<T>;
  const DeformShape& shape = args.sampling.shape;
  const int64_t points = args.chunk.count * shape.points(), stride = int64_t(gridDim.x) * (kThreads / lanes.lanes);
  const int64_t first = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / lanes.lanes;
  for (int64_t index = first; index < points; index += stride) {
    const PointIndex at(shape, args.chunk, index);
    const SamplePoint<A> place = args.sampling.point(at.image, at.position, at.point);
    const Bilinear<A> mix = bilinear(shape, at.image, place.y, place.x);
    for (int64_t pack = threadIdx.x % lanes.lanes; pack < lanes.packs; pack += lanes.lanes) {
      const int64_t channel = at.group * shape.offset_channels() + pack * kWidth;
      A sum[kWidth] = {};
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const Pack<T, kWidth> pixel = load_pixel<kWidth>(args.sampling, mix.takes(k) ? mix.pixel[k] : -1, channel);
        const A weight = mix.weight[k] * place.mask;
#pragma unroll
        for (int i = 0; i < kWidth; ++i) sum[i] += weight * A(pixel.values[i]);
      }
      Pack<T, kWidth> result;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) result.values[i] = T(sum[i]);
      store_pack<kWidth>(args.columns + at.row * shape.row() + shape.column(at.tap, channel), 0, result);
    }
  }
}

// Every thread of a warp goes through the same rounds, as the sums over lanes need them all.
template <int kWidth, typename T>
__global__ void __launch_bounds__(kThreads) point_gradients_kernel(DeformPointGradients<T> args, Lanes lanes) {
  using A = acc_t<T>;
  const DeformShape& shape = args.sampling.shape;
  const int64_t points = args.chunk.count * shape.points(), per_block = kThreads / lanes.lanes;
  for (int64_t base = blockIdx.x * per_block; base < points; base += gridDim.x * per_block) {
    const int64_t index = base + threadIdx.x / lanes.lanes;
    const PointIndex at(shape, args.chunk, index < points ? index : points - 1);
    const SamplePoint<A> place = args.sampling.point(at.image, at.position, at.point);
    const Bilinear<A> mix = bilinear(shape, at.image, place.y, place.x);
    A product[4] = {};
    for (int64_t pack = threadIdx.x % lanes.lanes; pack < lanes.packs; pack += lanes.lanes) {
      const int64_t channel = at.group * shape.offset_channels() + pack * kWidth;
      const Pack<T, kWidth> gradient =
          load_pack<kWidth>(args.grad_columns + at.row * shape.row() + shape.column(at.tap, channel), 0);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const Pack<T, kWidth> pixel = load_pixel<kWidth>(args.sampling, mix.pixel[k], channel);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) product[k] += A(gradient.values[i]) * A(pixel.values[i]);
      }
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      for (int distance = lanes.lanes / 2; distance > 0; distance /= 2) {
        product[k] += __shfl_xor_sync(kFullWarp, product[k], distance);
      }
    }
    if (index < points && threadIdx.x % lanes.lanes == 0) {
      const SamplePoint<A> result = point_gradient(mix, place.mask, product);
      const int64_t plane = args.sampling.point_plane(at.image, at.point) * shape.plane();
      args.grad_offset[2 * plane + at.position] = T(result.y);
      args.grad_offset[2 * plane + shape.plane() + at.position] = T(result.x);
      if (args.grad_mask) args.grad_mask[plane + at.position] = T(result.mask);
    }
  }
}

// Adds to `sum` what the points of one cell hold for the pixel at its corner (bottom, right).
template <int kWidth, typename T>
__device__ void add_cell(const DeformInputGradient<T>& args, const SortedPoints<T>& sorted, int64_t cell, bool bottom,
                         bool right, int64_t channel, acc_t<T> (&sum)[kWidth]) {
  using A = acc_t<T>;
  const DeformShape& shape = args.sampling.shape;
  for (int64_t i = sorted.starts[cell]; i < sorted.starts[cell + 1]; ++i) {
    const uint32_t index = sorted.indices[i];
    const PointMix<A> mix = sorted.mixes[index];
    const A weight =
        (bottom ? mix.fraction_y : A(1) - mix.fraction_y) * (right ? mix.fraction_x : A(1) - mix.fraction_x);
    if (weight == A(0)) continue;
    const int64_t row = index / uint32_t(shape.points()),
                  tap = index % uint32_t(shape.points()) % uint32_t(shape.taps());
    const Pack<T, kWidth> gradient =
        load_pack<kWidth>(args.grad_columns + row * shape.row() + shape.column(tap, channel), 0);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) sum[k] += weight * mix.mask * A(gradient.values[k]);
  }
}

// A few lanes own one pixel and offset group.
template <int kWidth, typename T>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(DeformInputGradient<T> args, SortedPoints<T> sorted, Lanes lanes) {
  using A = acc_t<T>;
  const DeformShape& shape = args.sampling.shape;
  const Cells& cells = sorted.cells;
  const int64_t owners = cells.images * shape.height * shape.width * shape.offset_groups;
  const int64_t stride = int64_t(gridDim.x) * (kThreads / lanes.lanes);
  for (int64_t owner = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / lanes.lanes; owner < owners; owner += stride) {
    const int64_t pixel = divide_size(owner, shape.offset_groups), group = owner - pixel * shape.offset_groups;
    const int64_t line = divide_size(pixel, shape.width), x = pixel - line * shape.width;
    const int64_t image = cells.first_image + divide_size(line, shape.height);
    const int64_t y = line - (image - cells.first_image) * shape.height;
    const int64_t above = cells.row(image, group, y) + x, below = above + cells.width;
    for (int64_t pack = threadIdx.x % lanes.lanes; pack < lanes.packs; pack += lanes.lanes) {
      const int64_t channel = group * shape.offset_channels() + pack * kWidth;
      A sum[kWidth] = {};
      add_cell<kWidth>(args, sorted, above, true, true, channel, sum);
      add_cell<kWidth>(args, sorted, above + 1, true, false, channel, sum);
      add_cell<kWidth>(args, sorted, below, false, true, channel, sum);
      add_cell<kWidth>(args, sorted, below + 1, false, false, channel, sum);
      A* const total = args.grad_input + ((image * shape.height + y) * shape.width + x) * shape.channels + channel;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) total[i] += sum[i];
    }
  }
}

// Calls body(width) with the elements of one access as a constant: 16 bytes, or one where channels or addresses forbid.
template <typename T, typename Body>
void with_width(const DeformShape& shape, std::initializer_list<const void*> addresses, const Body& body) {
  constexpr int kWidth = kPackWidth<T>;
  const bool wide = shape.group_channels() % kWidth == 0 && shape.offset_channels() % kWidth == 0;
  if (wide && packs_fit(addresses)) {
    body(std::integral_constant<int, kWidth>());
  } else {
    body(std::integral_constant<int, 1>());
  }
}

}  // namespace

template <typename T>
void deform_columns(const DeformColumns<T>& args, Context& context) {
  const DeformShape& shape = args.sampling.shape;
  with_width<T>(shape, {args.sampling.input, args.columns}, [&](auto width) {
    const Lanes lanes = lanes_for(shape.offset_channels(), width);
    const int64_t items = args.chunk.count * shape.points() * lanes.lanes;
    LDIE_LAUNCH((columns_kernel<decltype(width)::value, T>), dim3(point_blocks(items)), dim3(kThreads), 0,
                context.stream, args, lanes);
  });
}

template <typename T>
void deform_point_gradients(const DeformPointGradients<T>& args, Context& context) {
  const DeformShape& shape = args.sampling.shape;
  with_width<T>(shape, {args.sampling.input, args.grad_columns}, [&](auto width) {
    const Lanes lanes = lanes_for(shape.offset_channels(), width);
    const int64_t items = args.chunk.count * shape.points() * lanes.lanes;
    LDIE_LAUNCH((point_gradients_kernel<decltype(width)::value, T>), dim3(point_blocks(items)), dim3(kThreads), 0,
                context.stream, args, lanes);
  });
}

template <typename T>
void deform_input_gradient(const DeformInputGradient<T>& args, Context& context) {
  const DeformShape& shape = args.sampling.shape;
  const SortedPoints<T> sorted = sort_points(args.sampling, args.chunk, context);
  with_width<T>(shape, {args.grad_columns}, [&](auto width) {
    const Lanes lanes = lanes_for(shape.offset_channels(), width);
    const int64_t owners = sorted.cells.images * shape.height * shape.width * shape.offset_groups;
    LDIE_LAUNCH((gather_kernel<decltype(width)::value, T>), dim3(point_blocks(owners * lanes.lanes)), dim3(kThreads), 0,
                context.stream, args, sorted, lanes);
  });
}

#define LDIE_INSTANTIATE(T)                                                       \
  template void deform_columns(const DeformColumns<T>&, Context&);                \
  template void deform_point_gradients(const DeformPointGradients<T>&, Context&); \
  template void deform_input_gradient(const DeformInputGradient<T>&, Context&);
LDIE_INSTANTIATE(float)
LDIE_INSTANTIATE(double)
LDIE_INSTANTIATE(Half)
LDIE_INSTANTIATE(BFloat16)

}  // namespace ldie
