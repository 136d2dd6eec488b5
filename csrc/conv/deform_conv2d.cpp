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
template <typename T>
Matrices<T> column_matrices(const DeformShape& shape, T* columns, int64_t count) {
  return {columns, count, shape.group_row(), shape.group_row(), shape.row(), 1};
}

// Filters of each group as rows, in the columns' order: [groups, filters / groups, taps, group_channels].
template <typename T>
Matrices<T> filter_matrices(const DeformShape& shape, T* filters) {
  const int64_t rows = shape.group_filters(), width = shape.group_row();
  return {filters, rows, width, rows * width, width, 1};
}

// The chunk's rows of an output-like array [positions, groups, filters / groups].
template <typename T>
Matrices<T> output_matrices(const DeformShape& shape, T* output, const Chunk& chunk) {
  const int64_t width = shape.group_filters();
  return {output + chunk.first * shape.filters, chunk.count, width, width, shape.filters, 1};
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

// The filters as columns of each group, the right factor of the forward product. The CPU's product wants rows in one
// piece there (matmul.h); for cuBLAS it is the filters seen from the side.
#if defined(LDIE_BACKEND_CPU)
Tensor filter_columns(const Tensor& filters, const DeformShape& shape) {
  return transpose_matrices(reshape(filters, {shape.groups, shape.group_filters(), shape.group_row()}));
}

template <typename T>
Matrices<T> filter_column_matrices(const DeformShape& shape, T* columns) {
  const int64_t rows = shape.group_row(), width = shape.group_filters();
  return {columns, rows, width, rows * width, width, 1};
}
#else
Tensor filter_columns(const Tensor& filters, const DeformShape&) { return filters; }

template <typename T>
Matrices<T> filter_column_matrices(const DeformShape& shape, T* filters) {
  return filter_matrices(shape, filters).transposed();
}
#endif

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
                                          {{stride_h, stride_w}, {padding_h, padding_w}, {dilation_h, dilation_w}});
  const DeformShape& shape = in.shape;
  const Tensor filters = filter_columns(weight_to_filters(in.weight, shape), shape);
  Tensor output = make_empty(in.input, {shape.batch, shape.out_height, shape.out_width, shape.filters});
  launch_computing(in.input, [&]<typename T>(Context& shared) {
    if (in.bias) {  // what the products are added to
      repeat_row<T>({data<T>(*in.bias), mutable_data<T>(output), shape.positions(), shape.filters}, shared);
    }
    const int64_t rows = chunk_rows(shape, sizeof(T));
    T* const columns = shared.scratch_array<T>(rows * shape.row());
    for_each_chunk(in.input, shape.positions(), rows, [&](const Chunk& chunk, Context& context) {
      deform_columns<T>({make_sampling<T>(in), chunk, columns}, context);
      multiply<T>(in.input,
                  {.batch = shape.groups,
                   .a = column_matrices<const T>(shape, columns, chunk.count),
                   .b = filter_column_matrices(shape, data<T>(filters)),
                   .out = output_matrices(shape, mutable_data<T>(output), chunk),
                   .add = in.bias.has_value()},
                  context);
    });
  });
  return with_dtype(from_channels_last(output), input.scalar_type());
}

// Everything of a backward call that its chunks share.
struct Backward {
  const DeformTensors& in;
  const Tensor &filters, &grad_output;
  Tensor &grad_input, &grad_offset, &grad_mask, &grad_filters;
  bool needs_input, needs_points, needs_weight;
};

template <typename T>
void backward_chunk(const Backward& b, const Chunk& chunk, int64_t slot, bool add, T* columns, Context& context) {
  const DeformShape& shape = b.in.shape;
  const DeformSampling<T> sampling = make_sampling<T>(b.in);
  const Matrices<const T> gradient = output_matrices(shape, data<T>(b.grad_output), chunk);
  if (b.needs_weight) {
    deform_columns<T>({sampling, chunk, columns}, context);
    T* const sums = mutable_data<T>(b.grad_filters) + slot * shape.filters * shape.group_row();
    multiply<T>(b.filters,
                {.batch = shape.groups,
                 .a = gradient.transposed(),
                 .b = column_matrices<const T>(shape, columns, chunk.count),
                 .out = filter_matrices(shape, sums),
                 .add = add},
                context);
  }
  if (!b.needs_input && !b.needs_points) return;
  multiply<T>(b.filters,
              {.batch = shape.groups,
               .a = gradient,
               .b = filter_matrices(shape, data<T>(b.filters)),
               .out = column_matrices(shape, columns, chunk.count),
               .add = false},
              context);
  if (b.needs_points) {
    T* const grad_mask = b.in.mask ? mutable_data<T>(b.grad_mask) : nullptr;
    deform_point_gradients<T>({sampling, chunk, columns, mutable_data<T>(b.grad_offset), grad_mask}, context);
  }
  if (b.needs_input) {
    deform_input_gradient<T>({sampling, chunk, columns, mutable_data<acc_t<T>>(b.grad_input)}, context);
  }
}

// 16-bit sums over chunks would lose what 16-bit products keep: each chunk then has a slot of its own, added at last.
template <typename T>
void backward_chunks(const Backward& b, Context& shared) {
  const DeformShape& shape = b.in.shape;
  const int64_t rows = chunk_rows(shape, sizeof(T)), chunks = ceil_div(shape.positions(), rows);
  const bool slots = sizeof(T) == 2 && chunks > 1;
  if (b.needs_weight) {
    const int64_t elements = shape.filters * shape.group_row();
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
                                          {{stride_h, stride_w}, {padding_h, padding_w}, {dilation_h, dilation_w}});
  const DeformShape& shape = in.shape;
  const ScalarType dtype = in.input.scalar_type();
  beside_input(Argument("deform_conv2d", "input", input), "grad_output", grad_output)
      .shape({shape.batch, shape.filters, shape.out_height, shape.out_width}, "[N, O, out_h, out_w]");
  const Tensor filters = weight_to_filters(in.weight, shape);
  const Tensor gradient = to_channels_last(with_dtype(grad_output, dtype));
  const auto none = [&] { return make_empty(in.input, {0}); };
  const auto zeros = [&] {
    return make_zeros(in.input, {shape.batch, shape.height, shape.width, shape.channels}, sum_dtype(dtype));
  };
  Tensor grad_input = needs_input ? zeros() : none(), grad_filters = none();
  Tensor grad_offset = needs_points ? make_empty_like(in.offset) : none();
  Tensor grad_mask = needs_points && in.mask ? make_empty_like(*in.mask) : none();
  launch_computing(in.input, [&]<typename T>(Context& context) {
    backward_chunks<T>({in, filters, gradient, grad_input, grad_offset, grad_mask, grad_filters, needs_input,
                        needs_points, needs_weight},
                       context);
  });
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
