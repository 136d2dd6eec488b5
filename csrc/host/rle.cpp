// SPDX-License-Identifier: Apache-2.0
#include "host/rle.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace py = pybind11;

namespace ldie {

std::vector<uint32_t> run_lengths(const uint8_t* mask, int64_t cells) {
  std::vector<uint32_t> counts;
  uint8_t value = 0;
  int64_t start = 0;
  for (int64_t i = 0; i < cells; ++i) {
    const uint8_t cell = mask[i] != 0;
    if (cell == value) continue;
    counts.push_back(uint32_t(i - start));
    start = i;
    value = cell;
  }
  counts.push_back(uint32_t(cells - start));
  return counts;
}

std::string encode_counts(const std::vector<uint32_t>& counts) {
  std::string text;
  for (size_t i = 0; i < counts.size(); ++i) {
    int64_t rest = int64_t(counts[i]) - (i > 2 ? int64_t(counts[i - 2]) : 0);
    bool more = true;
    while (more) {
      int64_t group = rest & 0x1f;
      rest >>= 5;
      more = group & 0x10 ? rest != -1 : rest != 0;  // the group's top bit is the sign
      text.push_back(char((more ? group | 0x20 : group) + 48));
    }
  }
  return text;
}

std::vector<uint32_t> decode_counts(std::string_view text, int64_t cells) {
  constexpr int kGroupBits = 5, kMaxGroups = 7;
  std::vector<uint32_t> counts;
  int64_t total = 0;
  size_t position = 0;
  while (position < text.size()) {
    int64_t value = 0;
    bool more = true;
    for (int group = 0; more; ++group) {
      const int code = position < text.size() ? int(static_cast<unsigned char>(text[position])) - 48 : -1;
      if (code < 0 || code > 63 || group == kMaxGroups) {
        throw std::invalid_argument("malformed RLE counts at character " + std::to_string(position));
      }
      ++position;
      value |= int64_t(code & 0x1f) << (kGroupBits * group);
      more = code & 0x20;
      if (!more && (code & 0x10)) value |= -(int64_t(1) << (kGroupBits * (group + 1)));
    }
    if (counts.size() > 2) value += counts[counts.size() - 2];
    total += value;
    if (value < 0 || total > cells) {
      throw std::invalid_argument("RLE counts do not fit the mask: run " + std::to_string(counts.size()) + " is " +
                                  std::to_string(value) + ", the mask has " + std::to_string(cells) + " cells");
    }
    counts.push_back(uint32_t(value));
  }
  if (total != cells) {
    throw std::invalid_argument("RLE counts add up to " + std::to_string(total) + ", the mask has " +
                                std::to_string(cells) + " cells");
  }
  return counts;
}

namespace {

using MaskArray = py::array_t<uint8_t, py::array::f_style>;

// masks: [H, W, N] column-major uint8 -> N strings.
std::vector<py::bytes> encode_masks(const MaskArray& masks) {
  if (masks.ndim() != 3) throw std::invalid_argument("masks must have shape [H, W, N]");
  const int64_t cells = int64_t(masks.shape(0)) * masks.shape(1), count = masks.shape(2);
  const uint8_t* values = masks.data();
  std::vector<std::string> texts(static_cast<size_t>(count));
  {
    const py::gil_scoped_release release;
    for (int64_t n = 0; n < count; ++n) texts[size_t(n)] = encode_counts(run_lengths(values + n * cells, cells));
  }
  return {texts.begin(), texts.end()};
}

// N strings -> [H, W, N] column-major uint8 of 0 and 1.
MaskArray decode_masks(const std::vector<std::string>& texts, int64_t height, int64_t width) {
  if (height < 0 || width < 0) throw std::invalid_argument("RLE size must be [height, width], both at least 0");
  const int64_t cells = height * width, count = int64_t(texts.size());
  MaskArray masks({height, width, count});
  uint8_t* out = masks.mutable_data();
  {
    const py::gil_scoped_release release;
    for (const std::string& text : texts) {
      uint8_t value = 0;
      for (const uint32_t run : decode_counts(text, cells)) {
        std::memset(out, value, run);
        out += run;
        value ^= 1;
      }
    }
  }
  return masks;
}

}  // namespace

void register_rle(py::module_& module) {
  module.def("encode_masks", &encode_masks, py::arg("masks").noconvert());
  module.def("decode_masks", &decode_masks, py::arg("counts"), py::arg("height"), py::arg("width"));
}

}  // namespace ldie
