// SPDX-License-Identifier: Apache-2.0
// Shadow memory: for each 4-byte word the last few accesses that a later one could race with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <unordered_map>

namespace simt::race {

enum AccessKind : std::uint8_t {
  kRead = 1,
  kWrite = 2,
  kAtomic = 4,  // with both of the others: an atomic operation; with one: a volatile, which is relaxed, load or store
};

struct Access {
  std::uint32_t block;           // serial number of the block, counted through all launches
  std::int32_t program_counter;  // relative to this library
  std::uint16_t thread;          // linear index in the block
  std::uint16_t barrier, clock;  // when: see ordering.h
  std::uint8_t bytes : 4;        // which of the word's bytes
  std::uint8_t kind : 4;         // AccessKind bits; 0: an unused slot
  std::uint8_t padding = 0;

  bool reads_only() const { return !(kind & kWrite); }
  bool conflicts_with(const Access& other) const {
    return (bytes & other.bytes) && ((kind | other.kind) & kWrite) && !(kind & other.kind & kAtomic);
  }
  // Whether whatever conflicts with the other access conflicts with this one too.
  bool subsumes(const Access& other) const {
    if (other.bytes & ~bytes) return false;
    const bool as_strong = !(kind & kAtomic) || (other.kind & kAtomic);
    return as_strong && (kind & kWrite) >= (other.kind & kWrite);
  }
};
static_assert(sizeof(Access) == 16);

inline constexpr std::size_t kWordBytes = 4, kSlots = 4;
struct Word {
  Access slots[kSlots];
};

class ShadowMemory {
 public:
  Word& operator[](std::uintptr_t address) {
    const std::uintptr_t page = address / kPageBytes;
    Recent& recent = recent_[page % kRecent];
    if (recent.page != page || !recent.words) recent = {page, find(page)};
    return recent.words[address % kPageBytes / kWordBytes];
  }
  // Between launches nothing needs to be remembered: give back what a big one took.
  void trim();

 private:
  static constexpr std::size_t kPageBytes = 1024, kRecent = 64, kPagesKept = 4096;
  struct Free {
    void operator()(Word* words) const { std::free(words); }
  };
  struct Recent {
    std::uintptr_t page;
    Word* words;
  };
  Word* find(std::uintptr_t page);

  std::unordered_map<std::uintptr_t, std::unique_ptr<Word[], Free>> pages_;
  Recent recent_[kRecent] = {};
};

}  // namespace simt::race
