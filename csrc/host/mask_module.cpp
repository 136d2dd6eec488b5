// SPDX-License-Identifier: Apache-2.0
#include "host/mask_module.h"

#include <pybind11/numpy.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "host/iou.h"
#include "host/polygon.h"
#include "host/python_rle.h"
#include "host/scan.h"
#include "host/threads.h"

namespace py = pybind11;

namespace ldie::host {

namespace {

using MaskArray = py::array_t<uint8_t>;
using ColumnMajorArray = py::array_t<uint8_t, py::array::f_style | py::array::forcecast>;
using CountArray = py::array_t<int32_t, py::array::c_style>;
using IndexArray = py::array_t<int64_t, py::array::c_style>;
using BoxArray = py::array_t<double, py::array::c_style>;

// ---- dense masks

bool column_major(const MaskArray& masks) {
  return (masks.shape(0) <= 1 || masks.strides(0) == 1) && (masks.shape(1) <= 1 || masks.strides(1) == masks.shape(0));
}

// [H, W, N] uint8 -> N RLE objects.
py::list encode_masks(MaskArray masks) {
  if (masks.ndim() != 3) throw std::invalid_argument("masks must have shape [H, W, N]");
  const int64_t height = masks.shape(0), width = masks.shape(1), count = masks.shape(2);
  const int64_t cells = mask_cells(height, width);
  const bool rows = !column_major(masks) && masks.strides(1) == 1;
  if (!rows && !column_major(masks)) masks = ColumnMajorArray(masks);
  const uint8_t* const values = masks.data();
  const int64_t row_stride = masks.strides(0), stride = masks.strides(2);
  std::vector<EncodedMask> encoded(static_cast<size_t>(count));
  {
    const py::gil_scoped_release release;
    for_each_item(count, count * cells / 16, "mask", [&](int64_t n) {
      const uint8_t* const mask = values + n * stride;
      encoded[size_t(n)] =
          encode({height, width, rows ? scan_rows(mask, height, width, row_stride) : scan_columns(mask, cells)});
    });
  }
  return to_python(encoded);
}

void paint(const Rle& mask, uint8_t* out) {
  for (const Span& span : ones(mask)) std::memset(out + span.start, 1, span.end - span.start);
}

// RLE objects of one size -> [H, W, N] column-major uint8 of 0 and 1.
py::object decode_masks(const py::handle& objects) {
  const std::vector<Rle> masks = read_masks(objects);
  const int64_t count = int64_t(masks.size());
  const int64_t height = count ? masks[0].height : 0, width = count ? masks[0].width : 0;
  for (int64_t n = 0; n < count; ++n) {
    const Rle& mask = masks[size_t(n)];
    if (mask.height == height && mask.width == width) continue;
    throw std::invalid_argument("RLE " + std::to_string(n) + " has size [" + std::to_string(mask.height) + ", " +
                                std::to_string(mask.width) + "], the first has [" + std::to_string(height) + ", " +
                                std::to_string(width) + "]: sizes must agree");
  }
  // Pages that numpy.zeros() hands out are zero without being touched, and most of a mask stays so.
  const py::object zeros = py::module_::import("numpy").attr("zeros");
  ColumnMajorArray out = zeros(py::make_tuple(height, width, count), "uint8", "F");
  uint8_t* const values = out.mutable_data();
  const int64_t cells = height * width;
  {
    const py::gil_scoped_release release;
    for_each_item(count, count * cells / 16, "mask", [&](int64_t n) { paint(masks[size_t(n)], values + n * cells); });
  }
  return out;
}

// ---- runs as numbers

// Runs of N masks, flat, with offsets -> N RLE objects.
py::list encode_runs(const CountArray& counts, const IndexArray& offsets, const IndexArray& sizes) {
  if (counts.ndim() != 1 || offsets.ndim() != 1 || sizes.ndim() != 2 || sizes.shape(1) != 2 ||
      offsets.shape(0) != sizes.shape(0) + 1) {
    throw std::invalid_argument("runs must be counts [R], offsets [N + 1] and sizes [N, 2]");
  }
  const int32_t* const runs = counts.data();
  const int64_t count = sizes.shape(0), total = counts.shape(0);
  const int64_t *const starts = offsets.data(), *const sides = sizes.data();
  if (starts[0] < 0 || starts[count] > total || !std::is_sorted(starts, starts + count + 1)) {  // no run is used twice
    throw std::invalid_argument("offsets must ascend from 0 or more to at most the " + std::to_string(total) +
                                " counts");
  }
  std::vector<EncodedMask> encoded(static_cast<size_t>(count));
  {
    const py::gil_scoped_release release;
    for_each_item(count, 4 * total, "RLE", [&](int64_t n) {
      const int32_t *const begin = runs + starts[n], *const end = runs + starts[n + 1];
      const int32_t* const negative = std::find_if(begin, end, [](int32_t run) { return run < 0; });
      if (negative != end) throw std::invalid_argument("run " + std::to_string(negative - begin) + " is negative");
      const Rle mask{sides[2 * n], sides[2 * n + 1], {begin, end}};
      check_counts(mask.counts, mask_cells(mask.height, mask.width));
      encoded[size_t(n)] = encode(mask);
    });
  }
  return to_python(encoded);
}

// N RLE objects -> runs of N masks, flat, with offsets, and sizes [N, 2].
py::tuple decode_runs(const py::handle& objects) {
  const std::vector<Rle> masks = read_masks(objects);
  const int64_t count = int64_t(masks.size());
  IndexArray offsets(count + 1), sizes({count, int64_t(2)});
  offsets.mutable_at(0) = 0;
  for (int64_t n = 0; n < count; ++n) {
    offsets.mutable_at(n + 1) = offsets.at(n) + int64_t(masks[size_t(n)].counts.size());
    sizes.mutable_at(n, 0) = masks[size_t(n)].height;
    sizes.mutable_at(n, 1) = masks[size_t(n)].width;
  }
  CountArray counts(offsets.at(count));
  int32_t* out = counts.mutable_data();
  for (const Rle& mask : masks) out = std::copy(mask.counts.begin(), mask.counts.end(), out);
  return py::make_tuple(counts, offsets, sizes);
}

// ---- calls on masks

py::dict merge_masks(const py::handle& objects, bool intersect) {
  const std::vector<Rle> masks = read_masks(objects);
  return to_python({encode(merge(masks.data(), int64_t(masks.size()), intersect))})[0];
}

py::array_t<uint32_t> areas(const py::handle& objects) {
  const std::vector<RleSource> sources = read_sources(objects);
  py::array_t<uint32_t> pixels(int64_t(sources.size()));
  uint32_t* const out = pixels.mutable_data();
  {
    const py::gil_scoped_release release;
    for_each_source(sources, [&](int64_t n, const RleSource& source) {
      uint32_t area = 0;
      source.for_each_span([&](const Span& span) { area += span.end - span.start; });
      out[n] = area;
    });
  }
  return pixels;
}

BoxArray boxes(const py::handle& objects) {
  const std::vector<RleSource> sources = read_sources(objects);
  BoxArray found({int64_t(sources.size()), int64_t(4)});
  double* const out = found.mutable_data();
  {
    const py::gil_scoped_release release;
    for_each_source(sources, [&](int64_t n, const RleSource& source) {
      BoxFinder finder(source.height());
      source.for_each_span([&](const Span& span) { finder.add(span); });
      const PixelBox box = finder.box();
      const double values[] = {box.x, box.y, box.width, box.height};
      std::copy_n(values, 4, out + 4 * n);
    });
  }
  return found;
}

using CrowdArray = py::array_t<uint8_t, py::array::c_style>;

void check_crowd(const CrowdArray& crowd, int64_t count) {
  if (crowd.ndim() == 1 && crowd.shape(0) == count) return;
  throw std::invalid_argument("pyiscrowd must have one number for each of the " + std::to_string(count) +
                              " ground truths, got " + std::to_string(crowd.size()));
}

// [gt, dt] float64, as the two iou functions return it.
BoxArray mask_iou_matrix(const py::handle& dt, const py::handle& gt, const CrowdArray& crowd) {
  const std::vector<Rle> found = read_masks(dt), wanted = read_masks(gt);
  check_crowd(crowd, int64_t(wanted.size()));
  BoxArray ious({int64_t(wanted.size()), int64_t(found.size())});
  double* const out = ious.mutable_data();
  const uint8_t* const flags = crowd.data();
  {
    const py::gil_scoped_release release;
    mask_ious(found, wanted, flags, out);
  }
  return ious;
}

BoxArray box_iou_matrix(const BoxArray& dt, const BoxArray& gt, const CrowdArray& crowd) {
  if (dt.ndim() != 2 || dt.shape(1) != 4 || gt.ndim() != 2 || gt.shape(1) != 4) {
    throw std::invalid_argument("boxes must have shape [N, 4]");
  }
  check_crowd(crowd, gt.shape(0));
  BoxArray ious({gt.shape(0), dt.shape(0)});
  double* const out = ious.mutable_data();
  const Boxes found{dt.data(), dt.shape(0)}, wanted{gt.data(), gt.shape(0)};
  const uint8_t* const flags = crowd.data();
  {
    const py::gil_scoped_release release;
    box_ious(found, wanted, flags, out);
  }
  return ious;
}

// ---- polygons

// A mask to draw: the union of polygons, or an RLE object.
struct Instance {
  std::vector<Outline> parts;
  std::optional<RleSource> source;

