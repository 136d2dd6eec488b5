// SPDX-License-Identifier: Apache-2.0
// Registration of ops. One tensor-side source is compiled once per backend:
//   _C.so, _C_avx2.so, ...  LDIE_BACKEND_CPU       defines the schemas, registers for CPU
//   _C_cuda.so              LDIE_BACKEND_CUDA      registers for CUDA; the schemas are _C's
//   _C_emulated.so (tests)  LDIE_BACKEND_EMULATED  the CUDA kernels on CPU tensors, in a namespace of their own
#pragma once

#include <torch/csrc/stable/library.h>

#include "core/allocation_tensors.h"

// The function as the dispatcher calls it.
#define LDIE_BOXED(name, function)                                                         \
  [](StableIValue* stack, uint64_t inputs, uint64_t outputs) {                             \
    ldie::named_allocations(name, [&] { TORCH_BOX (&function)(stack, inputs, outputs); }); \
  }

// LDIE_OP(name, function, "(Tensor a, int kind) -> Tensor"), the schema behind the op's name.
#if defined(LDIE_BACKEND_CUDA)
#define LDIE_OP(name, function, schema)                                                                    \
  static_assert(sizeof(schema) > 1, "the schema is defined by _C.so");                                     \
  STABLE_TORCH_LIBRARY_IMPL(ldie_ext, CUDA, library) { library.impl(#name, LDIE_BOXED(#name, function)); } \
  static_assert(true)
#else
#if defined(LDIE_BACKEND_EMULATED)
#define LDIE_NAMESPACE ldie_ext_emulated
#else
#define LDIE_NAMESPACE ldie_ext
#endif
#define LDIE_OP(name, function, schema) LDIE_OP_IN(LDIE_NAMESPACE, name, function, schema)
#define LDIE_OP_IN(ns, name, function, schema) LDIE_OP_EXPANDED(ns, name, function, schema)
#define LDIE_OP_EXPANDED(ns, name, function, schema)                                                \
  STABLE_TORCH_LIBRARY_FRAGMENT(ns, library) { library.def(#name schema); }                         \
  STABLE_TORCH_LIBRARY_IMPL(ns, CPU, library) { library.impl(#name, LDIE_BOXED(#name, function)); } \
  static_assert(true)
#endif
