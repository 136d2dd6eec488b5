// SPDX-License-Identifier: Apache-2.0
// RLE objects and polygons as Python has them. Reading needs the interpreter lock; what was read can be worked on
// without it.
#pragma once

#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "host/rle.h"
#include "host/run_reader.h"
#include "host/threads.h"

namespace ldie::host {

// The items of a list, tuple or array, in a tuple of its own: code that runs while they are read cannot change it.
pybind11::tuple items_of(const pybind11::handle& object, const char* what);

// {"size": [height, width], "counts": bytes, str, or run lengths}, not yet decoded.
class RleSource {
 public:
  explicit RleSource(const pybind11::handle& object);

  Rle decode() const;

  // Calls visit(span) where the mask is one, as for_each_span() does.
  template <typename Visit>
  void for_each_span(const Visit& visit) const {
    const int64_t cells = mask_cells(height_, width_);
    if (is_text_) return ldie::host::for_each_span(TextRuns(text_, cells), visit);
    check_counts(counts_, cells);
    ldie::host::for_each_span(CountRuns(counts_), visit);
  }

  int64_t height() const { return height_; }
  int64_t width() const { return width_; }
  int64_t work() const { return int64_t(text_.size() + counts_.size()); }

 private:
  pybind11::object owner_;  // of the text
  std::string_view text_;
  std::vector<uint32_t> counts_;
  bool is_text_ = true;
  int64_t height_ = 0, width_ = 0;
};

std::vector<RleSource> read_sources(const pybind11::handle& objects);

// Calls body(n, source) for every source, on several threads. Names the first RLE object that is malformed.
template <typename Body>
void for_each_source(const std::vector<RleSource>& sources, const Body& body) {
  int64_t work = 0;
  for (const RleSource& source : sources) work += 2 * source.work();
  for_each_item(int64_t(sources.size()), work, "RLE", [&](int64_t n) { body(n, sources[size_t(n)]); });
}

// Every RLE object of a sequence, decoded. Names the first that is malformed.
std::vector<Rle> read_masks(const pybind11::handle& objects);

// x0, y0, x1, y1, ... of flat sequences or arrays of numbers. Names the first that is malformed.
using Outline = std::vector<double>;
std::vector<Outline> read_polygons(const pybind11::handle& polygons);

// [{"size": [height, width], "counts": bytes}, ...]
struct EncodedMask {
  int64_t height = 0, width = 0;
  std::string counts;
};
EncodedMask encode(const Rle& mask);
pybind11::list to_python(const std::vector<EncodedMask>& masks);

// Rethrows what body() finds invalid as std::invalid_argument "<name> <item>: <what>".
template <typename Body>
auto named(const char* name, int64_t item, const Body& body) {
  try {
    return body();
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(std::string(name) + " " + std::to_string(item) + ": " + error.what());
  }
}

}  // namespace ldie::host
