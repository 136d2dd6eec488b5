// SPDX-License-Identifier: Apache-2.0
// Deformable convolution: tap t of the kernel reads the input at its place on the regular grid plus a learned offset,
// between pixels, times a learned mask (Dai et al. 2017, eq. 2-4; with the mask Zhu et al. 2019, eq. 1):
//   out[q, o] = bias[o] + sum_t sum_c weight[o, c, t] mask[q, t] input(c, grid(q, t) + offset[q, t])
// As a matrix product: a row of `columns` holds all samples of one output position q, and out = columns weight^T.
// Columns are made and used a chunk of positions at a time, so that the workspace does not grow with the batch.
// Images are N H W C here: the samples of all channels share one place and stand side by side in memory.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/context.h"
#include "core/half.h"
#include "core/hd.h"

namespace ldie::conv {

// Division of sizes: 64-bit division is slow on GPUs, and nearly all sizes fit 32 bits.
LDIE_HD int64_t divide_size(int64_t a, int64_t b) {
#if defined(__CUDA_ARCH__)
  if (((a | b) >> 32) == 0) return int64_t(uint32_t(a) / uint32_t(b));
#endif
  return a / b;
}

struct DeformShape {
  int64_t batch, channels, height, width;  // of the input
  int64_t filters, out_height, out_width;  // of the output
  int64_t kernel_height, kernel_width;
  int64_t stride[2], padding[2], dilation[2];  // vertical, horizontal
  int64_t groups;                              // parts of the channels that only their part of the filters sees
  int64_t offset_groups;                       // parts of the channels that share offsets and masks

  LDIE_HD int64_t taps() const { return kernel_height * kernel_width; }
  LDIE_HD int64_t plane() const { return out_height * out_width; }
  LDIE_HD int64_t positions() const { return batch * plane(); }
  LDIE_HD int64_t group_channels() const { return channels / groups; }
  LDIE_HD int64_t offset_channels() const { return channels / offset_groups; }
  int64_t group_filters() const { return filters / groups; }
  int64_t group_row() const { return taps() * group_channels(); }    // of the columns, the part of a group
  LDIE_HD int64_t row() const { return channels * taps(); }          // of the columns: [groups, taps, group_channels]
  LDIE_HD int64_t points() const { return offset_groups * taps(); }  // sampling places of one position

  // Where channel `channel` of tap `tap` stands in a row of the columns.
  LDIE_HD int64_t column(int64_t tap, int64_t channel) const {
    const int64_t group = groups == 1 ? 0 : divide_size(channel, group_channels());
    return (group * taps() + tap) * group_channels() + channel - group * group_channels();
  }
};

// Output positions first, ..., first + count - 1 of all images in order; row r of a chunk is position first + r.
struct Chunk {
  int64_t first, count;
};

// One place that a tap of one position and offset group samples, in pixels, and the mask there.
template <typename A>
struct SamplePoint {
  A y, x, mask;
};

// Bilinear interpolation at one point: pixels 0 top left, 1 top right, 2 bottom left, 3 bottom right, as indices into
// [batch, height, width] or -1 outside the image, where the input counts as 0.
template <typename A>
struct Bilinear {
  int64_t pixel[4];
  A weight[4];
  A fraction_y, fraction_x;  // of the way from pixel 0 down and to the right
  int64_t top, left;         // of pixel 0, -1 on the border around the image
  bool inside;               // some pixel may lie in the image; false for NaN and infinite places

  // A pixel without weight takes no part, whatever its value.
  LDIE_HD bool takes(int corner) const { return pixel[corner] >= 0 && weight[corner] != A(0); }
};

template <typename A>
LDIE_HD Bilinear<A> bilinear(const DeformShape& shape, int64_t image, A y, A x) {
  Bilinear<A> result;
  result.inside = y >= A(-1) && y < A(shape.height) && x >= A(-1) && x < A(shape.width);
  const A floor_y = result.inside ? std::floor(y) : A(-2), floor_x = result.inside ? std::floor(x) : A(-2);
  const int64_t top = int64_t(floor_y), left = int64_t(floor_x);
  result.top = top;
  result.left = left;
  const bool has_top = top >= 0, has_bottom = result.inside && top + 1 < shape.height;
  const bool has_left = left >= 0, has_right = result.inside && left + 1 < shape.width;
  const int64_t corner = (image * shape.height + top) * shape.width + left;
  const A fy = result.inside ? y - floor_y : A(0), fx = result.inside ? x - floor_x : A(0);
  result.pixel[0] = has_top && has_left ? corner : -1;
  result.pixel[1] = has_top && has_right ? corner + 1 : -1;
  result.pixel[2] = has_bottom && has_left ? corner + shape.width : -1;
  result.pixel[3] = has_bottom && has_right ? corner + shape.width + 1 : -1;
  result.weight[0] = (A(1) - fy) * (A(1) - fx);
  result.weight[1] = (A(1) - fy) * fx;
  result.weight[2] = fy * (A(1) - fx);
  result.weight[3] = fy * fx;
  result.fraction_y = fy;
  result.fraction_x = fx;
  return result;
}

// What decides the samples. offset [batch, offset_groups, taps, 2 (y, x), out_height, out_width]; mask the same with
// 1 for 2, or null for 1 everywhere.
template <typename T>
struct DeformSampling {
  using A = acc_t<T>;
  DeformShape shape;
  const T* input;  // [batch, height, width, channels]
  const T *offset, *mask;

