// SPDX-License-Identifier: Apache-2.0
#include "host/scan.h"

#include <cstring>
#include <utility>

namespace ldie::host {

namespace {

constexpr int64_t kBlock = 64;

// Bytes that differ between two blocks, or'ed: 0 where the blocks are the same, which most are.
uint8_t difference(const uint8_t* a, const uint8_t* b) {
  uint8_t any = 0;
  for (int64_t i = 0; i < kBlock; ++i) any |= uint8_t(a[i] ^ b[i]);
  return any;
}

// Calls at(i) for every i < count, ascending, where one of a[i] and b[i] is zero and the other is not.
template <typename At>
void for_each_change(const uint8_t* a, const uint8_t* b, int64_t count, const At& at) {
  const auto test = [&](int64_t i) {
    if ((a[i] != 0) != (b[i] != 0)) at(i);
  };
  int64_t i = 0;
  for (; i + kBlock <= count; i += kBlock) {
    if (difference(a + i, b + i) == 0) continue;
    for (int64_t word = i; word < i + kBlock; word += 8) {
      uint64_t left, right;
      std::memcpy(&left, a + word, 8);
      std::memcpy(&right, b + word, 8);
      if (left == right) continue;
      for (int64_t k = word; k < word + 8; ++k) test(k);
    }
  }
  for (; i < count; ++i) test(i);
}

// Run lengths from the pixels, ascending, that differ from the one before (the first from zero).
class RunCounter {
 public:
  void change(int64_t pixel) {
    counts_.push_back(uint32_t(pixel - start_));
    start_ = pixel;
  }
  std::vector<uint32_t> finish(int64_t cells) {
    counts_.push_back(uint32_t(cells - start_));
    return std::move(counts_);
  }

 private:
  std::vector<uint32_t> counts_;
  int64_t start_ = 0;
};

struct Change {
  uint32_t row, column;
};

// Pixels that differ from the one above, row by row; the top one of a column is compared with the foot of the column
// to its left.
std::vector<Change> changes_down(const uint8_t* mask, int64_t height, int64_t width, int64_t stride) {
  std::vector<Change> changes;
  const uint8_t* const foot = mask + (height - 1) * stride;
  if (mask[0] != 0) changes.push_back({0, 0});
  for_each_change(mask + 1, foot, width - 1, [&](int64_t i) { changes.push_back({0, uint32_t(i) + 1}); });
  for (int64_t row = 1; row < height; ++row) {
    const uint8_t* const line = mask + row * stride;
    for_each_change(line, line - stride, width, [&](int64_t i) { changes.push_back({uint32_t(row), uint32_t(i)}); });
  }
  return changes;
}

}  // namespace

std::vector<uint32_t> scan_columns(const uint8_t* mask, int64_t cells) {
  RunCounter runs;
  if (cells == 0) return runs.finish(0);
  if (mask[0] != 0) runs.change(0);
  for_each_change(mask + 1, mask, cells - 1, [&](int64_t i) { runs.change(i + 1); });
  return runs.finish(cells);
}

std::vector<uint32_t> scan_rows(const uint8_t* mask, int64_t height, int64_t width, int64_t stride) {
  RunCounter runs;
  if (height * width == 0) return runs.finish(0);
  const std::vector<Change> changes = changes_down(mask, height, width, stride);
  std::vector<size_t> ends(size_t(width) + 1, 0);  // a counting sort by column keeps the rows in order
  for (const Change& change : changes) ++ends[change.column + 1];
  for (size_t column = 0; column < size_t(width); ++column) ends[column + 1] += ends[column];
  std::vector<int64_t> pixels(changes.size());
  for (const Change& change : changes) pixels[ends[change.column]++] = change.column * height + change.row;
  for (const int64_t pixel : pixels) runs.change(pixel);
  return runs.finish(height * width);
}

}  // namespace ldie::host
