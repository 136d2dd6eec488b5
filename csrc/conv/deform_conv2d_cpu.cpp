// SPDX-License-Identifier: Apache-2.0
// Channels stand side by side, so every inner loop runs over them. Columns and the gradients of places are independent
// by position; the input's gradient is scattered, so there a thread owns an image's channels.
#include <algorithm>

#include "conv/deform_conv2d.h"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/parallel_cpu.h"

namespace ldie::conv {
namespace {

constexpr int64_t kPositionsPerTask = 32;
constexpr int64_t kChannelBlock = 64;  // of the scatter: whole cache lines, and few enough that tasks are many
constexpr int64_t kLanes = 16;

// Rows of the four pixels under a point, of zeros outside the image.
template <typename A>
struct PixelRows {
  const A* row[4];
};

template <typename A>
A* zero_row(Context& context, int64_t channels) {
  A* const zeros = context.scratch_array<A>(channels);
  std::fill(zeros, zeros + channels, A(0));
  return zeros;
}

// Calls body(channel, column, count) for the stretches of channels [begin, end) that stay together in the columns.
template <typename Body>
void for_each_stretch(const DeformShape& shape, int64_t tap, int64_t begin, int64_t end, const Body& body) {
  const int64_t size = shape.group_channels();
  while (begin < end) {
    const int64_t stop = std::min(end, (begin / size + 1) * size);
    body(begin, shape.column(tap, begin), stop - begin);
    begin = stop;
  }
}

template <typename A>
void sample(const A* const (&row)[4], const A (&weight)[4], int64_t channel, int64_t count, A* __restrict__ out) {
  const A *const a = row[0] + channel, *const b = row[1] + channel, *const c = row[2] + channel,
                 *const d = row[3] + channel;
  const A wa = weight[0], wb = weight[1], wc = weight[2], wd = weight[3];
  for (int64_t i = 0; i < count; ++i) out[i] = (wa * a[i] + wb * b[i]) + (wc * c[i] + wd * d[i]);
}

// product[k] += sum of gradient * row[k], in lanes that vectorise.
template <typename A>
void add_products(const A* gradient, const A* const (&row)[4], int64_t channel, int64_t count, A (&product)[4]) {
  for (int k = 0; k < 4; ++k) {
    const A* const values = row[k] + channel;
    A lanes[kLanes] = {};
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += gradient[i + lane] * values[i + lane];
    }
    A sum = 0;
    for (; i < count; ++i) sum += gradient[i] * values[i];
    for (int64_t lane = 0; lane < kLanes; ++lane) sum += lanes[lane];
    product[k] += sum;
  }
}

template <typename A>
void add_scaled(const A* __restrict__ values, A factor, int64_t count, A* __restrict__ sum) {
  for (int64_t i = 0; i < count; ++i) sum[i] += factor * values[i];
}

// Calls body(row of the chunk, image, position within its plane) over threads.
template <typename Body>
void for_each_position(const DeformShape& shape, const Chunk& chunk, const Body& body) {
  parallel_for(chunk.count, kPositionsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t image = (chunk.first + row) / shape.plane();
      body(row, image, chunk.first + row - image * shape.plane());
    }
  });
}

}  // namespace

template <typename A>
void repeat_row(const RepeatRow<A>& args, Context&) {
  parallel_for(args.rows, kPositionsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      std::copy(args.row, args.row + args.columns, args.output + row * args.columns);
    }
  });
}

template <typename A>
void deform_columns(const DeformColumns<A>& args, Context& context) {
  const DeformSampling<A>& sampling = args.sampling;
  const DeformShape& shape = sampling.shape;
  const A* const zeros = zero_row<A>(context, shape.channels);
  for_each_position(shape, args.chunk, [&](int64_t row, int64_t image, int64_t position) {
    A* const columns = args.columns + row * shape.row();
    for (int64_t index = 0; index < shape.points(); ++index) {
      const SamplePoint<A> point = sampling.point(image, position, index);
      const Bilinear<A> at = bilinear(shape, image, point.y, point.x);
      const A* rows[4];
      A weight[4];
      for (int k = 0; k < 4; ++k) {
        rows[k] = at.takes(k) ? sampling.input + at.pixel[k] * shape.channels : zeros;
        weight[k] = at.weight[k] * point.mask;
      }
      const int64_t first = index / shape.taps() * shape.offset_channels();
      for_each_stretch(shape, index % shape.taps(), first, first + shape.offset_channels(),
                       [&](int64_t channel, int64_t column, int64_t count) {
                         sample(rows, weight, channel, count, columns + column);
                       });
    }
  });
}

