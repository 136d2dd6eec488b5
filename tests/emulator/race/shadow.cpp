// SPDX-License-Identifier: Apache-2.0
#include "race/shadow.h"

#include <algorithm>
#include <new>

namespace simt::race {

Word* ShadowMemory::find(std::uintptr_t page) {
  auto& words = pages_[page];
  if (!words) {
    // calloc: untouched parts of a page cost no memory
    words.reset(static_cast<Word*>(std::calloc(kPageBytes / kWordBytes, sizeof(Word))));
    if (!words) throw std::bad_alloc();
  }
  return words.get();
}

void ShadowMemory::trim() {
  if (pages_.size() <= kPagesKept) return;
  pages_.clear();
  std::fill(std::begin(recent_), std::end(recent_), Recent{});
}

}  // namespace simt::race
