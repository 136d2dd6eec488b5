// SPDX-License-Identifier: Apache-2.0
// A mask's runs one by one, from COCO's string or from numbers, for what needs to see each only once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "masks/runs.h"

namespace ldie::host {

using masks::Span;

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
  // Nearly all numbers have one to three groups of bits; bit 4 of the last is the sign.
  static Number number_at(std::string_view text, size_t position) {
    const auto code = [&](size_t i) { return static_cast<unsigned char>(text[position + i]) - 48u; };
    const auto last = [](unsigned group) { return int64_t(group ^ 0x10) - 0x10; };
    const unsigned first = code(0);
    if (first < 0x20) return {last(first), position + 1};
    if (first < 0x40 && position + 2 < text.size()) {
      const unsigned second = code(1), third = code(2);
      if (second < 0x20) return {last(second) * 0x20 + (first & 0x1f), position + 2};
      if (second < 0x40 && third < 0x20) {
        return {last(third) * 0x400 + (second & 0x1f) * 0x20 + (first & 0x1f), position + 3};
      }
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

}  // namespace ldie::host
