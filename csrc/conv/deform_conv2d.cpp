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

// The weight's rows of each group in the columns' order, [groups, filters / groups, taps * group_channels], and back.
Tensor weight_to_filters(const Tensor& weight, const DeformShape& shape) {
  const Tensor channels_last =
      transpose_matrices(reshape(weight, {shape.filters, shape.group_channels(), shape.taps()}));
  return reshape(channels_last, {shape.groups, shape.group_filters(), shape.group_row()});
}

Tensor filters_to_weight(const Tensor& filters, const DeformShape& shape) {
  const int64_t channels = shape.group_channels();
  const Tensor channels_first = transpose_matrices(reshape(filters, {shape.filters, shape.taps(), channels}));
  return reshape(channels_first, {shape.filters, channels, shape.kernel_height, shape.kernel_width});
}

// The filters as columns: cuBLAS sees them from the side, the CPU's product wants its right factor's rows in one piece.
Tensor filter_columns(const Tensor& filters) {
#if defined(LDIE_BACKEND_CPU)
  return transpose_matrices(filters);
#else
  return torch::stable::transpose(filters, 1, 2);
#endif
}

// Rows [first, first + count) of [rows, groups * width] as a matrix for each group, [groups, count, width].
Tensor group_matrices(const Tensor& tensor, int64_t groups, int64_t first, int64_t count) {
  const int64_t row = tensor.size(1), width = row / groups;
  const int64_t sizes[] = {groups, count, width}, strides[] = {width, row, 1};
  AtenTensorHandle view = nullptr;  // in one step: three of reshape, transpose and narrow are felt in small calls
  TORCH_ERROR_CODE_CHECK(aoti_torch__reinterpret_tensor(tensor.get(), 3, sizes, strides, first * row, &view));
  return Tensor(view);
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

// The convolution's positions, in chunks whose columns share one workspace.
struct Chunks {
  int64_t positions, rows, count;
  Tensor columns;

  explicit Chunks(const DeformTensors& in)
      : positions(in.shape.positions()),
        rows(chunk_rows(in.shape, int64_t(in.input.element_size()))),
        count(ceil_div(positions, rows)),
        columns(make_empty(in.input, {rows, in.shape.row()})) {}

  template <typename Body>
  void for_each(const Body& body) const {
    for (int64_t first = 0; first < positions; first += rows) body(Chunk{first, std::min(rows, positions - first)});
  }
};

template <typename T>
DeformSampling<T> make_sampling(const DeformTensors& in) {
  return {in.shape, data<T>(in.input), data<T>(in.offset), in.mask ? data<T>(*in.mask) : nullptr};
}

void fill_columns(const DeformTensors& in, const Chunk& chunk, Tensor columns) {
  launch_computing(in.input, [&]<typename T>(Context& context) {
    deform_columns<T>({make_sampling<T>(in), chunk, mutable_data<T>(columns)}, context);
  });
}

Tensor deform_conv2d_op(const Tensor& input, const Tensor& offset, const Tensor& weight, const OptionalTensor& bias,
                        const OptionalTensor& mask, int64_t stride_h, int64_t stride_w, int64_t padding_h,
                        int64_t padding_w, int64_t dilation_h, int64_t dilation_w) {
  const DeformTensors in = deform_tensors(input, offset, weight, bias, mask,
                                          {{stride_h, stride_w}, {padding_h, padding_w}, {dilation_h, dilation_w}});
  const DeformShape& shape = in.shape;
  const Chunks chunks(in);
  const Tensor filters = filter_columns(weight_to_filters(in.weight, shape));
  Tensor output = make_empty(in.input, {shape.positions(), shape.filters});
  if (in.bias) {  // what the products are added to
    launch_computing(in.input, [&]<typename T>(Context& context) {
      repeat_row<T>({data<T>(*in.bias), mutable_data<T>(output), shape.positions(), shape.filters}, context);
    });
  }
  chunks.for_each([&](const Chunk& chunk) {
    fill_columns(in, chunk, chunks.columns);
    multiply(group_matrices(chunks.columns, shape.groups, 0, chunk.count), filters,
             group_matrices(output, shape.groups, chunk.first, chunk.count), in.bias.has_value());
  });
  const Tensor images = reshape(output, {shape.batch, shape.out_height, shape.out_width, shape.filters});
  return with_dtype(from_channels_last(images), input.scalar_type());
}

// The filters' gradient is a sum over chunks, which in 16 bits would lose what 16-bit products keep: each chunk then
// has a slot of its own, and they are added at last.
class FilterGradient {
 public:
  FilterGradient(const Tensor& filters, int64_t chunks) : slots_(filters.element_size() == 2 ? chunks : 1) {
    const int64_t groups = filters.size(0), rows = filters.size(1), columns = filters.size(2);
    sums_ = chunks == 0 ? make_zeros(filters, {1, groups, rows, columns})
                        : make_empty(filters, {slots_, groups, rows, columns});
  }
  void add(const Tensor& gradient, const Tensor& columns, int64_t chunk) {
    const Tensor sum = torch::stable::select(sums_, 0, slots_ > 1 ? chunk : 0);
    multiply(torch::stable::transpose(gradient, 1, 2), columns, sum, slots_ == 1 && chunk > 0);
  }
  Tensor total() const {
    const int64_t slot = 0;
    return slots_ > 1 ? torch::stable::sum(sums_, torch::headeronly::IntHeaderOnlyArrayRef(&slot, 1)) : sums_;
  }

 private:
  int64_t slots_;
  Tensor sums_;
};

std::tuple<Tensor, Tensor, Tensor, Tensor> deform_conv2d_backward_op(
    const Tensor& grad_output, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const OptionalTensor& mask, int64_t stride_h, int64_t stride_w, int64_t padding_h, int64_t padding_w,
    int64_t dilation_h, int64_t dilation_w, bool needs_input, bool needs_points, bool needs_weight) {
  const DeformTensors in = deform_tensors(input, offset, weight, std::nullopt, mask,
                                          {{stride_h, stride_w}, {padding_h, padding_w}, {dilation_h, dilation_w}});
  const DeformShape& shape = in.shape;
  beside_input(Argument("deform_conv2d", "input", input), "grad_output", grad_output)
      .shape({shape.batch, shape.filters, shape.out_height, shape.out_width}, "[N, O, out_h, out_w]");
  const Chunks chunks(in);
  const ScalarType asked = input.scalar_type(), dtype = in.input.scalar_type();
  const Tensor filters = weight_to_filters(in.weight, shape);
  const Tensor gradients =
      reshape(to_channels_last(with_dtype(grad_output, dtype)), {shape.positions(), shape.filters});
  const auto none = [&] { return make_empty(in.input, {0}); };
  Tensor grad_input = none(), grad_offset = none(), grad_mask = none(), grad_weight = none();
  if (needs_input) {
    grad_input = make_zeros(in.input, {shape.batch, shape.height, shape.width, shape.channels}, acc_dtype(dtype));
  }
  if (needs_points) grad_offset = make_empty_like(in.offset);
  if (needs_points && in.mask) grad_mask = make_empty_like(*in.mask);
  std::optional<FilterGradient> filter_gradient;
  if (needs_weight) filter_gradient.emplace(filters, chunks.count);

  chunks.for_each([&](const Chunk& chunk) {
    const Tensor gradient = group_matrices(gradients, shape.groups, chunk.first, chunk.count);
    const Tensor columns = group_matrices(chunks.columns, shape.groups, 0, chunk.count);
    if (filter_gradient) {
      fill_columns(in, chunk, chunks.columns);
      filter_gradient->add(gradient, columns, chunk.first / chunks.rows);
    }
    if (!needs_input && !needs_points) return;
    multiply(gradient, filters, columns, false);
    launch_computing(in.input, [&]<typename T>(Context& context) {
      const DeformSampling<T> sampling = make_sampling<T>(in);
      const T* const grad_columns = data<T>(chunks.columns);
      if (needs_points) {
        T* const masks = in.mask ? mutable_data<T>(grad_mask) : nullptr;
        deform_point_gradients<T>({sampling, chunk, grad_columns, mutable_data<T>(grad_offset), masks}, context);
      }
      if (needs_input) {
        deform_input_gradient<T>({sampling, chunk, grad_columns, mutable_data<acc_t<T>>(grad_input)}, context);
      }
    });
  });
  if (needs_input) grad_input = from_channels_last(grad_input);
  if (filter_gradient) grad_weight = filters_to_weight(filter_gradient->total(), shape);
  return {with_dtype(grad_input, asked), with_dtype(grad_offset, asked), with_dtype(grad_mask, asked),
          with_dtype(grad_weight, asked)};
}

LDIE_OP(deform_conv2d, deform_conv2d_op,
        "(Tensor input, Tensor offset, Tensor weight, Tensor? bias, Tensor? mask, SymInt stride_h, SymInt stride_w, "
        "SymInt padding_h, SymInt padding_w, SymInt dilation_h, SymInt dilation_w) -> Tensor");
LDIE_OP(
    deform_conv2d_backward, deform_conv2d_backward_op,
    "(Tensor grad_output, Tensor input, Tensor offset, Tensor weight, Tensor? mask, SymInt stride_h, SymInt stride_w, "
    "SymInt padding_h, SymInt padding_w, SymInt dilation_h, SymInt dilation_w, bool needs_input, bool needs_points, "
    "bool needs_weight) -> (Tensor grad_input, Tensor grad_offset, Tensor grad_mask, Tensor grad_weight)");

}  // namespace
}  // namespace ldie::conv
