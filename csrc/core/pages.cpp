// SPDX-License-Identifier: Apache-2.0
#include "core/pages_tensors.h"

// What ldie_ext/memory.py calls: at most so many bytes of freed CPU memory stay for the next outputs, none for 0.
// Returns whether the library can.
extern "C" __attribute__((visibility("default"))) int ldie_keep_pages([[maybe_unused]] int64_t bytes) {
#if LDIE_PAGES
  ldie::page_pool().set_limit(size_t(bytes));
#endif
  return LDIE_PAGES;
}
