// SPDX-License-Identifier: Apache-2.0
// Page faults of big CPU outputs: 4 KiB at a time they cost more than the arithmetic of most ops.
#pragma once

#include <torch/csrc/stable/tensor.h>

#if defined(LDIE_BACKEND_CPU) && defined(__linux__)
#include <sys/mman.h>
#endif

namespace ldie {

// For tensors just made, before they are written: from the size on at which glibc's malloc always asks the system for
// fresh memory (and gives it back with the tensor), Linux is asked to provide it in pages of 2 MiB. As NumPy does it;
// only a hint, so failure does not matter.
inline torch::stable::Tensor in_huge_pages(torch::stable::Tensor fresh) {
#if defined(LDIE_BACKEND_CPU) && defined(__linux__)
  constexpr int64_t kAlwaysFresh = 32 << 20, kPage = 4096;
  int64_t bytes = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_storage_size(fresh.get(), &bytes));
  if (bytes >= kAlwaysFresh) {
    char* const start = static_cast<char*>(fresh.mutable_data_ptr());
    const int64_t before_page = (kPage - int64_t(reinterpret_cast<uintptr_t>(start) % kPage)) % kPage;
    madvise(start + before_page, size_t(bytes - before_page), MADV_HUGEPAGE);
  }
#endif
  return fresh;
}

}  // namespace ldie
