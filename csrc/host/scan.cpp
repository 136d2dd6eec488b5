// SPDX-License-Identifier: Apache-2.0
// Every byte is read once; 64 become the bits of a word, and where the words of neighbours differ runs begin. Floor:
// the bytes of the masks. With the 16-byte vectors of any x86-64 that is three quarters of the speed at which a core
// can read memory, and twice as wide ones gain nothing.
#include "host/scan.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <cstring>
#include <utility>

#include "core/bits_cpu.h"
#include "core/integers.h"

namespace ldie::host {

namespace {

constexpr int64_t kWord = 64;  // pixels

// Bit i says whether byte i is not 0.
uint64_t word_at(const uint8_t* pixels) {
  uint64_t word = 0;
#if defined(__SSE2__)
  constexpr int64_t kStep = sizeof(__m128i);
  for (int64_t i = 0; i < kWord; i += kStep) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels + i));
    word |= uint64_t(uint32_t(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128())))) << i;
  }
  return ~word;
#else
  constexpr int64_t kStep = sizeof(uint64_t);
  constexpr uint64_t kLow = 0x7f7f7f7f7f7f7f7f;
  for (int64_t i = 0; i < kWord; i += kStep) {
    uint64_t bytes;
    std::memcpy(&bytes, pixels + i, kStep);
    const uint64_t tops = ((bytes & kLow) + kLow) | bytes;  // the top bit of each byte that is not 0
    word |= gather_8_bits((tops & ~kLow) >> 7) << i;
  }
  return word;
#endif
}

// Pixels in a row, of which the last word may have fewer than 64; the bits behind them are 0.
class Line {
 public:
  Line(const uint8_t* pixels, int64_t count) : pixels_(pixels), count_(count) {}

  uint64_t word(int64_t pixel) const {
    const int64_t missing = pixel + kWord - count_;
    if (missing <= 0) return word_at(pixels_ + pixel);
    if (count_ >= kWord) return word_at(pixels_ + count_ - kWord) >> missing;
    uint8_t padded[kWord] = {};
    std::memcpy(padded, pixels_, size_t(count_));
    return word_at(padded);
  }

 private:
  const uint8_t* pixels_;
  int64_t count_;
};

// Calls visit(i) for every bit i < count that is set, ascending.
template <typename Visit>
void for_each_bit(uint64_t word, int64_t count, const Visit& visit) {
  if (count < kWord) word &= (uint64_t(1) << count) - 1;
  for (; word != 0; word &= word - 1) visit(__builtin_ctzll(word));
}

// Bits moved up by one from word to word; what comes in at the bottom is 0.
class ShiftedWords {
 public:
  uint64_t next(uint64_t word) {
    const uint64_t shifted = word << 1 | top_;
    top_ = word >> (kWord - 1);
    return shifted;
  }

 private:
  uint64_t top_ = 0;
};

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

// What is above the top row: the foot of the column to the left, and nothing at the first.
std::vector<uint64_t> words_above(const Line& foot, int64_t width) {
  std::vector<uint64_t> words(size_t(ceil_div(width, kWord)));
  ShiftedWords shifted;
  for (size_t i = 0; i < words.size(); ++i) words[i] = shifted.next(foot.word(int64_t(i) * kWord));
  return words;
}

// Puts a line's words in place of those above; `changes` says where they differ. False where nowhere.
bool compare_lines(const Line& line, std::vector<uint64_t>& above, std::vector<uint64_t>& changes) {
  uint64_t any = 0;
  for (size_t i = 0; i < above.size(); ++i) {
    const uint64_t word = line.word(int64_t(i) * kWord);
    changes[i] = word ^ std::exchange(above[i], word);
    any |= changes[i];
  }
  return any != 0;
}

// Pixels that differ from the one above, row by row.
std::vector<Change> changes_down(const uint8_t* mask, int64_t height, int64_t width, int64_t stride) {
  std::vector<Change> found;
  std::vector<uint64_t> above = words_above(Line(mask + (height - 1) * stride, width), width), changes(above.size());
  for (int64_t row = 0; row < height; ++row) {
    if (!compare_lines(Line(mask + row * stride, width), above, changes)) continue;
    for (int64_t column = 0; column < width; column += kWord) {
      for_each_bit(changes[size_t(column / kWord)], width - column,
                   [&](int64_t bit) { found.push_back({uint32_t(row), uint32_t(column + bit)}); });
    }
  }
  return found;
}

}  // namespace

std::vector<uint32_t> scan_columns(const uint8_t* mask, int64_t cells) {
  RunCounter runs;
  ShiftedWords shifted;
  const Line line(mask, cells);
  for (int64_t pixel = 0; pixel < cells; pixel += kWord) {
    const uint64_t word = line.word(pixel);
    for_each_bit(word ^ shifted.next(word), cells - pixel, [&](int64_t bit) { runs.change(pixel + bit); });
  }
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
