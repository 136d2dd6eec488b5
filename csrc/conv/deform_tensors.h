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

// Numbers of the call that are no tensors: vertical, horizontal.
struct DeformOptions {
  int64_t stride[2], padding[2], dilation[2];
};

inline Tensor with_dtype(const Tensor& tensor, ScalarType dtype) {
  return tensor.scalar_type() == dtype ? tensor : torch::stable::to(tensor, dtype);
}

inline Tensor reshape(const Tensor& tensor, std::initializer_list<int64_t> size) {
  return torch::stable::reshape(tensor, {size.begin(), size.size()});
}

// The CPU's matrix products gain nothing from 16-bit elements: it computes with float throughout.
inline ScalarType computing_dtype(ScalarType dtype) {
#if defined(LDIE_BACKEND_CPU)
  return acc_dtype(dtype);
#else
  return dtype;
#endif
}

// launch_floating() for tensors of the dtype that is computed with.
template <typename Body>
void launch_computing(const Tensor& like, Body&& body) {
#if defined(LDIE_BACKEND_CPU)
  TensorContext context(like);
  if (like.scalar_type() == ScalarType::Double) return body.template operator()<double>(context);
  body.template operator()<float>(context);
#else
  launch_floating(like, body);
#endif
}

// Contiguous matrices [count, rows, columns] as [count, columns, rows]. On a GPU PyTorch's copy by strides would load
// or store single elements far apart.
inline Tensor transpose_matrices(const Tensor& matrices) {
#if defined(LDIE_BACKEND_CPU)
  return as_contiguous(torch::stable::transpose(matrices, 1, 2));
#else
  const int64_t count = matrices.size(0), rows = matrices.size(1), columns = matrices.size(2);
  Tensor result = make_empty(matrices, {count, columns, rows});
  launch_floating(matrices, [&]<typename T>(Context& context) {
    transpose_matrices<T>({data<T>(matrices), mutable_data<T>(result), count, rows, columns}, context);
  });
  return result;
#endif
}

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

inline void check_pair(const char* name, int64_t least, const int64_t (&pair)[2]) {
  constexpr int64_t kMost = int64_t(1) << 30;  // far beyond any map, and products of sizes fit
  if (std::min(pair[0], pair[1]) < least || std::max(pair[0], pair[1]) > kMost) {
    check_failed("deform_conv2d", name, " must be at least ", least, " and at most 2^30, got (", pair[0], ", ", pair[1],
                 ")");
  }
}

inline Argument beside_input(const Argument& input, const char* name, const Tensor& tensor) {
  return Argument("deform_conv2d", name, tensor).dtype_of(input).device_of(input);
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
  const int64_t channels = input.size(1), height = input.size(2), width = input.size(3);
  const int64_t kernel_height = weight.size(2), kernel_width = weight.size(3);
  const int64_t groups = count_groups(weight, channels);
  const int64_t offset_groups = count_offset_groups(offset, channels, kernel_height * kernel_width);
  check_map_size("deform_conv2d", height, width);
  constexpr int64_t kMostPixels = int64_t(1) << 31;
  if ((height + 1) * (width + 1) > kMostPixels / offset_groups) {
    check_failed("deform_conv2d", "input must have fewer than 2^31 pixels an image, times offset_groups, got ",
                 describe(input));
  }
  return {.batch = input.size(0),
          .channels = channels,
          .height = height,
          .width = width,
          .filters = weight.size(0),
          .out_height = deform_output_size("high", height, kernel_height, o.stride[0], o.padding[0], o.dilation[0]),
          .out_width = deform_output_size("wide", width, kernel_width, o.stride[1], o.padding[1], o.dilation[1]),
          .kernel_height = kernel_height,
          .kernel_width = kernel_width,
          .stride = {o.stride[0], o.stride[1]},
          .padding = {o.padding[0], o.padding[1]},
          .dilation = {o.dilation[0], o.dilation[1]},
          .groups = groups,
          .offset_groups = offset_groups};
}

inline DeformTensors deform_tensors(const Tensor& input_, const Tensor& offset, const Tensor& weight,
                                    const OptionalTensor& bias, const OptionalTensor& mask, const DeformOptions& o) {
  constexpr const char* op = "deform_conv2d";
  constexpr auto any = kAnySize;
  const Argument input = Argument(op, "input", input_).floating().shape({any, any, any, any}, "[N, C, H, W]");
  beside_input(input, "weight", weight).shape({any, any, any, any}, "[O, C / groups, kh, kw]");
  const Argument places = beside_input(input, "offset", offset);
  places.shape({input.size(0), any, any, any}, "[N, 2 * offset_groups * kh * kw, out_h, out_w] with N of input");
  check_pair("stride", 1, o.stride);
  check_pair("padding", 0, o.padding);
  check_pair("dilation", 1, o.dilation);
  const DeformShape shape = deform_shape(input_, offset, weight, o);
  places.shape({shape.batch, 2 * shape.points(), shape.out_height, shape.out_width},
               "[N, 2 * offset_groups * kh * kw, out_h, out_w] of the convolution");
  if (mask) {
    beside_input(input, "mask", *mask)
        .shape({shape.batch, shape.points(), shape.out_height, shape.out_width},
               "[N, offset_groups * kh * kw, out_h, out_w], half the channels of offset");
  }
  if (bias) beside_input(input, "bias", *bias).shape({shape.filters}, "[O] of weight");
  const ScalarType dtype = computing_dtype(input_.scalar_type());
  const auto laid_out = [&](const Tensor& tensor) { return as_contiguous(with_dtype(tensor, dtype)); };
  return {shape,
          to_channels_last(with_dtype(input_, dtype)),
          laid_out(offset),
          laid_out(weight),
          bias ? OptionalTensor(laid_out(*bias)) : std::nullopt,
          mask ? OptionalTensor(laid_out(*mask)) : std::nullopt};
}

}  // namespace ldie::conv
