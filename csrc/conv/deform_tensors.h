// SPDX-License-Identifier: Apache-2.0
// The tensors of a deformable convolution, checked and laid out for the launchers (tensor side).
#pragma once

#include <algorithm>

#include "conv/deform_conv2d.h"
#include "core/argument_tensors.h"
#include "core/tensors.h"

namespace ldie::conv {

using OptionalTensor = std::optional<Tensor>;

// Contiguous tensors of the dtype that is computed with; the input is [batch, height, width, channels].
struct DeformTensors {
  DeformShape shape;
  Tensor input, offset, weight;
  OptionalTensor bias, mask;
};

// Numbers of the call that are no tensors.
struct DeformOptions {
  int64_t stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
};

inline Tensor with_dtype(const Tensor& tensor, ScalarType dtype) {
  return tensor.scalar_type() == dtype ? tensor : torch::stable::to(tensor, dtype);
}

inline Tensor reshape(const Tensor& tensor, std::initializer_list<int64_t> size) {
  return torch::stable::reshape(tensor, {size.begin(), size.size()});
}

inline Tensor sum_of_rows(const Tensor& tensor) {
  const int64_t dimension = 0;
  return torch::stable::sum(tensor, torch::headeronly::IntHeaderOnlyArrayRef(&dimension, 1));
}

// The dtype of sums over many chunks.
inline ScalarType sum_dtype(ScalarType dtype) {
  return dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// The CPU's matrix products gain nothing from 16-bit elements: it computes with float throughout.
#if defined(LDIE_BACKEND_CPU)
inline ScalarType computing_dtype(ScalarType dtype) { return sum_dtype(dtype); }

template <typename Body>
void dispatch_computing(ScalarType dtype, Body&& body) {
  if (dtype == ScalarType::Double) return body(double());
  body(float());
}
#else
inline ScalarType computing_dtype(ScalarType dtype) { return dtype; }

template <typename Body>
void dispatch_computing(ScalarType dtype, Body&& body) {
  dispatch_floating(dtype, body);
}
#endif

// Contiguous matrices [count, rows, columns] as [count, columns, rows]. On a GPU PyTorch's copy by strides would load
// or store single elements far apart.
#if defined(LDIE_BACKEND_CPU)
inline Tensor transpose_matrices(const Tensor& matrices) {
  return as_contiguous(torch::stable::transpose(matrices, 1, 2));
}
#else
inline Tensor transpose_matrices(const Tensor& matrices) {
  const int64_t count = matrices.size(0), rows = matrices.size(1), columns = matrices.size(2);
  Tensor result = make_empty(matrices, {count, columns, rows});
  TensorContext context(matrices);
  dispatch_computing(matrices.scalar_type(), [&](auto element) {
    using T = decltype(element);
    transpose_matrices(Transpose<T>{data<T>(matrices), mutable_data<T>(result), count, rows, columns}, context);
  });
  return result;
}
#endif

// N C H W of any strides to contiguous N H W C (a copy unless it is channels-last), and back as a view.
inline Tensor to_channels_last(const Tensor& images) {
#if !defined(LDIE_BACKEND_CPU)
  if (images.is_contiguous()) {
    const int64_t batch = images.size(0), channels = images.size(1), height = images.size(2), width = images.size(3);
    const Tensor planes = reshape(images, {batch, channels, height * width});
    return reshape(transpose_matrices(planes), {batch, height, width, channels});
  }
#endif
  return as_contiguous(torch::stable::transpose(torch::stable::transpose(images, 1, 2), 2, 3));
}

inline Tensor from_channels_last(const Tensor& images) {
  return torch::stable::transpose(torch::stable::transpose(images, 2, 3), 1, 2);
}

// Output cells along one side, by the formula of every convolution.
inline int64_t deform_output_size(const char* side, int64_t size, int64_t kernel, int64_t stride, int64_t padding,
                                  int64_t dilation) {
  const int64_t span = dilation * (kernel - 1) + 1, room = size + 2 * padding - span;
  if (room < 0) {
    check_failed("deform_conv2d", "input must be at least as ", side, " as the kernel: ", size,
                 " and twice the padding ", padding, " against ", span);
  }
  return room / stride + 1;
}

inline void check_pair(const char* name, int64_t least, int64_t vertical, int64_t horizontal) {
  constexpr int64_t kMost = int64_t(1) << 30;  // far beyond any map, and products of sizes fit
  if (std::min(vertical, horizontal) < least || std::max(vertical, horizontal) > kMost) {
    check_failed("deform_conv2d", name, " must be at least ", least, " and at most 2^30, got (", vertical, ", ",
                 horizontal, ")");
  }
}

inline void check_beside_input(const char* name, const Tensor& tensor, const Tensor& input) {
  check_dtype("deform_conv2d", name, tensor, input.scalar_type());
  check_same_device("deform_conv2d", name, tensor, "input", input);
}

// How many groups the weight's channels tell.
inline int64_t count_groups(const Tensor& weight, int64_t channels) {
  const int64_t group_channels = weight.size(1), filters = weight.size(0);
  if (weight.size(2) < 1 || weight.size(3) < 1 || group_channels < 1) {
    check_failed("deform_conv2d", "weight must have shape [O, C / groups, kh, kw] of at least 1 each but O, got ",
                 describe(weight));
  }
  const int64_t groups = channels / group_channels;
  if (groups < 1 || channels % group_channels != 0 || filters % groups != 0) {
    check_failed("deform_conv2d",
                 "weight must have shape [O, C / groups, kh, kw] with groups that divide C = ", channels,
                 " of input and O, got ", describe(weight));
  }
  return groups;
}

// How many offset groups the offset's channels tell.
inline int64_t count_offset_groups(const Tensor& offset, int64_t channels, int64_t taps) {
  const int64_t groups = offset.size(1) / (2 * taps);
  if (groups < 1 || offset.size(1) % (2 * taps) != 0 || channels % groups != 0) {
    check_failed("deform_conv2d",
                 "offset must have 2 * offset_groups * kh * kw channels with offset_groups that divide C = ", channels,
                 " of input and kh * kw = ", taps, " of weight, got ", describe(offset));
  }
  return groups;
}

inline DeformShape deform_shape(const Tensor& input, const Tensor& offset, const Tensor& weight,
                                const DeformOptions& o) {
  constexpr const char* op = "deform_conv2d";
  DeformShape shape{};
  shape.batch = input.size(0), shape.channels = input.size(1);
  shape.height = input.size(2), shape.width = input.size(3);
  shape.groups = count_groups(weight, shape.channels);
  shape.filters = weight.size(0), shape.kernel_height = weight.size(2), shape.kernel_width = weight.size(3);
  shape.offset_groups = count_offset_groups(offset, shape.channels, shape.taps());
  check_map_size(op, shape.height, shape.width);
  constexpr int64_t kMostPixels = int64_t(1) << 31;
  if ((shape.height + 1) * (shape.width + 1) > kMostPixels / shape.offset_groups) {
    check_failed(op, "input must have fewer than 2^31 pixels an image, times offset_groups, got ", describe(input));
  }
  shape.stride[0] = o.stride_h, shape.stride[1] = o.stride_w;
  shape.padding[0] = o.padding_h, shape.padding[1] = o.padding_w;
  shape.dilation[0] = o.dilation_h, shape.dilation[1] = o.dilation_w;
  shape.out_height =
      deform_output_size("high", shape.height, shape.kernel_height, o.stride_h, o.padding_h, o.dilation_h);
  shape.out_width = deform_output_size("wide", shape.width, shape.kernel_width, o.stride_w, o.padding_w, o.dilation_w);
  return shape;
}

inline DeformTensors deform_tensors(const Tensor& input, const Tensor& offset, const Tensor& weight,
                                    const OptionalTensor& bias, const OptionalTensor& mask, const DeformOptions& o) {
  constexpr const char* op = "deform_conv2d";
  check_floating(op, "input", input);
  check_shape(op, "input", input, {kAnySize, kAnySize, kAnySize, kAnySize}, "[N, C, H, W]");
  check_shape(op, "weight", weight, {kAnySize, kAnySize, kAnySize, kAnySize}, "[O, C / groups, kh, kw]");
  check_shape(op, "offset", offset, {input.size(0), kAnySize, kAnySize, kAnySize},
              "[N, 2 * offset_groups * kh * kw, out_h, out_w] with N of input");
  check_beside_input("offset", offset, input);
  check_beside_input("weight", weight, input);
  check_pair("stride", 1, o.stride_h, o.stride_w);
  check_pair("padding", 0, o.padding_h, o.padding_w);
  check_pair("dilation", 1, o.dilation_h, o.dilation_w);
  const DeformShape shape = deform_shape(input, offset, weight, o);
  check_shape(op, "offset", offset, {shape.batch, 2 * shape.points(), shape.out_height, shape.out_width},
              "[N, 2 * offset_groups * kh * kw, out_h, out_w] of the convolution");
  if (mask) {
    check_beside_input("mask", *mask, input);
    check_shape(op, "mask", *mask, {shape.batch, shape.points(), shape.out_height, shape.out_width},
                "[N, offset_groups * kh * kw, out_h, out_w], half the channels of offset");
  }
  if (bias) {
    check_beside_input("bias", *bias, input);
    check_shape(op, "bias", *bias, {shape.filters}, "[O] of weight");
  }
  const ScalarType dtype = computing_dtype(input.scalar_type());
  const auto laid_out = [&](const Tensor& tensor) { return as_contiguous(with_dtype(tensor, dtype)); };
  return {shape,
          to_channels_last(with_dtype(input, dtype)),
          laid_out(offset),
          laid_out(weight),
          bias ? OptionalTensor(laid_out(*bias)) : std::nullopt,
          mask ? OptionalTensor(laid_out(*mask)) : std::nullopt};
}

inline void check_grad_output(const Tensor& grad_output, const Tensor& input, const DeformShape& shape) {
  check_beside_input("grad_output", grad_output, input);
  check_shape("deform_conv2d", "grad_output", grad_output,
              {shape.batch, shape.filters, shape.out_height, shape.out_width}, "[N, O, out_h, out_w]");
}

}  // namespace ldie::conv
