// SPDX-License-Identifier: Apache-2.0
// The tensor side's view of PyTorch: the stable ABI under short names, dtype dispatch, and the Context of an op.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdlib>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <vector>

#include "core/allocation_tensors.h"
#include "core/arena_tensors.h"
#include "core/context.h"
#include "core/half.h"
#include "core/integers.h"
#include "core/pages_tensors.h"

#if !defined(LDIE_BACKEND_CPU) && !defined(LDIE_BACKEND_CUDA) && !defined(LDIE_BACKEND_EMULATED)
#error "compile the tensor side with one of LDIE_BACKEND_CPU, LDIE_BACKEND_CUDA, LDIE_BACKEND_EMULATED"
#endif

namespace ldie {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// A new tensor on the device of `like`, of its dtype unless another is given. (Names differ from torch::stable's so
// that argument-dependent lookup cannot mix them up.)
inline Tensor make_empty(const Tensor& like, std::initializer_list<int64_t> size,
                         std::optional<ScalarType> dtype = std::nullopt) {
  const std::vector<int64_t> sizes(size);
  return make_in_pages(sizes, dtype.value_or(like.scalar_type()), false,
                       [&] { return torch::stable::new_empty(like, sizes, dtype); });
}

inline Tensor make_zeros(const Tensor& like, std::initializer_list<int64_t> size,
                         std::optional<ScalarType> dtype = std::nullopt) {
  const std::vector<int64_t> sizes(size);
  return allocated(size, [&] { return torch::stable::new_zeros(like, sizes, dtype); });
}

// A new contiguous tensor of the size and dtype of `like`.
inline Tensor make_empty_like(const Tensor& like) {
  const auto given = like.sizes();
  const std::vector<int64_t> sizes(given.begin(), given.end());
  return make_in_pages(sizes, like.scalar_type(), false, [&] { return torch::stable::new_empty(like, sizes); });
}

inline Tensor as_contiguous(const Tensor& tensor) {
  if (tensor.is_contiguous()) return tensor;
  return allocated(tensor.sizes(), [&] { return torch::stable::contiguous(tensor); });
}

inline std::optional<Tensor> as_contiguous(const std::optional<Tensor>& tensor) {
  return tensor ? std::optional<Tensor>(as_contiguous(*tensor)) : std::nullopt;
}

// T is the native element type: float, double, ldie::Half, ldie::BFloat16, int64_t, uint8_t, bool, ...
template <typename T>
const T* data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <typename T>
T* mutable_data(Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

// The dtype that a floating one is computed in: that of acc_t.
inline ScalarType acc_dtype(ScalarType dtype) {
  return dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}
inline ScalarType acc_dtype(const Tensor& tensor) { return acc_dtype(tensor.scalar_type()); }

#if defined(LDIE_BACKEND_CPU)
// Zeros of a floating or one-byte dtype whose pages the system provides when they are first touched, where torch.zeros
// writes them all: for big outputs that stay mostly zero. Readers gain too, as untouched pages are one zero page in the
// cache.
inline Tensor make_untouched_zeros(const std::vector<int64_t>& size, ScalarType dtype) {
  constexpr int64_t kAlignment = 64;  // as PyTorch's own CPU tensors
  void* const block = allocated(size, [&] {
    const std::optional<int64_t> bytes = bytes_of(size, dtype);
    void* const zeros = bytes ? std::calloc(size_t(*bytes) + kAlignment, 1) : nullptr;
    if (zeros == nullptr) throw std::bad_alloc();
    return zeros;
  });
  const uintptr_t start = round_up(reinterpret_cast<uintptr_t>(block), uintptr_t(kAlignment));
  return torch::stable::from_blob(reinterpret_cast<void*>(start), size, strides_of(size, false),
                                  torch::stable::Device(torch::headeronly::DeviceType::CPU), dtype,
                                  [block](void*) { std::free(block); });
}
#endif

// An output that stays mostly zero, and whether it is zero already or the launcher has to clear it. Big ones on the CPU
// come as untouched zeros, because their page faults would be the whole time; below 32 MiB glibc's calloc may clear
// reused memory on one thread, where the launcher uses several.
struct MostlyZero {
  Tensor tensor;
  bool zeroed;
};

inline MostlyZero make_mostly_zero(const Tensor& like, std::initializer_list<int64_t> size, ScalarType dtype) {
#if defined(LDIE_BACKEND_CPU)
  if (const std::optional<int64_t> bytes = bytes_of(size, dtype); !bytes || *bytes >= kBigBytes) {
    return {make_untouched_zeros(size, dtype), true};
  }
#endif
  return {make_empty(like, size, dtype), false};
}

// Device guard, current stream and scratch memory for one call of an op on `like`'s device.
class TensorContext final : public Context {
 public:
  explicit TensorContext(const Tensor& like) : Context(current_stream(like)), guard_(device_of(like)), arena_(like) {}

  void* scratch(size_t bytes) override { return arena_.take(bytes); }

 private:
#if defined(LDIE_BACKEND_CUDA)
  using Guard = torch::stable::accelerator::DeviceGuard;
  static int32_t device_of(const Tensor& like) { return like.get_device_index(); }
  static void* current_stream(const Tensor& like) {
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(like.get_device_index(), &stream));
    return stream;
  }
#else
  struct Guard {
    explicit Guard(int32_t) {}
  };
  static int32_t device_of(const Tensor&) { return -1; }
  static void* current_stream(const Tensor&) { return nullptr; }
#endif

  Guard guard_;
  Arena arena_;
};

// Calls body<T>(context) for the floating dtype of `like`, T as in data<T>().
template <typename Body>
void launch_floating(const Tensor& like, Context& context, Body&& body) {
  switch (like.scalar_type()) {
    case ScalarType::Float: return body.template operator()<float>(context);
    case ScalarType::Double: return body.template operator()<double>(context);
    case ScalarType::Half: return body.template operator()<Half>(context);
    case ScalarType::BFloat16: return body.template operator()<BFloat16>(context);
    default: throw std::logic_error("launch_floating: the dtype was not checked");
  }
}

// The same in a context of its own, on `like`'s device.
template <typename Body>
void launch_floating(const Tensor& like, Body&& body) {
  TensorContext context(like);
  launch_floating(like, context, body);
}

// The same for ops that have float32 and float64 only.
template <typename Body>
void launch_wide(const Tensor& like, Body&& body) {
  TensorContext context(like);
  switch (like.scalar_type()) {
    case ScalarType::Float: return body.template operator()<float>(context);
    case ScalarType::Double: return body.template operator()<double>(context);
    default: throw std::logic_error("launch_wide: the dtype was not checked");
  }
}

}  // namespace ldie