  // Index of a mask's element; the two offsets are at twice the way to its plane.
  LDIE_HD int64_t point_plane(int64_t image, int64_t point) const { return image * shape.points() + point; }

  // `point` is offset_group * taps + tap.
  LDIE_HD SamplePoint<A> point(int64_t image, int64_t position, int64_t point) const {
    const int64_t tap = point - divide_size(point, shape.taps()) * shape.taps();
    const int64_t row = divide_size(tap, shape.kernel_width), column = tap - row * shape.kernel_width;
    const int64_t out_y = divide_size(position, shape.out_width), out_x = position - out_y * shape.out_width;
    const int64_t plane = point_plane(image, point) * shape.plane() + position;
    const T* const shift = offset + 2 * (plane - position) + position;
    return {A(out_y * shape.stride[0] - shape.padding[0] + row * shape.dilation[0]) + A(shift[0]),
            A(out_x * shape.stride[1] - shape.padding[1] + column * shape.dilation[1]) + A(shift[shape.plane()]),
            mask ? A(mask[plane]) : A(1)};
  }
};

// The gradient by mask and place, from the products of the columns' gradient with the four pixels, summed over the
// channels: the sample is linear in the pixels.
template <typename A>
LDIE_HD SamplePoint<A> point_gradient(const Bilinear<A>& at, A mask, const A (&product)[4]) {
  const A fy = at.fraction_y, fx = at.fraction_x;
  SamplePoint<A> gradient;
  gradient.y = mask * ((A(1) - fx) * (product[2] - product[0]) + fx * (product[3] - product[1]));
  gradient.x = mask * ((A(1) - fy) * (product[1] - product[0]) + fy * (product[3] - product[2]));
  gradient.mask =
      at.weight[0] * product[0] + at.weight[1] * product[1] + at.weight[2] * product[2] + at.weight[3] * product[3];
  return gradient;
}

// Writes the rows of a chunk.
template <typename T>
struct DeformColumns {
  DeformSampling<T> sampling;
  Chunk chunk;
  T* columns;  // [chunk.count, groups, taps, group_channels]
};

// From the columns' gradient to those of the offsets and masks.
template <typename T>
struct DeformPointGradients {
  DeformSampling<T> sampling;
  Chunk chunk;
  const T* grad_columns;
  T *grad_offset, *grad_mask;  // like offset and mask, the chunk's positions written; grad_mask null without a mask
};

// From the columns' gradient to that of the input, which is added to.
template <typename T>
struct DeformInputGradient {
  DeformSampling<T> sampling;
  Chunk chunk;
  const T* grad_columns;
  acc_t<T>* grad_input;  // [batch, height, width, channels]
};

// `count` matrices [rows, columns], one behind the other, to [columns, rows]. CUDA only: on the CPU PyTorch's copy is
// as good.
template <typename T>
struct Transpose {
  const T* input;
  T* output;
  int64_t count, rows, columns;
};

// A row written `rows` times, one behind the other.
template <typename T>
struct RepeatRow {
  const T* row;
  T* output;
  int64_t rows, columns;
};

template <typename T>
void transpose_matrices(const Transpose<T>& args, Context& context);
template <typename T>
void repeat_row(const RepeatRow<T>& args, Context& context);
template <typename T>
void deform_columns(const DeformColumns<T>& args, Context& context);
template <typename T>
void deform_point_gradients(const DeformPointGradients<T>& args, Context& context);
template <typename T>
void deform_input_gradient(const DeformInputGradient<T>& args, Context& context);

}  // namespace ldie::conv
