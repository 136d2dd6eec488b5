// SPDX-License-Identifier: Apache-2.0
#include "host/iou.h"

#include <algorithm>
#include <cmath>

#include "host/column_spans.h"
#include "host/threads.h"

namespace ldie::host {

namespace {

// A mask in the form that many comparisons want.
struct Shape {
  int64_t height = 0, width = 0, area = 0;
  std::vector<Span> spans;
  PixelBox box;
  ColumnSpans columns;  // empty unless they are worth making
};

std::vector<Shape> shapes(const std::vector<Rle>& masks, bool in_columns) {
  std::vector<Shape> all(masks.size());
  int64_t work = 0;
  for (const Rle& mask : masks) work += 4 * int64_t(mask.counts.size());
  for_each_item(int64_t(masks.size()), work, "RLE", [&](int64_t n) {
    const Rle& mask = masks[size_t(n)];
    Shape& shape = all[size_t(n)];
    shape = {mask.height, mask.width, 0, ones(mask), {}, {}};
    shape.area = area(shape.spans);
    shape.box = bounding_box(shape.spans, mask.height);
    if (in_columns) shape.columns = ColumnSpans(shape.spans, shape.box, mask.height);
  });
  return all;
}

// Width times height of what two boxes share, 0 where nothing.
double box_intersection(const PixelBox& a, const PixelBox& b) {
  const double width = std::fmin(a.width + a.x, b.width + b.x) - std::fmax(a.x, b.x);
  const double height = std::fmin(a.height + a.y, b.height + b.y) - std::fmax(a.y, b.y);
  return width <= 0 || height <= 0 ? 0 : width * height;
}

int64_t common_pixels(const Shape& a, const Shape& b) {
  const bool in_columns = !a.columns.empty() && !b.columns.empty();
  return in_columns ? intersection(a.columns, b.columns) : intersection(a.spans, b.spans);
}

double shape_iou(const Shape& dt, const Shape& gt, bool crowd) {
  if (box_intersection(dt.box, gt.box) == 0) return 0;
  if (dt.height != gt.height || dt.width != gt.width) return -1;
  const int64_t both = common_pixels(dt, gt);
  if (both == 0) return 0;
  return double(both) / double(crowd ? dt.area : dt.area + gt.area - both);
}

double box_iou(const PixelBox& dt, const PixelBox& gt, bool crowd) {
  const double both = box_intersection(dt, gt), dt_area = dt.width * dt.height, gt_area = gt.width * gt.height;
  return both == 0 ? 0 : both / (crowd ? dt_area : dt_area + gt_area - both);
}

PixelBox box_at(const Boxes& boxes, int64_t n) {
  const double* const box = boxes.values + 4 * n;
  return {box[0], box[1], box[2], box[3]};
}

}  // namespace

void mask_ious(const std::vector<Rle>& dt, const std::vector<Rle>& gt, const uint8_t* crowd, double* ious) {
  constexpr size_t kWorthColumns = 4;  // of comparisons of each mask
  const bool in_columns = std::min(dt.size(), gt.size()) >= kWorthColumns;
  const std::vector<Shape> found = shapes(dt, in_columns), wanted = shapes(gt, in_columns);
  int64_t runs = 0;
  for (const Rle& mask : dt) runs += int64_t(mask.counts.size());
  const int64_t count = int64_t(gt.size()), row = int64_t(dt.size());
  for_each_item(count, count * (runs + 10 * row), "RLE", [&](int64_t g) {
    const Shape& truth = wanted[size_t(g)];
    for (int64_t d = 0; d < row; ++d) ious[g * row + d] = shape_iou(found[size_t(d)], truth, crowd[g] != 0);
  });
}

void box_ious(const Boxes& dt, const Boxes& gt, const uint8_t* crowd, double* ious) {
  for_each_item(gt.count, 2 * gt.count * dt.count, "box", [&](int64_t g) {
    const PixelBox truth = box_at(gt, g);
    for (int64_t d = 0; d < dt.count; ++d) ious[g * dt.count + d] = box_iou(box_at(dt, d), truth, crowd[g] != 0);
  });
}

}  // namespace ldie::host
