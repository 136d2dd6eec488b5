// SPDX-License-Identifier: Apache-2.0
// Fuzz target of csrc/host: bytes become a call, and what comes back must be std::invalid_argument or pass the checks.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "checks.h"
#include "coco_walk.h"
#include "host/iou.h"
#include "host/polygon.h"
#include "host/run_reader.h"
#include "host/threads.h"
#include "input.h"

namespace ldie::host {

namespace {

std::vector<uint32_t> decode(const std::vector<char>& text, int64_t cells) {
  return decode_counts({text.data(), text.size()}, cells);
}

// Run by run, a string that was accepted says what its counts say.
void check_runs(const std::vector<char>& text, const Rle& mask) noexcept {
  int64_t pixels = 0;
  BoxFinder finder(mask.height);
  for_each_span(TextRuns({text.data(), text.size()}, mask.height * mask.width), [&](const Span& span) {
    pixels += span.end - span.start;
    finder.add(span);
  });
  const std::vector<Span> spans = ones(mask);
  require(pixels == area(spans), "area of the string's runs");
  require(same(finder.box(), bounding_box(spans, mask.height)), "box of the string's runs");
}

// A string as COCO's files hold it.
void read_string(Input& input) {
  const int64_t height = input.side(), width = input.side();
  const int64_t cells = mask_cells(height, width);
  const std::vector<char> text = input.text();
  const Rle mask{height, width, decode(text, cells)};
  check_mask(mask);
  check_runs(text, mask);
}

// Run lengths as numbers, of any size, or of the size that they add up to.
void read_counts(Input& input) {
  int64_t height = input.side(), width = input.side(), total = 0;
  const bool fit = input.byte() % 2;
  Rle mask;
  while (!input.empty()) {
    const uint8_t run = input.byte();
    mask.counts.push_back(run < 0xfe ? run : input.raw<uint32_t>());
    total += mask.counts.back();
  }
  check_text(mask.counts, total);
  mask.height = fit ? 1 : height;
  mask.width = fit ? total : width;
  check_counts(mask.counts, mask_cells(mask.height, mask.width));
  check_mask(mask);
}

// A mask that is one from a string, or from pixels.
Rle read_mask(Input& input, int64_t height, int64_t width) {
  const int64_t cells = mask_cells(height, width);
  if (input.byte() % 4 == 0 || cells > kDenseCells) return {height, width, decode(input.text(), cells)};
  const Pixels pixels = input.pixels(size_t(cells));
  return {height, width, scan_columns(pixels.data(), cells)};
}

void check_pair(const Rle& a, const Rle& b) noexcept {
  const std::vector<Span> left = ones(a), right = ones(b);
  const int64_t both = intersection(left, right);
  const Rle pair[] = {a, b};
  const Rle united = merge(pair, 2, false), common = merge(pair, 2, true);
  require(both == intersection(right, left), "intersection is symmetric");
  require(both == area(ones(common)), "intersection is the area of what is common");
  require(area(ones(united)) == area(left) + area(right) - both, "union by inclusion and exclusion");
}

void check_merged(const std::vector<Rle>& masks, bool intersect) {
  const Rle merged = merge(masks.data(), int64_t(masks.size()), intersect);
  check_mask(merged);
  if (masks.size() > 1) check_canonical(merged);
  if (!dense(merged)) return;
  Pixels expected = paint(masks[0]);
  for (const Rle& mask : masks) {
    const Pixels pixels = paint(mask);
    for (size_t i = 0; i < pixels.size(); ++i)
      expected[i] = intersect ? expected[i] & pixels[i] : expected[i] | pixels[i];
  }
  require(paint(merged) == expected, "merged pixel by pixel");
}

void check_ious(const std::vector<Rle>& masks, uint8_t crowd) noexcept {
  const size_t count = masks.size();
  const std::vector<uint8_t> crowds(count, crowd);
  std::vector<double> ious(count * count, -7);
  mask_ious(masks, masks, crowds.data(), ious.data());
  for (size_t i = 0; i < count; ++i) {
    const bool any = !ones(masks[i]).empty();
    require(ious[i * count + i] == double(any), "a mask covers itself");
    for (size_t j = 0; j < count; ++j) {
      const double iou = ious[i * count + j];
      require(iou == -1 || (iou >= 0 && iou <= 1), "IoU is a ratio, or -1");
      require(crowd || iou == ious[j * count + i], "IoU is symmetric");
      if (iou <= 0) continue;
      const std::vector<Span> wanted = ones(masks[i]), found = ones(masks[j]);
      const int64_t both = intersection(found, wanted);
      const int64_t all = crowd ? area(found) : area(found) + area(wanted) - both;
      require(iou == double(both) / double(all), "IoU is that of the spans");
    }
  }
}

// Calls on some masks, of which each may have a size of its own.
void combine_masks(Input& input) {
  int64_t height = input.side(), width = input.side();
  const uint8_t options = input.byte();
  const int count = 1 + options % 7;
  std::vector<Rle> masks;
  for (int n = 0; n < count; ++n) {
    masks.push_back(read_mask(input, height, width));
    check_mask(masks.back());
    if (options >= 0xf0) height = input.side();
  }
  check_ious(masks, options & 8);
  check_merged(masks, options & 16);
  check_pair(masks.front(), masks.back());
}

// Rows wider than the blocks in which they are compared, with gaps between them.
void scan_mask(Input& input) {
  const int64_t height = input.byte() % 48, width = input.raw<uint16_t>() % 300, stride = width + input.byte() % 3;
  const Pixels pixels = input.pixels(size_t(height * width)), rows = rows_of(pixels, height, width, stride);
  const Rle mask{height, width, scan_rows(rows.data(), height, width, stride)};
  require(scan_columns(pixels.data(), height * width) == mask.counts, "rows and columns scan to the same runs");
  Pixels binary = pixels;
  for (uint8_t& pixel : binary) pixel = pixel != 0;
  require(paint(mask) == binary, "runs of the pixels");
  check_mask(mask);
}

// Against the walk, where that can be done.
void check_walk(const Rle& mask, const std::vector<double>& xy) noexcept {
  constexpr double kNear = 2000;
  const bool near = std::all_of(xy.begin(), xy.end(), [](double value) { return std::fabs(value) < kNear; });
  if (!near || !dense(mask)) return;
  CocoWalk walk(mask.height, mask.width);
  for (size_t i = 0; i < xy.size(); i += 2) walk.edge(&xy[i], &xy[(i + 2) % xy.size()]);
  require(walk.pixels() == paint(mask), "the polygon is the one that COCO's walk draws");
}

void fill_polygon(Input& input) {
  constexpr int64_t kMostCrossings = 1 << 18, kMostPoints = 64;
  const int64_t height = input.side(), width = input.side();
  const int64_t crossings = height > 0 && width > 0 ? width : 1;  // of an edge at most
  std::vector<double> xy;
  for (int64_t point = 1; point <= kMostPoints && point <= kMostCrossings / crossings && !input.empty(); ++point) {
    for (int axis = 0; axis < 2; ++axis) xy.push_back(input.coordinate());
  }
  const auto draw = [&] { return draw_polygon(xy.data(), int64_t(xy.size() / 2), height, width); };
  const Rle mask = draw();
  check_mask(mask);
  check_canonical(mask);
  check_walk(mask, xy);
  std::rotate(xy.begin(), xy.begin() + 2 * std::ptrdiff_t(xy.size() / 4), xy.end());
  require(draw().counts == mask.counts, "a polygon may start at any vertex");
  std::reverse(xy.begin(), xy.end());
  for (size_t i = 0; i < xy.size(); i += 2) std::swap(xy[i], xy[i + 1]);
  require(draw().counts == mask.counts, "a polygon may run either way");
}

void compare_boxes(Input& input) {
  const uint8_t crowd = input.byte() % 2;
  std::vector<double> values;
  while (!input.empty() && values.size() < 64) {
    for (int side = 0; side < 4; ++side) values.push_back(input.coordinate());
  }
  const size_t count = values.size() / 4;
  const Boxes boxes{values.data(), int64_t(count)};
  const std::vector<uint8_t> crowds(count, crowd);
  std::vector<double> ious(count * count, -7);
  box_ious(boxes, boxes, crowds.data(), ious.data());
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j < count; ++j) {
      const double iou = ious[i * count + j], mirrored = ious[j * count + i];
      require(iou != -7, "every pair is written");
      require(crowd || iou == mirrored || (std::isnan(iou) && std::isnan(mirrored)), "IoU of boxes is symmetric");
    }
  }
}

constexpr void (*kCalls[])(Input&) = {read_string, read_counts, combine_masks, scan_mask, fill_polygon, compare_boxes};
constexpr size_t kCallCount = sizeof kCalls / sizeof *kCalls;

}  // namespace

}  // namespace ldie::host

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ldie::host::set_host_threads(1);
  ldie::host::Input input(data, size);
  try {
    ldie::host::kCalls[input.byte() % ldie::host::kCallCount](input);
  } catch (const std::invalid_argument&) {  // what malformed input must end in
  }
  return 0;
}
