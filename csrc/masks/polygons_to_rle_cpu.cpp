// SPDX-License-Identifier: Apache-2.0
// No pixel is touched: a part's crossings, in the order of columns, are the changes of its mask. The work is one
// evaluation of an edge per column that it spans.
#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "masks/polygons_to_rle.h"
#include "masks/runs_cpu.h"

namespace ldie {
namespace {

struct Span {
  int32_t begin, end;  // positions, read column by column
};

// Encodes instances one after the other; memory is kept.
class Encoder {
 public:
  explicit Encoder(const PolygonsToRle& args) : args_(args) {}

  std::vector<int32_t> encode(int64_t instance) {
    spans_.clear();
    if (args_.pixels() == 0) return {};
    const RowRange parts = args_.polygons.parts_of(instance);
    for (int64_t part = parts.begin; part < parts.end; ++part) {
      find_crossings(args_.polygons.points_of(part));
      sort_crossings();
      add_spans();
    }
    if (parts.end - parts.begin > 1) unite();
    return changes();
  }

 private:
  struct Crossing {
    int32_t column, row;
  };

  void find_crossings(const RowRange& part) {
    crossings_.clear();
    for (int64_t point = part.begin; point < part.end; ++point) {
      const PolygonEdge edge = polygon_edge(args_.polygons, part, point, PolygonFrame());
      const int64_t end = edge.end_column(args_.width);
      for (int64_t column = edge.first_column(); column < end; ++column) {
        crossings_.push_back({int32_t(column), int32_t(edge.row(column, args_.height))});
      }
    }
  }

  // By counting over the columns; the few crossings of one column by insertion.
  void sort_crossings() {
    int32_t left = INT32_MAX, right = -1;
    for (const Crossing& crossing : crossings_) {
      left = std::min(left, crossing.column);
      right = std::max(right, crossing.column);
    }
    ends_.assign(size_t(std::max(0, right - left + 2)), 0);
    for (const Crossing& crossing : crossings_) ++ends_[size_t(crossing.column - left) + 1];
    for (size_t i = 1; i < ends_.size(); ++i) ends_[i] += ends_[i - 1];
    positions_.resize(crossings_.size());
    for (const Crossing& crossing : crossings_) {
      positions_[size_t(ends_[size_t(crossing.column - left)]++)] =
          int32_t(crossing.column * args_.height + crossing.row);
    }
    for (size_t i = 1; i < positions_.size(); ++i) {
      const int32_t position = positions_[i];
      size_t place = i;
      for (; place > 0 && positions_[place - 1] > position; --place) positions_[place] = positions_[place - 1];
      positions_[place] = position;
    }
  }

  // Two crossings at one position undo each other.
  void add_spans() {
    const int32_t pixels = int32_t(args_.pixels());
    bool open = false;
    int32_t begin = 0;
    for (size_t i = 0; i < positions_.size(); ++i) {
      if (i + 1 < positions_.size() && positions_[i] == positions_[i + 1]) {
        ++i;
        continue;
      }
      if (open) spans_.push_back({begin, positions_[i]});
      begin = positions_[i];
      open = !open;
    }
    if (open && begin < pixels) spans_.push_back({begin, pixels});
  }

  void unite() {
    std::sort(spans_.begin(), spans_.end(), [](const Span& a, const Span& b) { return a.begin < b.begin; });
    size_t kept = 0;
    for (size_t i = 1; i < spans_.size(); ++i) {
      if (spans_[i].begin <= spans_[kept].end) {
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
      changes.push_back(span.begin);
      if (span.end < args_.pixels()) changes.push_back(span.end);
    }
    return changes;
  }

  const PolygonsToRle& args_;
  std::vector<Crossing> crossings_;
  std::vector<int32_t> ends_, positions_;
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

}  // namespace ldie
