// SPDX-License-Identifier: Apache-2.0
#include "host/rle.h"

#include <algorithm>
#include <stdexcept>

#include "host/run_reader.h"

namespace ldie::host {

namespace {

// Adds a span to a union that grows to the right.
void append(std::vector<Span>& spans, const Span& span) {
  if (!spans.empty() && span.start <= spans.back().end) {
    spans.back().end = std::max(spans.back().end, span.end);
  } else {
    spans.push_back(span);
  }
}

std::vector<Span> unite(const std::vector<Span>& a, const std::vector<Span>& b) {
  std::vector<Span> both;
  both.reserve(a.size() + b.size());
  size_t i = 0, j = 0;
  while (i < a.size() || j < b.size()) {
    const bool from_a = j == b.size() || (i < a.size() && a[i].start < b[j].start);
    append(both, from_a ? a[i++] : b[j++]);
  }
  return both;
}

std::vector<Span> intersect_spans(const std::vector<Span>& a, const std::vector<Span>& b) {
  std::vector<Span> both;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const Span common{std::max(a[i].start, b[j].start), std::min(a[i].end, b[j].end)};
    if (common.start < common.end) both.push_back(common);
    a[i].end < b[j].end ? ++i : ++j;
  }
  return both;
}

// Halves first: one mask after the other would go through a union that grows with each.
std::vector<Span> merge_spans(const Rle* masks, int64_t count, bool intersect) {
  if (count == 1) return ones(masks[0]);
  const int64_t half = count / 2;
  const std::vector<Span> a = merge_spans(masks, half, intersect);
  const std::vector<Span> b = merge_spans(masks + half, count - half, intersect);
  return intersect ? intersect_spans(a, b) : unite(a, b);
}

}  // namespace

int64_t mask_cells(int64_t height, int64_t width) {
  int64_t cells = 0;
  if (height < 0 || width < 0 || __builtin_mul_overflow(height, width, &cells) || cells > INT32_MAX) {
    throw std::invalid_argument("size must be [height, width], both at least 0, of less than 2^31 pixels, got [" +
                                std::to_string(height) + ", " + std::to_string(width) + "]");
  }
  return cells;
}

std::string encode_counts(const std::vector<uint32_t>& counts) {
  constexpr int kGroupBits = 5;
  std::string text;
  text.reserve(2 * counts.size() + 8);
  for (size_t i = 0; i < counts.size(); ++i) {
    int64_t rest = int64_t(counts[i]) - (i > 2 ? int64_t(counts[i - 2]) : 0);
    bool more = true;
    while (more) {
      const int64_t group = rest & 0x1f;
      rest >>= kGroupBits;
      more = group & 0x10 ? rest != -1 : rest != 0;  // the group's top bit is the sign
      text.push_back(char((more ? group | 0x20 : group) + 48));
    }
  }
  return text;
}

std::vector<uint32_t> decode_counts(std::string_view text, int64_t cells) {
  std::vector<uint32_t> counts(text.size());  // a number has at least a character
  TextRuns runs(text, cells);
  size_t size = 0;
  for (uint32_t run = 0; runs.next(run);) counts[size++] = run;
  counts.resize(size);
  return counts;
}

void check_counts(const std::vector<uint32_t>& counts, int64_t cells) {
  int64_t total = 0;
  for (const uint32_t run : counts) total += run;
  if (total != cells) throw_wrong_sum(total, cells);
}

std::vector<Span> ones(const Rle& mask) {
  std::vector<Span> spans;
  spans.reserve(mask.counts.size() / 2);
  for_each_span(CountRuns(mask.counts), [&](const Span& span) { append(spans, span); });
  return spans;
}

int64_t area(const std::vector<Span>& spans) {
  int64_t pixels = 0;
  for (const Span& span : spans) pixels += span.end - span.start;
  return pixels;
}

Rle from_ones(const std::vector<Span>& spans, int64_t height, int64_t width) {
  Rle mask{height, width, {}};
  mask.counts.reserve(2 * spans.size() + 1);
  uint32_t position = 0;
  for (const Span& span : spans) {
    mask.counts.push_back(span.start - position);
    mask.counts.push_back(span.end - span.start);
    position = span.end;
  }
  const uint32_t cells = uint32_t(mask_cells(height, width));
  if (position < cells || spans.empty()) mask.counts.push_back(cells - position);
  return mask;
}

PixelBox bounding_box(const std::vector<Span>& spans, int64_t height) {
  BoxFinder finder(height);
  for (const Span& span : spans) finder.add(span);
  return finder.box();
}

PixelBox BoxFinder::box() const {
  if (end_ == 0) return {};
  const uint32_t left = first_ / height_, right = (end_ - 1) / height_;
  return {double(left), double(top_), double(right - left + 1), double(bottom_ - top_)};
}

Rle merge(const Rle* masks, int64_t count, bool intersect) {
  if (count == 0) return {};
  if (count == 1) return masks[0];
  for (int64_t i = 1; i < count; ++i) {
    if (masks[i].height != masks[0].height || masks[i].width != masks[0].width) {
      throw std::invalid_argument("RLE " + std::to_string(i) + " has size [" + std::to_string(masks[i].height) + ", " +
                                  std::to_string(masks[i].width) + "], the first has [" +
                                  std::to_string(masks[0].height) + ", " + std::to_string(masks[0].width) +
                                  "]: sizes must agree");
    }
  }
  return from_ones(merge_spans(masks, count, intersect), masks[0].height, masks[0].width);
}

int64_t intersection(const std::vector<Span>& a, const std::vector<Span>& b) {
  if (a.empty() || b.empty()) return 0;
  const auto ends_before = [](const Span& span, uint32_t pixel) { return span.end <= pixel; };
  const auto starts_before = [](const Span& span, uint32_t pixel) { return span.start < pixel; };
  auto i = std::lower_bound(a.begin(), a.end(), b.front().start, ends_before);
  auto j = std::lower_bound(b.begin(), b.end(), a.front().start, ends_before);
  const auto a_end = std::lower_bound(i, a.end(), b.back().end, starts_before);
  const auto b_end = std::lower_bound(j, b.end(), a.back().end, starts_before);
  int64_t pixels = 0;
  while (i < a_end && j < b_end) {  // no branch but the loop's: which span ends first is not to be guessed
    const int64_t start = std::max(i->start, j->start), end = std::min(i->end, j->end);
    pixels += std::max<int64_t>(0, end - start);
    const bool next_i = i->end <= j->end, next_j = j->end <= i->end;
    i += next_i;
    j += next_j;
  }
  return pixels;
}

}  // namespace ldie::host
