// SPDX-License-Identifier: Apache-2.0
// The sanitizers end the process with a report that knows source lines but no CUDA threads: add the thread.
#include "engine/asan.h"

#if defined(__SANITIZE_ADDRESS__)
#include <dlfcn.h>

#include <cstdio>

#include "engine/block.h"

namespace simt {
namespace {

void name_running_thread() {
  if (const std::string thread = Block::instance().running_thread(); !thread.empty()) {
    std::fprintf(stderr, "The error is in %s.\n", thread.c_str());
  }
}

using SetDeathCallback = decltype(&__sanitizer_set_death_callback);

[[maybe_unused]] const bool installed = [] {
  __sanitizer_set_death_callback(&name_running_thread);
  // UndefinedBehaviorSanitizer's library has a callback of its own, hidden behind AddressSanitizer's.
  if (void* ubsan = dlopen("libubsan.so.1", RTLD_LAZY | RTLD_NOLOAD)) {
    void* set = dlsym(ubsan, "__sanitizer_set_death_callback");
    if (set) reinterpret_cast<SetDeathCallback>(set)(&name_running_thread);
  }
  return true;
}();

}  // namespace
}  // namespace simt
#endif
