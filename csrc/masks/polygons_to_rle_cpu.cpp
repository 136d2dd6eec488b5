// SPDX-License-Identifier: Apache-2.0
// No pixel is touched: a part's crossings, in the order of columns, are the changes of its mask. The work is one
// evaluation of an edge per column that it spans.
#include <algorithm>
#include <vector>

#include "core/parallel_cpu.h"
#include "masks/polygon_crossings.h"
#include "masks/polygons_to_rle.h"
#include "masks/runs_cpu.h"

namespace ldie::masks {
namespace {

// Encodes instances one after the other; memory is kept.
class Encoder {
 public:
  explicit Encoder(const PolygonsToRle& args) : args_(args), crossings_(args.height, args.width) {}

  std::vector<int32_t> encode(int64_t instance) {
    spans_.clear();
    if (args_.pixels() == 0) return {};
    const RowRange parts = args_.polygons.parts_of(instance);
    for (int64_t part = parts.begin; part < parts.end; ++part) {
      const RowRange points = args_.polygons.points_of(part);
      crossings_.clear();
      for (int64_t point = points.begin; point < points.end; ++point) {
        crossings_.add(fine_edge(args_.polygons, points, point, PolygonFrame()).edge());
      }
      crossings_.append_spans(spans_);
    }
    if (parts.end - parts.begin > 1) unite();
    return changes();
  }

 private:
  void unite() {
    std::sort(spans_.begin(), spans_.end(), [](const Span& a, const Span& b) { return a.start < b.start; });
    size_t kept = 0;
    for (size_t i = 1; i < spans_.size(); ++i) {
      if (spans_[i].start <= spans_[kept].end) {
        spans_[kept].end = std::max(spans_[kept].end, spans_[i].end);
      } else {
        spans_[++kept] = spans_[i];
      }
    }
    spans_.resize(std::min(spans_.size(), kept + 1));
  }

  std::vector<int32_t> changes() const {
    std::vector<int32_t> changes;
    changes.reserve(2 * spans_.size());
    for (const Span& span : spans_) {
      changes.push_back(int32_t(span.start));
      if (span.end < args_.pixels()) changes.push_back(int32_t(span.end));
    }
    return changes;
  }

  const PolygonsToRle& args_;
  PolygonCrossings crossings_;
  std::vector<Span> spans_;
};

}  // namespace

void polygons_to_rle(const PolygonsToRle& args, RunAllocator& allocator, Context&) {
  constexpr int64_t kInstancesPerTask = 8;
  std::vector<std::vector<int32_t>> changes(static_cast<size_t>(args.polygons.instances));
  parallel_for(args.polygons.instances, kInstancesPerTask, [&](int64_t begin, int64_t end) {
    Encoder encoder(args);
    for (int64_t n = begin; n < end; ++n) changes[size_t(n)] = encoder.encode(n);
  });
  write_runs(changes, args.pixels(), args.offsets, allocator);
}

}  // namespace ldie::masks