  int64_t work() const {
    int64_t total = source ? 2 * source->work() : 0;
    for (const Outline& outline : parts) total += 150 * int64_t(outline.size());
    return total;
  }
  EncodedMask draw(int64_t height, int64_t width) const {
    if (source) return encode(source->decode());
    if (parts.empty()) return encode(from_ones({}, height, width));
    std::vector<Rle> masks;
    for (const Outline& xy : parts) masks.push_back(draw_polygon(xy.data(), int64_t(xy.size() / 2), height, width));
    return encode(merge(masks.data(), int64_t(masks.size()), false));
  }
};

// pycocotools' rule: where the first has 4 numbers, all are boxes x, y, width, height.
std::vector<Outline> read_boxes_or_polygons(const py::handle& items) {
  std::vector<Outline> outlines = read_polygons(items);
  if (outlines.empty() || outlines[0].size() != 4) return outlines;
  for (size_t n = 0; n < outlines.size(); ++n) {
    const Outline box = outlines[n];
    if (box.size() != 4) throw std::invalid_argument("box " + std::to_string(n) + ": needs 4 numbers, as the first");
    const double right = box[0] + box[2], bottom = box[1] + box[3];
    outlines[n] = {box[0], box[1], box[0], bottom, right, bottom, right, box[1]};
  }
  return outlines;
}

py::list draw(const std::vector<Instance>& instances, int64_t height, int64_t width, const char* name) {
  int64_t work = 0;
  for (const Instance& instance : instances) work += instance.work();
  std::vector<EncodedMask> encoded(instances.size());
  {
    const py::gil_scoped_release release;
    for_each_item(int64_t(instances.size()), work, name,
                  [&](int64_t n) { encoded[size_t(n)] = instances[size_t(n)].draw(height, width); });
  }
  return to_python(encoded);
}

// Polygons or boxes, each a mask of its own.
py::list draw_polygons(const py::handle& polygons, int64_t height, int64_t width) {
  mask_cells(height, width);
  std::vector<Instance> instances;
  for (Outline& outline : read_boxes_or_polygons(polygons)) instances.push_back({{std::move(outline)}, std::nullopt});
  return draw(instances, height, width, "polygon");
}

// Lists of polygons, each list a mask, or RLE objects.
py::list draw_instances(const py::handle& segmentations, int64_t height, int64_t width) {
  mask_cells(height, width);
  std::vector<Instance> instances;
  for (const py::handle item : items_of(segmentations, "a sequence of segmentations")) {
    instances.push_back(named("segmentation", int64_t(instances.size()), [&]() -> Instance {
      if (PyDict_Check(item.ptr())) return {{}, RleSource(item)};
      return {read_polygons(items_of(item, "a list of polygons, or a dict")), std::nullopt};
    }));
  }
  return draw(instances, height, width, "segmentation");
}

}  // namespace

void register_masks(py::module_& module) {
  module.def("set_threads", &set_host_threads, py::arg("count"));
  module.def("encode_masks", &encode_masks, py::arg("masks"));
  module.def("decode_masks", &decode_masks, py::arg("masks"));
  module.def("encode_runs", &encode_runs, py::arg("counts"), py::arg("offsets"), py::arg("sizes"));
  module.def("decode_runs", &decode_runs, py::arg("masks"));
  module.def("merge_masks", &merge_masks, py::arg("masks"), py::arg("intersect"));
  module.def("areas", &areas, py::arg("masks"));
  module.def("boxes", &boxes, py::arg("masks"));
  module.def("mask_ious", &mask_iou_matrix, py::arg("dt"), py::arg("gt"), py::arg("crowd"));
  module.def("box_ious", &box_iou_matrix, py::arg("dt"), py::arg("gt"), py::arg("crowd"));
  module.def("draw_polygons", &draw_polygons, py::arg("polygons"), py::arg("height"), py::arg("width"));
  module.def("draw_instances", &draw_instances, py::arg("segmentations"), py::arg("height"), py::arg("width"));
}

}  // namespace ldie::host
