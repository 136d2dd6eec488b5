// SPDX-License-Identifier: Apache-2.0
// Every mask is read once, row by row as it lies in memory; a block without a change to the block above costs one
// comparison of vectors. Changes are then put in the order of columns by counting. Floor: the bytes of the masks.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/parallel_cpu.h"
#include "masks/rle_encode.h"
#include "masks/runs_cpu.h"

namespace ldie::masks {
namespace {

constexpr int64_t kBlock = 32, kWord = 8;  // bytes

uint64_t difference(const uint8_t* a, const uint8_t* b, int64_t bytes) {
  uint64_t own = 0, other = 0;
  std::memcpy(&own, a, size_t(bytes));
  std::memcpy(&other, b, size_t(bytes));
  return own ^ other;
}

bool same_block(const uint8_t* a, const uint8_t* b) {
  uint64_t any = 0;
  for (int64_t i = 0; i < kBlock; i += kWord) any |= difference(a + i, b + i, kWord);
  return any == 0;
}

// Where a mask's value changes, read column by column.
class ChangeFinder {
 public:
  explicit ChangeFinder(const MaskSet& masks)
      : height_(masks.height),
        width_(masks.width),
        row_bytes_(masks.row_bytes()),
        packed_(masks.packed()),
        columns_(size_t(masks.width) + 1) {}

  std::vector<int32_t> find(const uint8_t* mask) {
    rows_.clear();
    xs_.clear();
    columns_.assign(columns_.size(), 0);
    if (height_ == 0 || width_ == 0) return {};
    compare_tops(mask);
    for (int64_t y = 1; y < height_; ++y) compare_rows(mask + y * row_bytes_, y);
    return by_columns();
  }

 private:
  bool value(const uint8_t* mask, int64_t y, int64_t x) const {
    const uint8_t* const row = mask + y * row_bytes_;
    return packed_ ? row[x / 8] >> x % 8 & 1 : row[x] != 0;
  }

  void add(int64_t y, int64_t x) {
    rows_.push_back(int32_t(y));
    xs_.push_back(int32_t(x));
    ++columns_[size_t(x) + 1];
  }

  // What comes before the top of a column is the bottom of the one left of it.
  void compare_tops(const uint8_t* mask) {
    for (int64_t x = 0; x < width_; ++x) {
      const bool before = x > 0 && value(mask, height_ - 1, x - 1);
      if (value(mask, 0, x) != before) add(0, x);
    }
  }

  void compare_rows(const uint8_t* row, int64_t y) {
    const int64_t bytes = row_bytes_;
    const uint8_t* const above = row - bytes;
    int64_t begin = 0;
    for (; begin + kBlock <= bytes; begin += kBlock) {
      if (same_block(row + begin, above + begin)) continue;
      for (int64_t word = begin; word < begin + kBlock; word += kWord) compare_word(row, above, y, word, kWord);
    }
    for (; begin < bytes; begin += kWord) compare_word(row, above, y, begin, std::min(kWord, bytes - begin));
  }

  void compare_word(const uint8_t* row, const uint8_t* above, int64_t y, int64_t begin, int64_t bytes) {
    const uint64_t changes = difference(row + begin, above + begin, bytes);
    if (changes != 0) add_changes(changes, y, begin);
  }

  // Not inlined: the loop that finds nothing, nearly always, keeps its registers.
  __attribute__((noinline)) void add_changes(uint64_t changes, int64_t y, int64_t begin) {
    for (; changes != 0; changes &= changes - 1) {
      const int64_t bit = __builtin_ctzll(changes);
      const int64_t x = packed_ ? 8 * begin + bit : begin + bit / 8;
      if (x < width_) add(y, x);  // the bits that fill a row's last byte are no pixels
    }
  }

  std::vector<int32_t> by_columns() {
    for (size_t x = 1; x < columns_.size(); ++x) columns_[x] += columns_[x - 1];
    std::vector<int32_t> changes(xs_.size());
    for (size_t i = 0; i < xs_.size(); ++i) {
      changes[size_t(columns_[size_t(xs_[i])]++)] = int32_t(xs_[i] * height_ + rows_[i]);
    }
    return changes;
  }

  const int64_t height_, width_, row_bytes_;
  const bool packed_;
  std::vector<int32_t> rows_, xs_, columns_;
};

}  // namespace

void rle_encode(const RleEncode& args, RunAllocator& allocator, Context&) {
  constexpr int64_t kBytesPerTask = 1 << 17;
  std::vector<std::vector<int32_t>> changes(static_cast<size_t>(args.masks.count));
  parallel_for(args.masks.count, kBytesPerTask / (args.masks.mask_bytes() + 1) + 1, [&](int64_t begin, int64_t end) {
    ChangeFinder finder(args.masks);
    for (int64_t n = begin; n < end; ++n) changes[size_t(n)] = finder.find(args.masks.mask(n));
  });
  write_runs(changes, args.masks.pixels(), args.offsets, allocator);
}

}  // namespace ldie::masks
