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

namespace ldie::host {

using masks::Span;

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

}  // namespace ldie::host
