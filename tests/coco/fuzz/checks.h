// SPDX-License-Identifier: Apache-2.0
// What must hold for every mask, by the plainest code there is: one pixel after the other.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "host/rle.h"
#include "host/scan.h"

namespace ldie::host {

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "check failed: %s\n", what);
  std::abort();
}

inline bool same(const std::vector<Span>& a, const std::vector<Span>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].start != b[i].start || a[i].end != b[i].end) return false;
  }
  return true;
}

inline bool same(const PixelBox& a, const PixelBox& b) {
  return a.x == b.x && a.y == b.y && a.width == b.width && a.height == b.height;
}

using Pixels = std::vector<uint8_t>;  // column by column

constexpr int64_t kDenseCells = 1 << 14;  // more are not worth the time
inline bool dense(const Rle& mask) { return mask.height * mask.width <= kDenseCells; }

inline Pixels paint(const Rle& mask) {
  Pixels pixels;
  for (size_t i = 0; i < mask.counts.size(); ++i) pixels.insert(pixels.end(), mask.counts[i], i % 2);
  return pixels;
}

inline int64_t count_ones(const Pixels& pixels) {
  int64_t found = 0;
  for (const uint8_t pixel : pixels) found += pixel;
  return found;
}

inline PixelBox box_of(const Pixels& pixels, int64_t height) {
  int64_t left = INT64_MAX, right = -1, top = INT64_MAX, bottom = -1;
  for (int64_t i = 0; i < int64_t(pixels.size()); ++i) {
    if (pixels[size_t(i)] == 0) continue;
    left = std::min(left, i / height);
    right = std::max(right, i / height);
    top = std::min(top, i % height);
    bottom = std::max(bottom, i % height);
  }
  if (right < 0) return {};
  return {double(left), double(top), double(right - left + 1), double(bottom - top + 1)};
}

// The same mask row by row, rows `stride` apart, and not a byte more than a reader may look at.
inline Pixels rows_of(const Pixels& pixels, int64_t height, int64_t width, int64_t stride) {
  Pixels rows(pixels.empty() ? 0 : size_t((height - 1) * stride + width), 7);
  for (int64_t i = 0; i < int64_t(pixels.size()); ++i)
    rows[size_t(i % height * stride + i / height)] = pixels[size_t(i)];
  return rows;
}

inline void check_pixels(const Rle& mask, const std::vector<Span>& spans, const Rle& canonical) noexcept {
  const Pixels pixels = paint(mask);
  require(area(spans) == count_ones(pixels), "area is the number of ones");
  require(same(bounding_box(spans, mask.height), box_of(pixels, mask.height)), "box of the ones");
  require(scan_columns(pixels.data(), int64_t(pixels.size())) == canonical.counts, "columns scan to the same runs");
  const Pixels rows = rows_of(pixels, mask.height, mask.width, mask.width);
  require(scan_rows(rows.data(), mask.height, mask.width, mask.width) == canonical.counts,
          "rows scan to the same runs");
}

// No run but the first is empty.
inline void check_canonical(const Rle& mask) noexcept {
  require(from_ones(ones(mask), mask.height, mask.width).counts == mask.counts, "runs are the fewest");
}

inline void check_text(const std::vector<uint32_t>& counts, int64_t total) noexcept {
  require(decode_counts(encode_counts(counts), total) == counts, "counts survive the string form");
}

// Of a mask that was accepted: nothing may be wrong with it any more, so nothing may be thrown.
inline void check_mask(const Rle& mask) noexcept {
  const int64_t cells = mask_cells(mask.height, mask.width);
  require(cells <= INT32_MAX, "a run can count all pixels");
  check_counts(mask.counts, cells);
  check_text(mask.counts, cells);
  const std::vector<Span> spans = ones(mask);
  int64_t end = -1;
  for (const Span& span : spans) {
    require(int64_t(span.start) > end && span.start < span.end, "spans ascend, apart from each other");
    end = span.end;
  }
  require(end <= cells, "spans lie in the mask");
  const Rle canonical = from_ones(spans, mask.height, mask.width);
  check_counts(canonical.counts, cells);
  require(same(ones(canonical), spans), "runs of spans are those spans");
  if (dense(mask)) check_pixels(mask, spans, canonical);
}

}  // namespace ldie::host
