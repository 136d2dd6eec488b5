// SPDX-License-Identifier: Apache-2.0
// The cells that the columns of a box read are gathered once for each row of the mask, not for each row of pixels; what
// is left is arithmetic on whole registers. Dense output is bound by writing it.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/bits_cpu.h"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/parallel_cpu.h"
#include "masks/paste_masks.h"

namespace ldie::masks {
namespace {

// What one thread needs to paste one mask after the other.
template <typename T>
class Paster {
  using A = acc_t<T>;

 public:
  explicit Paster(const PasteMasks<T>& args)
      : args_(args),
        framed_(size_t((args.rows + 2) * (args.columns + 2))),
        low_(whole_bytes(args.out.width)),
        low_weight_(low_.size()),
        high_weight_(low_.size()),
        pixels_(low_.size()) {
    for (CellRow& row : cell_rows_) {
      row.left.resize(low_.size());
      row.right.resize(low_.size());
    }
  }

  template <PasteRule rule>
  void paste(int64_t n) {
    uint8_t* const output = args_.out.mask(n);
    if (!args_.out.zeroed) std::memset(output, 0, size_t(args_.out.mask_bytes()));
    place_columns(args_.axis_x(n));
    if (begin_ == end_) return;
    frame(args_.masks + n * args_.rows * args_.columns);
    const PasteAxis<A> axis = args_.axis_y(n);
    for (int64_t y = 0; y < args_.out.height; ++y) {
      const PasteTap<A> tap = axis.tap(y);
      if (tap.reached()) paste_row<rule>(tap, output + y * args_.out.row_bytes());
    }
  }

 private:
  // A row of cells as the columns read it.
  struct CellRow {
    int32_t row = -1;
    std::vector<A> left, right;
  };

  static size_t whole_bytes(int64_t pixels) { return size_t(round_up(pixels, 8)); }

  // The columns that the box reaches, from a whole byte on. Padding columns read cell 0, of the frame, at weight 0.
  void place_columns(const PasteAxis<A>& axis) {
    begin_ = args_.out.width;
    end_ = 0;
    for (int64_t x = 0; x < args_.out.width; ++x) {
      const PasteTap<A> tap = axis.tap(x);
      low_[size_t(x)] = std::max(tap.low, 0);
      low_weight_[size_t(x)] = tap.low_weight;
      high_weight_[size_t(x)] = tap.high_weight;
      begin_ = tap.reached() ? std::min(begin_, x) : begin_;
      end_ = tap.reached() ? x + 1 : end_;
    }
    begin_ = std::min(begin_, end_) / 8 * 8;
  }

  void frame(const T* mask) {
    std::fill(framed_.begin(), framed_.end(), A(0));
    for (int64_t row = 0; row < args_.rows; ++row) {
      A* const cells = framed_.data() + (row + 1) * (args_.columns + 2) + 1;
      for (int64_t column = 0; column < args_.columns; ++column) cells[column] = mask[row * args_.columns + column];
    }
    for (CellRow& row : cell_rows_) row.row = -1;
  }

  // Rows follow each other, so that two are kept: an even one and an odd one.
  const CellRow& cell_row(int32_t row) {
    CellRow& kept = cell_rows_[row % 2];
    if (kept.row == row) return kept;
    kept.row = row;
    const A* const cells = framed_.data() + row * (args_.columns + 2);
    const int32_t* const low = low_.data();
    A *const left = kept.left.data(), *const right = kept.right.data();
    for (int64_t x = begin_; x < end_; ++x) {
      left[x] = cells[low[x]];
      right[x] = cells[low[x] + 1];
    }
    return kept;
  }

  template <PasteRule rule>
  void paste_row(const PasteTap<A>& tap, uint8_t* output) {
    const CellRow &upper = cell_row(tap.low), &lower = cell_row(tap.low + 1);
    blend<rule>(tap, upper.left.data(), upper.right.data(), lower.left.data(), lower.right.data(),
                args_.out.packed ? pixels_.data() : output);
    if (!args_.out.packed) return;
    std::fill(pixels_.begin() + end_, pixels_.begin() + int64_t(whole_bytes(end_)), uint8_t(0));
    for (int64_t x = begin_; x < end_; x += 8) output[x / 8] = gather_8_bits(pixels_.data() + x);
  }

  template <PasteRule rule>
  void blend(const PasteTap<A>& y, const A* upper_left, const A* upper_right, const A* lower_left, const A* lower_right,
             uint8_t* pixels) const {
    const A *const low_weight = low_weight_.data(), *const high_weight = high_weight_.data();
    const A threshold = A(args_.threshold);
    const int64_t end = end_;
    for (int64_t x = begin_; x < end; ++x) {
      const PasteCells<A> cells{upper_left[x], upper_right[x], lower_left[x], lower_right[x]};
      const PasteTap<A> tap{0, low_weight[x], high_weight[x]};
      pixels[x] = uint8_t(paste_pixel<rule>(cells, y, tap, threshold));
    }
  }

  const PasteMasks<T> args_;
  std::vector<A> framed_;  // the mask in its frame
  std::vector<int32_t> low_;
  std::vector<A> low_weight_, high_weight_;
  int64_t begin_ = 0, end_ = 0;
  CellRow cell_rows_[2];
  std::vector<uint8_t> pixels_;  // of one row, to be packed
};

template <PasteRule rule, typename T>
void paste_all(const PasteMasks<T>& args) {
  constexpr int64_t kBytesPerTask = 1 << 15;
  const int64_t grain = kBytesPerTask / (args.out.mask_bytes() + 1) + 1;
  parallel_for(args.count, grain, [&](int64_t begin, int64_t end) {
    Paster<T> paster(args);
    for (int64_t n = begin; n < end; ++n) paster.template paste<rule>(n);
  });
}

}  // namespace

template <typename T>
void paste_masks(const PasteMasks<T>& args, Context&) {
  args.rule == PasteRule::detectron2 ? paste_all<PasteRule::detectron2>(args) : paste_all<PasteRule::torchvision>(args);
}

LDIE_INSTANTIATE(paste_masks, PasteMasks);

}  // namespace ldie::masks