template <typename A>
void deform_point_gradients(const DeformPointGradients<A>& args, Context& context) {
  const DeformSampling<A>& sampling = args.sampling;
  const DeformShape& shape = sampling.shape;
  const A* const zeros = zero_row<A>(context, shape.channels);
  for_each_position(shape, args.chunk, [&](int64_t row, int64_t image, int64_t position) {
    const A* const gradient = args.grad_columns + row * shape.row();
    for (int64_t index = 0; index < shape.points(); ++index) {
      const SamplePoint<A> point = sampling.point(image, position, index);
      const Bilinear<A> at = bilinear(shape, image, point.y, point.x);
      const A* rows[4];
      A product[4] = {};
      for (int k = 0; k < 4; ++k) {
        rows[k] = at.pixel[k] >= 0 ? sampling.input + at.pixel[k] * shape.channels : zeros;
      }
      const int64_t first = index / shape.taps() * shape.offset_channels();
      for_each_stretch(shape, index % shape.taps(), first, first + shape.offset_channels(),
                       [&](int64_t channel, int64_t column, int64_t count) {
                         add_products(gradient + column, rows, channel, count, product);
                       });
      const SamplePoint<A> result = point_gradient(at, point.mask, product);
      const int64_t plane = sampling.point_plane(image, index) * shape.plane();
      args.grad_offset[2 * plane + position] = result.y;
      args.grad_offset[2 * plane + shape.plane() + position] = result.x;
      if (args.grad_mask) args.grad_mask[plane + position] = result.mask;
    }
  });
}

namespace {

// The scatter of one position's gradients by one tap, for channels [begin, end) of one offset group.
template <typename A>
void scatter(const DeformInputGradient<A>& args, int64_t image, int64_t position, int64_t index, int64_t begin,
             int64_t end) {
  const DeformShape& shape = args.sampling.shape;
  const SamplePoint<A> point = args.sampling.point(image, position, index);
  const Bilinear<A> at = bilinear(shape, image, point.y, point.x);
  const A* const gradient = args.grad_columns + (image * shape.plane() + position - args.chunk.first) * shape.row();
  for_each_stretch(shape, index % shape.taps(), begin, end, [&](int64_t channel, int64_t column, int64_t count) {
    for (int k = 0; k < 4; ++k) {
      if (!at.takes(k)) continue;
      A* const sum = args.grad_input + at.pixel[k] * shape.channels + channel;
      add_scaled(gradient + column, at.weight[k] * point.mask, count, sum);
    }
  });
}

}  // namespace

template <typename A>
void deform_input_gradient(const DeformInputGradient<A>& args, Context&) {
  const DeformShape& shape = args.sampling.shape;
  const int64_t plane = shape.plane(), first = args.chunk.first, last = first + args.chunk.count;
  const int64_t blocks = ceil_div(shape.offset_channels(), kChannelBlock);  // of an offset group
  const int64_t first_image = first / plane, images = (last - 1) / plane + 1 - first_image;
  parallel_for(images * shape.offset_groups * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t image = first_image + task / (shape.offset_groups * blocks);
      const int64_t group = task / blocks % shape.offset_groups;
      const int64_t channel = group * shape.offset_channels() + task % blocks * kChannelBlock;
      const int64_t stop = std::min(channel + kChannelBlock, (group + 1) * shape.offset_channels());
      const int64_t position_end = std::min(plane, last - image * plane);
      for (int64_t position = std::max(int64_t(0), first - image * plane); position < position_end; ++position) {
        for (int64_t tap = 0; tap < shape.taps(); ++tap) {
          scatter(args, image, position, group * shape.taps() + tap, channel, stop);
        }
      }
    }
  });
}

LDIE_INSTANTIATE_WIDE(repeat_row, RepeatRow);
LDIE_INSTANTIATE_WIDE(deform_columns, DeformColumns);
LDIE_INSTANTIATE_WIDE(deform_point_gradients, DeformPointGradients);
LDIE_INSTANTIATE_WIDE(deform_input_gradient, DeformInputGradient);

}  // namespace ldie::conv
