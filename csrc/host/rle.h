// SPDX-License-Identifier: Apache-2.0
// COCO run-length encoding: a mask read column by column as alternating run lengths, zeros first, written as a string
// of printable characters. Free of Python, so that a fuzzer can run it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "masks/runs.h"

namespace ldie {

struct Rle {
  int64_t height = 0, width = 0;
  std::vector<uint32_t> counts;
};

// Pixels of a mask, which a run must be able to count: std::invalid_argument for sizes below 0 or from 2^31 pixels on.
int64_t mask_cells(int64_t height, int64_t width);

// COCO's string form: each count (from the fourth on, its difference to the count two before it) in groups of 5 bits,
// low group first, bit 5 set while more follow, plus 48.
std::string encode_counts(const std::vector<uint32_t>& counts);

// The inverse. Throws std::invalid_argument when the string is malformed or its runs do not add up to `cells`.
std::vector<uint32_t> decode_counts(std::string_view text, int64_t cells);

// Throws std::invalid_argument unless the runs add up to `cells`.
void check_counts(const std::vector<uint32_t>& counts, int64_t cells);

// A number of the string form, and where the next one begins.
struct Number {
  int64_t value;
  size_t end;
};
Number long_number(std::string_view text, size_t position);

[[noreturn]] void throw_wrong_run(size_t index, int64_t run, int64_t cells);
[[noreturn]] void throw_wrong_sum(int64_t sum, int64_t cells);

// The runs of a string form one by one, as decode_counts() has them. Nothing here takes the address of the object, so
// that its state stays in registers.
class TextRuns {
 public:
  TextRuns(std::string_view text, int64_t cells) : text_(text), cells_(cells), left_(cells) {}

  // False after the last. Throws std::invalid_argument where decode_counts() would.
  bool next(uint32_t& run) {
    if (position_ == text_.size()) {
      if (left_ != 0) throw_wrong_sum(cells_ - left_, cells_);
      return false;
    }
    const Number number = number_at(text_, position_);
    const int64_t value = number.value + (index_ > 2 ? before_last_ : 0);
    left_ -= value;
    if ((value | left_) < 0) throw_wrong_run(index_, value, cells_);
    position_ = number.end;
    ++index_;
    before_last_ = last_;
    last_ = value;
    run = uint32_t(value);
    return true;
  }

 private:
  // Most numbers have one group of bits or two; bit 4 of the last is the sign.
  static Number number_at(std::string_view text, size_t position) {
    const unsigned first = static_cast<unsigned char>(text[position]) - 48u;
    if (first < 0x20) return {int64_t(first ^ 0x10) - 0x10, position + 1};
    if (first < 0x40 && position + 1 < text.size()) {
      const unsigned second = static_cast<unsigned char>(text[position + 1]) - 48u;
      if (second < 0x20) return {(int64_t(second ^ 0x10) - 0x10) * 0x20 + int64_t(first & 0x1f), position + 2};
    }
    return long_number(text, position);
  }

  std::string_view text_;
  int64_t cells_, left_;
  size_t position_ = 0, index_ = 0;
  int64_t last_ = 0, before_last_ = 0;
};

// Runs that were decoded and checked.
class CountRuns {
 public:
  explicit CountRuns(const std::vector<uint32_t>& counts) : next_(counts.data()), end_(next_ + counts.size()) {}
  bool next(uint32_t& run) {
    if (next_ == end_) return false;
    run = *next_++;
    return true;
  }

 private:
  const uint32_t *next_, *end_;
};

// Calls visit(span) where the mask is one, from left to right; runs of length 0 leave no trace. Spans may touch.
template <typename Runs, typename Visit>
void for_each_span(Runs runs, const Visit& visit) {
  uint32_t zeros = 0, ones = 0, position = 0;
  while (runs.next(zeros) && runs.next(ones)) {
    const uint32_t start = position + zeros;
    position = start + ones;
    if (start < position) visit(Span{start, position});
  }
}

// All spans of a mask, apart from each other.
std::vector<Span> ones(const Rle& mask);
int64_t area(const std::vector<Span>& spans);

// The runs of the mask that is one in these spans: ascending, apart from each other.
Rle from_ones(const std::vector<Span>& spans, int64_t height, int64_t width);

// x, y, width, height of the pixels that are one; zeros where none is.
struct PixelBox {
  double x = 0, y = 0, width = 0, height = 0;
};
PixelBox bounding_box(const std::vector<Span>& spans, int64_t height);

// The same from spans one by one, from left to right.
class BoxFinder {
 public:
  explicit BoxFinder(int64_t height) : height_(uint32_t(height)), top_(height_) {}

  void add(const Span& span) {
    if (end_ == 0) first_ = span.start;
    row_ += span.start - start_;
    if (row_ >= height_) row_ -= height_;  // the next column, mostly
    if (row_ >= height_) row_ %= height_;
    start_ = span.start;
    end_ = span.end;
    const bool one_column = span.end - span.start <= height_ - row_;
    top_ = std::min(top_, one_column ? row_ : 0);
    bottom_ = std::max(bottom_, one_column ? row_ + (span.end - span.start) : height_);
  }

  PixelBox box() const;

 private:
  uint32_t height_, first_ = 0, start_ = 0, end_ = 0;
  uint32_t row_ = 0;  // of start_
  uint32_t top_, bottom_ = 0;
};

// Union, or intersection, of masks of one size, which are given by `masks[0]` to `masks[count - 1]`. One mask comes
// back as it is, none as an empty one of size [0, 0]. Throws std::invalid_argument when sizes differ.
Rle merge(const Rle* masks, int64_t count, bool intersect);

// Pixels that both masks have.
int64_t intersection(const std::vector<Span>& a, const std::vector<Span>& b);

}  // namespace ldie
