// SPDX-License-Identifier: Apache-2.0
// One argument of an op under check: each call returns the argument for the next, or throws.
//
//   const Argument boxes = Argument(op, "boxes", boxes_).floating().shape({kAnySize, 4}, "[N, 4]");
//   Argument(op, "scores", scores_).shape({boxes.size(0)}, "[N], one per box").dtype_of(boxes).device_of(boxes);
#pragma once

#include <initializer_list>

#include "core/check_tensors.h"
#include "core/tensors.h"

namespace ldie {

constexpr int64_t kAnySize = -1;

class Argument {
 public:
  Argument(const char* op, const char* name, const Tensor& tensor) : op_(op), name_(name), tensor_(tensor) {}

  int64_t size(int64_t dimension) const { return tensor_.size(dimension); }

  const Argument& dtype(ScalarType required) const {
    if (tensor_.scalar_type() != required) fail("must be ", dtype_name(required));
    return *this;
  }
  const Argument& dtype_of(const Argument& other) const { return dtype(other.tensor_.scalar_type()); }

  const Argument& floating() const {
    if (!is_floating(tensor_.scalar_type())) fail("must be float32, float64, float16 or bfloat16");
    return *this;
  }

  const Argument& float_or_double() const {
    const ScalarType dtype = tensor_.scalar_type();
    if (dtype != ScalarType::Float && dtype != ScalarType::Double) fail("must be float32 or float64");
    return *this;
  }

  // A pattern such as {kAnySize, 4}; `layout` is its readable form, such as "[N, 4]".
  const Argument& shape(std::initializer_list<int64_t> pattern, const char* layout) const {
    bool same = tensor_.dim() == int64_t(pattern.size());
    int64_t d = 0;
    for (const int64_t size : pattern) {
      same = same && (size == kAnySize || tensor_.size(d) == size);
      ++d;
    }
    if (!same) fail("must have shape ", layout);
    return *this;
  }

  const Argument& shape_of(const Argument& other) const {
    bool same = tensor_.dim() == other.tensor_.dim();
    for (int64_t d = 0; same && d < tensor_.dim(); ++d) same = tensor_.size(d) == other.tensor_.size(d);
    if (!same) fail("must have the shape of ", other.name_, ", ", describe(other.tensor_));
    return *this;
  }

  const Argument& device_of(const Argument& other) const {
    if (tensor_.device() != other.tensor_.device()) {
      check_failed(op_, name_, " must be on the device of ", other.name_, ", but the two are on different devices");
    }
    return *this;
  }

  // Ops that number these in 32 bits.
  const Argument& fewer_than_2_31(int64_t count, const char* what) const {
    if (count >= int64_t(1) << 31) fail("must have fewer than 2^31 ", what);
    return *this;
  }

  // Ragged batches: item b owns rows offsets[b] .. offsets[b + 1]. The values are checked where the host can read them;
  // on CUDA that would be a synchronisation, and the kernels clamp them instead (core/ragged.h).
  const Argument& offsets([[maybe_unused]] int64_t rows, [[maybe_unused]] const char* rows_name = "boxes") const {
    dtype(ScalarType::Long);
    if (tensor_.dim() != 1 || tensor_.size(0) < 1) fail("must have shape [B + 1]");
#if !defined(LDIE_BACKEND_CUDA)
    const Tensor host = as_contiguous(tensor_);
    const int64_t* values = data<int64_t>(host);
    const int64_t count = tensor_.size(0);
    bool valid = values[0] == 0 && values[count - 1] == rows;
    for (int64_t b = 0; valid && b + 1 < count; ++b) valid = values[b] <= values[b + 1];
    if (!valid) check_failed(op_, name_, " must rise from 0 to the number of ", rows_name, ", ", rows);
#endif
    return *this;
  }

  // "NAME <requirement>, got [2, 3] float32"
  template <typename... Parts>
  [[noreturn]] void fail(const Parts&... requirement) const {
    check_failed(op_, name_, " ", requirement..., ", got ", describe(tensor_));
  }

 private:
  const char* op_;
  const char* name_;
  const Tensor& tensor_;
};

// The detection ops' common input: boxes [N, 4] float, labels [N] int64, offsets [B + 1] int64, on one device.
inline void check_labelled_boxes(const char* op, const Tensor& boxes_, const Tensor& labels, const Tensor& offsets) {
  const Argument boxes = Argument(op, "boxes", boxes_).floating().shape({kAnySize, 4}, "[N, 4]");
  Argument(op, "labels", labels).dtype(ScalarType::Long).shape({boxes.size(0)}, "[N], one per box").device_of(boxes);
  Argument(op, "offsets", offsets).device_of(boxes).offsets(boxes.size(0));
}

}  // namespace ldie
