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

// Pixels of a mask, which a run must be able to count.
int64_t mask_cells(int64_t height, int64_t width, int64_t item) {
  int64_t cells = 0;
  if (height < 0 || width < 0 || __builtin_mul_overflow(height, width, &cells) || cells > INT32_MAX) {
    throw std::invalid_argument("RLE " + std::to_string(item) + ": size must be [height, width] of less than 2^31 " +
                                "pixels, got [" + std::to_string(height) + ", " + std::to_string(width) + "]");
  }
  return cells;
}

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

using CountArray = py::array_t<int32_t, py::array::c_style>;
using IndexArray = py::array_t<int64_t, py::array::c_style>;

// Runs of N masks, flat, with offsets -> N strings.
std::vector<py::bytes> encode_runs(const CountArray& counts, const IndexArray& offsets, const IndexArray& sizes) {
  if (counts.ndim() != 1 || offsets.ndim() != 1 || sizes.ndim() != 2 || sizes.shape(1) != 2 ||
      offsets.shape(0) != sizes.shape(0) + 1) {
    throw std::invalid_argument("runs must be counts [R], offsets [N + 1] and sizes [N, 2]");
  }
  std::vector<py::bytes> texts;
  for (int64_t n = 0; n < sizes.shape(0); ++n) {
    const int64_t begin = offsets.at(n), end = offsets.at(n + 1);
    const std::string name = "RLE " + std::to_string(n) + ": ";
    if (begin < 0 || end < begin || end > counts.shape(0)) {
      throw std::invalid_argument(name + "offsets " + std::to_string(begin) + " to " + std::to_string(end) +
                                  " do not lie in the " + std::to_string(counts.shape(0)) + " counts");
    }
    const int32_t* const runs = counts.data() + begin;
    int64_t total = 0;
    for (int64_t i = 0; i < end - begin; ++i) {
      if (runs[i] < 0) throw std::invalid_argument(name + "run " + std::to_string(i) + " is negative");
      total += runs[i];
    }
    if (total != mask_cells(sizes.at(n, 0), sizes.at(n, 1), n)) {
      throw std::invalid_argument(name + "runs add up to " + std::to_string(total) + ", the mask has " +
                                  std::to_string(sizes.at(n, 0) * sizes.at(n, 1)) + " cells");
    }
    texts.emplace_back(encode_counts(std::vector<uint32_t>(runs, runs + (end - begin))));
  }
  return texts;
}

// N strings -> runs of N masks, flat, with offsets.
py::tuple decode_runs(const std::vector<std::string>& texts, const IndexArray& sizes) {
  if (sizes.ndim() != 2 || sizes.shape(1) != 2 || size_t(sizes.shape(0)) != texts.size()) {
    throw std::invalid_argument("sizes must be [N, 2], one for each of the N strings");
  }
  std::vector<uint32_t> all;
  IndexArray offsets(int64_t(texts.size()) + 1);
  offsets.mutable_at(0) = 0;
  for (size_t n = 0; n < texts.size(); ++n) {
    const int64_t cells = mask_cells(sizes.at(n, 0), sizes.at(n, 1), int64_t(n));
    try {
      const std::vector<uint32_t> counts = decode_counts(texts[n], cells);
      all.insert(all.end(), counts.begin(), counts.end());
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument("RLE " + std::to_string(n) + ": " + error.what());
    }
    offsets.mutable_at(n + 1) = int64_t(all.size());
  }
  CountArray counts(int64_t(all.size()));
  std::copy(all.begin(), all.end(), counts.mutable_data());
  return py::make_tuple(counts, offsets);
}

}  // namespace

void register_rle(py::module_& module) {
  module.def("encode_masks", &encode_masks, py::arg("masks").noconvert());
  module.def("decode_masks", &decode_masks, py::arg("counts"), py::arg("height"), py::arg("width"));
  module.def("encode_runs", &encode_runs, py::arg("counts"), py::arg("offsets"), py::arg("sizes"));
  module.def("decode_runs", &decode_runs, py::arg("counts"), py::arg("sizes"));
}

}  // namespace ldie
