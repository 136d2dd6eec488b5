// SPDX-License-Identifier: Apache-2.0
// Masks are cut down to the bits of their boxes as they are read. From these come the moments and the cells, counted at
// the finest stride and added up to coarser ones; what lies outside of the box is cleared and no more. Floor: the bytes
// of the masks read and of the cells written.
#include <algorithm>
#include <cstring>
#include <vector>

#include "masks/cell_counts_cpu.h"
#include "masks/mask_moments_cpu.h"
#include "masks/mask_target_pyramid.h"

namespace ldie::masks {
namespace {

// What one thread needs to make the levels of one mask after the other.
class MaskReducer {
 public:
  explicit MaskReducer(const MaskTargetPyramid& args) : args_(args), cropper_(args.masks()) {}

  void reduce(int64_t n) {
    const CroppedMask mask = cropper_.crop(n);
    args_.centers.write(n, moments_of(mask));
    if (args_.counts() && mask.rows() > 0) counts_.begin(mask, args_.levels[0].stride);
    for (int i = 0; i < args_.count; ++i) {
      const MaskLevel& level = args_.levels[i];
      if (!args_.zeroed) clear(level, n);
      if (mask.rows() == 0) continue;
      if (args_.counts()) {
        counts_.at(level.stride, [&](const auto& counts) {
          args_.fractions ? write_fractions(level, n, counts) : write_halves(level, n, counts);
        });
      } else {
        write_looks(level, n, mask);
      }
    }
  }

 private:
  void clear(const MaskLevel& level, int64_t n) const {
    if (args_.fractions) {
      std::fill_n(args_.shares(level, n), args_.size(level), 0.0f);
    } else {
      std::fill_n(args_.mask(level, n), args_.size(level), uint8_t(0));
    }
  }

  template <typename T>
  void write_fractions(const MaskLevel& level, int64_t n, const CellCounts<T>& counts) const {
    const int64_t left = counts.left, cells = std::min(counts.right, level.width) - left;
    for (int64_t y = counts.top; y < std::min(counts.bottom, level.height); ++y) {
      const T* const from = counts.from(y, left);
      float* const to = args_.shares(level, n) + y * level.width + left;
      for (int64_t i = 0; i < cells; ++i) to[i] = level.fraction(from[i]);
    }
  }

  template <typename T>
  void write_halves(const MaskLevel& level, int64_t n, const CellCounts<T>& counts) {
    const T half = T(level.half());
    const int64_t left = counts.left, right = std::min(counts.right, level.width);
    const int64_t bottom = std::min(counts.bottom, level.height);
    bool any = false;
    for (int64_t y = counts.top; y < bottom; ++y) {
      const T* const from = counts.from(y, left);
      write_row(level, n, y, left, right, [&](uint8_t* to) {
        for (int64_t i = 0; i < right - left; ++i) to[i] = from[i] >= half;
        any = any || any_set(to, right - left);
      });
    }
    if (!any) set_fullest(args_, level, n, fullest(level, counts, right, bottom));
  }

  template <typename T>
  static uint64_t fullest(const MaskLevel& level, const CellCounts<T>& counts, int64_t right, int64_t bottom) {
    uint64_t key = 0;
    for (int64_t y = counts.top; y < bottom; ++y) {
      const T* const begin = counts.from(y, counts.left);
      const T* const most = std::max_element(begin, begin + right - counts.left);  // the first of equals
      key = std::max(key, FullestCell::key(*most, y * level.width + counts.left + (most - begin)));
    }
    return key;
  }

  void write_looks(const MaskLevel& level, int64_t n, const CroppedMask& mask) {
    const bool bilinear = args_.mode == PyramidMode::bilinear;
    const int64_t stride = level.stride, at_once = 64 / std::min<int64_t>(64, stride);
    const int64_t left = 64 * mask.first / stride;
    const int64_t right = std::min(level.width, ceil_div(64 * mask.end, stride));
    const int64_t bottom = std::min(level.height, ceil_div(mask.bottom, stride));
    const auto pixels_at = [&](int64_t y, int64_t x) { return pixels_from(mask, y, x); };
    for (int64_t y = mask.top / stride; y < bottom; ++y) {
      write_row(level, n, y, left, right, [&](uint8_t* to) {
        for (int64_t x = left; x < right; x += at_once) {
          const uint64_t cells = look_at_cells<uint64_t>(bilinear, stride, y, x, pixels_at);
          store_bits(to + x - left, cells, std::min(at_once, right - x));
        }
      });
    }
  }

  // 64 pixels of a row.
  static uint64_t pixels_from(const CroppedMask& mask, int64_t y, int64_t x) {
    if (y < mask.top || y >= mask.bottom) return 0;
    const int64_t column = x / 64, shift = x % 64;
    const auto word = [&](int64_t at) { return at >= mask.first && at < mask.end ? *mask.word(y, at) : 0; };
    return shift == 0 ? word(column) : word(column) >> shift | word(column + 1) << (64 - shift);
  }

  static void store_bits(uint8_t* to, uint64_t bits, int64_t count) {
    for (int64_t i = 0; i < count; i += 8) {
      const uint64_t cells = spread_8_bits(bits >> i);
      std::memcpy(to + i, &cells, size_t(std::min<int64_t>(8, count - i)));
    }
  }

  // Cells [left, right) of a row, which fill(to) writes as a byte each.
  template <typename Fill>
  void write_row(const MaskLevel& level, int64_t n, int64_t y, int64_t left, int64_t right, const Fill& fill) {
    uint8_t* const row = args_.mask(level, n) + y * args_.row_bytes(level);
    if (!args_.packed) return fill(row + left);
    const int64_t begin = left / 8, end = ceil_div(right, 8);
    line_.assign(size_t(8 * (end - begin)), 0);
    fill(line_.data() + left - 8 * begin);
    for (int64_t byte = begin; byte < end; ++byte) row[byte] = gather_8_bits(line_.data() + 8 * (byte - begin));
  }

  const MaskTargetPyramid& args_;
  MaskCropper cropper_;
  CountPyramid counts_;
  std::vector<uint8_t> line_;
};

}  // namespace

void mask_target_pyramid(const MaskTargetPyramid& args, Context&) {
  const int64_t count = args.masks().count, at_once = masks_per_task(args.masks());
  parallel_tasks(ceil_div(count, at_once), [&](const auto& next) {
    MaskReducer reducer(args);
    const int64_t tasks = ceil_div(count, at_once);
    for (int64_t task = next(); task < tasks; task = next()) {
      for (int64_t n = task * at_once; n < std::min(count, (task + 1) * at_once); ++n) reducer.reduce(n);
    }
  });
}

}  // namespace ldie::masks
