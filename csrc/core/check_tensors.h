// SPDX-License-Identifier: Apache-2.0
// Argument checks of the tensor side. Messages name the op, the argument, what is required and what came; they arrive
// in Python as RuntimeError.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

#include "core/tensors.h"

namespace ldie {

template <typename... Parts>
[[noreturn]] void check_failed(const char* op, const Parts&... parts) {
  std::ostringstream message;
  message << op << ": ";
  (message << ... << parts);
  throw std::runtime_error(message.str());
}

inline const char* dtype_name(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Float: return "float32";
    case ScalarType::Double: return "float64";
    case ScalarType::Half: return "float16";
    case ScalarType::BFloat16: return "bfloat16";
    case ScalarType::Long: return "int64";
    case ScalarType::Int: return "int32";
    case ScalarType::Byte: return "uint8";
    case ScalarType::Bool: return "bool";
    case ScalarType::Short: return "int16";
    case ScalarType::Char: return "int8";
    case ScalarType::ComplexFloat: return "complex64";
    case ScalarType::ComplexDouble: return "complex128";
    default: return "another dtype";
  }
}

// "[2, 3] float32", for messages.
inline std::string describe(const Tensor& tensor) {
  std::ostringstream text;
  text << "[";
  for (int64_t d = 0; d < tensor.dim(); ++d) text << (d ? ", " : "") << tensor.size(d);
  text << "] " << dtype_name(tensor.scalar_type());
  return text.str();
}

inline bool is_floating(ScalarType dtype) {
  return dtype == ScalarType::Float || dtype == ScalarType::Double || dtype == ScalarType::Half ||
         dtype == ScalarType::BFloat16;
}

// What lies between a tensor's first and last element, in bytes.
struct MemoryRange {
  uintptr_t begin = 0, end = 0;

  MemoryRange(const Tensor& tensor) {  // NOLINT: a tensor is meant wherever it is asked for
    if (tensor.numel() == 0) return;
    int64_t last = 0;  // PyTorch has no strides below 0
    for (int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * tensor.stride(d);
    begin = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
    end = begin + uintptr_t(last + 1) * tensor.element_size();
  }
};

// An op reads its inputs while it writes `out`.
inline void check_apart(const char* op, const MemoryRange& out, const char* name, const MemoryRange& input) {
  if (out.begin < input.end && input.begin < out.end) check_failed(op, "out must not share memory with ", name);
}

// The option that an integer of a schema names: Python's words are turned into these, other callers write what they
// like. Beside each enumeration stands last_option(Enum), the greatest that there is.
template <typename Enum>
Enum checked_option(const char* op, const char* name, int64_t value) {
  const auto last = int64_t(last_option(Enum()));
  if (value < 0 || value > last) {
    check_failed(op, name, " must be the number of an option, 0 to ", last, ", got ", value);
  }
  return Enum(value);
}

inline void check_positive(const char* op, const char* name, int64_t value) {
  if (value < 1) check_failed(op, name, " must be at least 1, got ", value);
}

inline void check_fraction(const char* op, const char* name, double value) {
  if (!(value > 0 && value <= 1)) check_failed(op, name, " must be above 0 and at most 1, got ", value);
}

// As the sides of maps, for squares that have a name of their own.
inline void check_side(const char* op, const char* name, int64_t side) {
  if (side < 1 || side > int64_t(1) << 30) check_failed(op, name, " must be at least 1 and at most 2^30, got ", side);
}

// Map sizes stay below 2^31 a side, so that a cell's coordinates fit an int32 (indices into the map are int64).
inline void check_map_size(const char* op, int64_t height, int64_t width) {
  constexpr int64_t kLimit = int64_t(1) << 30;
  if (height < 0 || width < 0 || height > kLimit || width > kLimit) {
    check_failed(op, "size must be (height, width) with 0 <= side <= 2^30, got (", height, ", ", width, ")");
  }
}

}  // namespace ldie
