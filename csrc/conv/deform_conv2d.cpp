// SPDX-License-Identifier: Apache-2.0
#include "conv/deform_conv2d.h"

#include <algorithm>
#include <tuple>

#include "conv/deform_tensors.h"
#include "conv/matmul_tensors.h"
#include "core/integers.h"
#include "core/library_tensors.h"

namespace ldie::conv {
namespace {

// The columns' group g is a matrix within their rows.
Matrices column_matrices(const DeformShape& shape, void* columns, int64_t count) {
  const int64_t width = shape.taps() * shape.group_channels();
  return {columns, count, width, width, shape.row(), 1};
}

// Filters of each group as rows, in the columns' order: [groups, filters / groups, taps, group_channels].
Matrices filter_matrices(const DeformShape& shape, Tensor& filters) {
  const int64_t width = shape.taps() * shape.group_channels(), rows = shape.filters / shape.groups;
  return {filters.mutable_data_ptr(), rows, width, rows * width, width, 1};
}

// The chunk's rows of an output-like tensor [positions, groups, filters / groups].
template <typename T>
Matrices output_matrices(const DeformShape& shape, Tensor& output, const Chunk& chunk) {
  const int64_t width = shape.filters / shape.groups;
  return {mutable_data<T>(output) + chunk.first * shape.filters, chunk.count, width, width, shape.filters, 1};
}

// What a chunk's products are added to. cuBLAS adds what the output holds, which is the bias then: 3.9 us on an
// H200 for 2 x 256 x 50 x 84, where a strided copy of as much by PyTorch, that of the result, takes 16. For a row of
// bias PyTorch would make such a copy or choose a slower product.
template <typename T>
Matrices bias_matrices(const DeformShape& shape, const T* bias, const Matrices& output, Context& context) {
#if defined(LDIE_BACKEND_CPU)
  static_cast<void>(context);
  return {const_cast<T*>(bias), output.rows, output.columns, output.columns, 0, 1};
#else
  repeat_row(RepeatRow<T>{bias, static_cast<T*>(output.data), output.rows, shape.filters}, context);
  return output;
#endif
}

// From [.., taps, channels] of the filters as matrices to the weight's [.., channels, kernel_height, kernel_width].
Tensor filters_to_weight(const Tensor& filters, const DeformShape& shape) {
  const int64_t channels = shape.group_channels();
  const Tensor grouped = reshape(filters, {shape.filters, shape.taps(), channels});
  return reshape(transpose_matrices(grouped), {shape.filters, channels, shape.kernel_height, shape.kernel_width});
}

Tensor weight_to_filters(const Tensor& weight, const DeformShape& shape) {
  const Tensor grouped = reshape(weight, {shape.filters, shape.group_channels(), shape.taps()});
  return transpose_matrices(grouped);
}

// Positions of a chunk: its columns fill at most kColumnBytes, and its images have few enough pixels that an array over
// them is no bigger; but one position at least.
int64_t chunk_rows(const DeformShape& shape, int64_t element_bytes) {
#if defined(LDIE_BACKEND_CPU)
  constexpr int64_t kColumnBytes = int64_t(16) << 20;  // stays in the last-level cache
#elif defined(LDIE_BACKEND_CUDA)
  constexpr int64_t kColumnBytes = int64_t(128) << 20;  // fills a big GPU with tiles of the product
#else
  constexpr int64_t kColumnBytes = int64_t(64) << 10;  // tests: several chunks even of small inputs
#endif
  constexpr int64_t kMostPixels = kColumnBytes / 8, one = 1;
  const int64_t pixels = (shape.height + 1) * (shape.width + 1) * shape.offset_groups;
  const int64_t of_columns = kColumnBytes / std::max(one, shape.row() * element_bytes);
  const int64_t of_images = kMostPixels / pixels * shape.plane();
  const int64_t most = std::max(one, std::min(of_columns, std::max(of_images, shape.plane())));
  const int64_t chunks = std::max(one, ceil_div(shape.positions(), most));
  return std::max(one, ceil_div(shape.positions(), chunks));  // alike: a small last one would not fill a GPU
}

// Calls body(chunk, context) for all positions, with a context of its own so that a chunk's scratch memory ends with
// it.
template <typename Body>
void for_each_chunk(const Tensor& like, int64_t positions, int64_t rows, const Body& body) {
  for (int64_t first = 0; first < positions; first += rows) {
    TensorContext context(like);
    body(Chunk{first, std::min(rows, positions - first)}, context);
  }
}

template <typename T>
DeformSampling<T> make_sampling(const DeformTensors& in) {
  return {in.shape, data<T>(in.input), data<T>(in.offset), in.mask ? data<T>(*in.mask) : nullptr};
}

Tensor deform_conv2d_op(const Tensor& input, const Tensor& offset, const Tensor& weight, const OptionalTensor& bias,
                        const OptionalTensor& mask, int64_t stride_h, int64_t stride_w, int64_t padding_h,
                        int64_t padding_w, int64_t dilation_h, int64_t dilation_w) {
  const DeformTensors in = deform_tensors(input, offset, weight, bias, mask,
                                          {stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w});
  const DeformShape& shape = in.shape;
  Tensor filters = weight_to_filters(in.weight, shape);
  Tensor output = make_empty(in.input, {shape.batch, shape.out_height, shape.out_width, shape.filters});
  TensorContext shared(in.input);
  dispatch_computing(in.input.scalar_type(), [&](auto element) {
    using T = decltype(element);
    const int64_t rows = chunk_rows(shape, sizeof(T));
    T* const columns = shared.scratch_array<T>(rows * shape.row());
    const Matrices matrices = filter_matrices(shape, filters).transposed();
    for_each_chunk(in.input, shape.positions(), rows, [&](const Chunk& chunk, Context& context) {
      deform_columns(DeformColumns<T>{make_sampling<T>(in), chunk, columns}, context);
      const Matrices product = output_matrices<T>(shape, output, chunk);
      const Matrices added = in.bias ? bias_matrices(shape, data<T>(*in.bias), product, context) : Matrices{};
      multiply(output, shape.groups, column_matrices(shape, columns, chunk.count), matrices, product,
               in.bias ? &added : nullptr);
    });
  });
  return with_dtype(from_channels_last(output), input.scalar_type());
}

// Everything of a backward call that its chunks share.
struct Backward {
  const DeformTensors& in;
  Tensor &filters, &grad_output, &grad_input, &grad_offset, &grad_mask, &grad_filters;
  bool needs_input, needs_points, needs_weight;
};

template <typename T>
void backward_chunk(const Backward& b, const Chunk& chunk, int64_t slot, bool add, T* columns, Context& context) {
  const DeformShape& shape = b.in.shape;
  const DeformSampling<T> sampling = make_sampling<T>(b.in);
  const Matrices column = column_matrices(shape, columns, chunk.count);
  const Matrices gradient = output_matrices<T>(shape, b.grad_output, chunk);
  if (b.needs_weight) {
    deform_columns(DeformColumns<T>{sampling, chunk, columns}, context);
    Matrices sum = filter_matrices(shape, b.grad_filters);
    sum.data = mutable_data<T>(b.grad_filters) + slot * shape.filters * sum.columns;
    multiply(b.filters, shape.groups, gradient.transposed(), column, sum, add ? &sum : nullptr);
  }
  if (!b.needs_input && !b.needs_points) return;
  multiply(b.filters, shape.groups, gradient, filter_matrices(shape, b.filters), column, nullptr);
  if (b.needs_points) {
    T* const grad_mask = b.in.mask ? mutable_data<T>(b.grad_mask) : nullptr;
    deform_point_gradients(DeformPointGradients<T>{sampling, chunk, columns, mutable_data<T>(b.grad_offset), grad_mask},
                           context);
  }
  if (b.needs_input) {
    deform_input_gradient(DeformInputGradient<T>{sampling, chunk, columns, mutable_data<acc_t<T>>(b.grad_input)},
                          context);
  }
}

// 16-bit sums over chunks would lose what 16-bit products keep: each chunk then has a slot of its own, added at last.
template <typename T>
void backward_chunks(Backward& b, Context& shared) {
  const DeformShape& shape = b.in.shape;
  const int64_t rows = chunk_rows(shape, sizeof(T)), chunks = ceil_div(shape.positions(), rows);
  const bool slots = sizeof(T) == 2 && chunks > 1;
  if (b.needs_weight) {
    const int64_t elements = shape.filters * shape.taps() * shape.group_channels();
    b.grad_filters =
        chunks == 0 ? make_zeros(b.filters, {elements}) : make_empty(b.filters, {slots ? chunks : 1, elements});
  }
  T* const columns = shared.scratch_array<T>(rows * shape.row());
  for_each_chunk(b.in.input, shape.positions(), rows, [&](const Chunk& chunk, Context& context) {
    backward_chunk(b, chunk, slots ? chunk.first / rows : 0, !slots && chunk.first > 0, columns, context);
  });
  if (b.needs_weight && slots) b.grad_filters = sum_of_rows(b.grad_filters);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> deform_conv2d_backward_op(
    const Tensor& grad_output, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const OptionalTensor& mask, int64_t stride_h, int64_t stride_w, int64_t padding_h, int64_t padding_w,
    int64_t dilation_h, int64_t dilation_w, bool needs_input, bool needs_points, bool needs_weight) {
  const DeformTensors in = deform_tensors(input, offset, weight, std::nullopt, mask,
                                          {stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w});
  const DeformShape& shape = in.shape;
  const ScalarType dtype = in.input.scalar_type();
  check_grad_output(grad_output, input, shape);
  Tensor gradient = to_channels_last(with_dtype(grad_output, dtype)), filters = weight_to_filters(in.weight, shape);
  const auto none = [&] { return make_empty(in.input, {0}); };
  const auto zeros = [&] {
    return make_zeros(in.input, {shape.batch, shape.height, shape.width, shape.channels}, sum_dtype(dtype));
  };
  Tensor grad_input = needs_input ? zeros() : none(), grad_filters = none();
  Tensor grad_offset = needs_points ? make_empty_like(in.offset) : none();
  Tensor grad_mask = needs_points && in.mask ? make_empty_like(*in.mask) : none();
  Backward backward{in,        filters,      gradient,    grad_input,   grad_offset,
                    grad_mask, grad_filters, needs_input, needs_points, needs_weight};
  TensorContext context(in.input);
  dispatch_computing(dtype, [&](auto element) { backward_chunks<decltype(element)>(backward, context); });
  const ScalarType asked = input.scalar_type();
  return {with_dtype(needs_input ? from_channels_last(grad_input) : grad_input, asked), with_dtype(grad_offset, asked),
          with_dtype(grad_mask, asked),
          with_dtype(needs_weight ? filters_to_weight(grad_filters, shape) : grad_filters, asked)};
}

LDIE_SCHEMA(
    "deform_conv2d(Tensor input, Tensor offset, Tensor weight, Tensor? bias, Tensor? mask, SymInt stride_h, "
    "SymInt stride_w, SymInt padding_h, SymInt padding_w, SymInt dilation_h, SymInt dilation_w) -> Tensor");
LDIE_REGISTER("deform_conv2d", deform_conv2d_op)
LDIE_SCHEMA(
    "deform_conv2d_backward(Tensor grad_output, Tensor input, Tensor offset, Tensor weight, Tensor? mask, "
    "SymInt stride_h, SymInt stride_w, SymInt padding_h, SymInt padding_w, SymInt dilation_h, SymInt dilation_w, "
    "bool needs_input, bool needs_points, bool needs_weight) "
    "-> (Tensor grad_input, Tensor grad_offset, Tensor grad_mask, Tensor grad_weight)");
LDIE_REGISTER("deform_conv2d_backward", deform_conv2d_backward_op)

}  // namespace
}  // namespace ldie::conv
