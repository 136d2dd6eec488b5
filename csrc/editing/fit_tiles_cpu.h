// SPDX-License-Identifier: Apache-2.0
// CPU: the rows of the Jacobian of a tile of pixels, and the products of its columns.
#pragma once

#include <utility>

#include "editing/edit_normal_equations.h"
#include "editing/edit_tiles_cpu.h"

namespace ldie::editing {

// One problem's steps that do something, and which columns are theirs.
template <typename A>
struct FitProgram {
  EditStep<A> steps[kMostFitSteps];
  const A* params[kMostFitSteps];
  int64_t first[kMostFitSteps + 1] = {};  // columns of a step: first[k] .. first[k + 1] - 1
  int64_t count = 0, last_run = 0;        // steps from last_run on are pointwise
  bool apart[kMostFitSteps + 1];          // whether each channel stays by itself from here on
  int64_t step_of[kMostColumns];

  FitProgram(const EditSequences<A>& sequences, int64_t problem) {
    for (int64_t k = 0; k < sequences.steps; ++k) {
      const int64_t at = problem * sequences.steps + k;
      prepare_step(sequences, at, steps[count]);
      if (!is_operator(steps[count].op)) continue;
      params[count] = sequences.params + at * kParameters;
      first[count + 1] = first[count] + columns_of<A>(steps[count].op);
      for (int64_t column = first[count]; column < first[count + 1]; ++column) step_of[column] = count;
      if (is_stencil(steps[count].op)) last_run = count + 1;
      ++count;
    }
    apart[count] = true;
    for (int64_t k = count - 1; k >= 0; --k) {
      const EditOp op = steps[k].op;
      apart[k] = apart[k + 1] && (is_stencil(op) || op == EditOp::kColorCurve || op == EditOp::kToneCurve);
    }
  }

  int64_t columns() const { return first[count]; }

  // Whether a column may differ from 0 in the rows of channel c.
  bool is_live(int64_t column, int64_t c) const {
    const int64_t k = step_of[column];
    return !apart[k + 1] || steps[k].op != EditOp::kColorCurve || (column - first[k]) / kPieces == c;
  }
};

template <typename A>
using FitTile = PixelTile<A, kFitPixels>;

// What a thread works in. A row is one column of J at a tile's pixels, the one after the last that of the residuals.
template <typename A>
struct FitRows {
  A* values;        // [3, columns + 1, kFitPixels]
  int64_t columns;  // of the problem

  A* row(int64_t c, int64_t column) const { return values + (c * (columns + 1) + column) * kFitPixels; }
};

// Takes grads[c], the gradient of channel c of the result in what the step made of `before`, to that in `before`, and
// leaves the step's columns.
template <typename A, typename Operator>
inline __attribute__((always_inline)) void operator_rows(const Operator& op, const FitRows<A>& rows, int64_t first,
                                                         const A* mask, int64_t count, const FitTile<A>& before,
                                                         FitTile<A>* grads) {
  for (int64_t i = 0; i < count; i += kLanes<A>) {
    const Pixel<Lanes<A>> x = before.rows().at(i);
    for (int64_t c = 0; c < 3; ++c) {
      Lanes<A> values[Operator::kSums + 1] = {};
      const LaneSums<A> sums{values};
      const PixelRows<A> grad = grads[c].rows();
      grad.put(i, mask != nullptr ? edit_masked_backward(op, x, load_lanes(mask + i), grad.at(i), sums)
                                  : edit_backward(op, x, grad.at(i), sums));
      for (int s = 0; s < Operator::kSums; ++s) {
        std::memcpy(rows.row(c, first + s) + i, &values[s], sizeof values[s]);
      }
    }
  }
}

// The same for curves: the slopes are made once for all three rows.
template <typename A, typename Operator>
void curve_rows(const Operator& op, const FitRows<A>& rows, int64_t first, const A* weights, bool apart, const A* mask,
                int64_t count, const FitTile<A>& before, FitTile<A>* grads) {
  constexpr bool kOneEach = kColumnsOf<Operator> > kPieces;
  for (int64_t d = 0; d < 3; ++d) {
    const CurveChannel<A> curve = op.channel(int(d));
    const int64_t offset = kOneEach ? d * kPieces : 0;
    const bool adds = !kOneEach && !apart && d > 0;
    for (int64_t i = 0; i < count; i += kLanes<A>) {
      Lanes<A> slopes[kPieces], covered{};
      if (mask != nullptr) covered = load_lanes(mask + i);
      const Lanes<A> x = load_lanes(before.channels[d] + i);
      const Lanes<A> along =
          curve_slopes<LaneSums<A>>(curve, weights + offset, x, mask != nullptr ? &covered : nullptr, slopes);
      for (int64_t c = apart ? d : 0; c < (apart ? d + 1 : 3); ++c) {
        A* const passed = grads[c].channels[d] + i;
        const Lanes<A> grad = load_lanes(passed), through = grad * along;
        std::memcpy(passed, &through, sizeof through);
        A* to = rows.row(c, first + offset) + i;
        for (int s = 0; s < kPieces; ++s, to += kFitPixels) {
          const Lanes<A> value = grad * slopes[s] + (adds ? load_lanes(to) : Lanes<A>{});
          std::memcpy(to, &value, sizeof value);
        }
      }
    }
  }
}

template <typename A>
void step_rows(const EditSequences<A>& sequences, const FitProgram<A>& program, int64_t k, const TilePlace& place,
               const FitTile<A>& before, FitTile<A>* grads, const FitRows<A>& rows) {
  alignas(kLaneBytes) A covered[kFitPixels];
  const EditStep<A>& step = program.steps[k];
  const bool masked = step.mask != kWholeImage;
  if (masked) load_mask(sequences, step, place, covered);
  const A* const mask = masked ? covered : nullptr;
  with_operator<A>(step.op, [&]<typename Operator>() {
    const Operator op(step.numbers);
    if constexpr (kIsCurve<Operator>) {
      curve_rows(op, rows, program.first[k], program.params[k], program.apart[k + 1], mask, place.count, before, grads);
    } else {
      operator_rows(op, rows, program.first[k], mask, place.count, before, grads);
    }
  });
}

// What the columns before a run of steps are after it, in the rows of a piece of count pixels: grads[c] are the
// gradients of channel c in what the run begins with, where row(d, column) is a column's row of channel d; to
// put(c, column) goes the row of channel c. Channels that stay apart have nothing of each other.
template <typename A, typename Row, typename Put>
void carry_columns(const FitProgram<A>& program, int64_t begin, const FitTile<A>* grads, int64_t count, const Row& row,
                   const Put& put) {
  const bool apart = program.apart[begin];
  for (int64_t column = 0; column < program.first[begin]; ++column) {
    const A* const before[3] = {row(0, column), row(1, column), row(2, column)};
    A* const after[3] = {put(0, column), put(1, column), put(2, column)};
    for (int64_t i = 0; i < count; i += kLanes<A>) {
      Lanes<A> sums[3];
      for (int64_t c = 0; c < 3; ++c) {
        sums[c] = load_lanes(grads[c].channels[c] + i) * load_lanes(before[c] + i);
        for (int64_t d = 0; !apart && d < 3; ++d) {
          if (d != c) sums[c] += load_lanes(grads[c].channels[d] + i) * load_lanes(before[d] + i);
        }
      }
      for (int64_t c = 0; c < 3; ++c) std::memcpy(after[c] + i, &sums[c], sizeof sums[c]);
    }
  }
}

// Products of kSide rows with kSide others are added up in registers, lane by lane.
constexpr int64_t kSide = kLaneBytes == 64 ? 4 : 3;

template <typename A>
inline __attribute__((always_inline)) void add_block(const A* const* left, const A* const* right, int64_t count,
                                                     Lanes<A>* sums) {
  Lanes<A> own[kSide * kSide];
  for (int64_t p = 0; p < kSide * kSide; ++p) own[p] = sums[p];
  for (int64_t i = 0; i < count; i += kLanes<A>) {
    Lanes<A> others[kSide];
    for (int64_t q = 0; q < kSide; ++q) others[q] = load_lanes(right[q] + i);
    for (int64_t p = 0; p < kSide; ++p) {
      const Lanes<A> one = load_lanes(left[p] + i);
      for (int64_t q = 0; q < kSide; ++q) own[p * kSide + q] = mul_add(one, others[q], own[p * kSide + q]);
    }
  }
  for (int64_t p = 0; p < kSide * kSide; ++p) sums[p] = own[p];
}

// The columns that are live in the rows of one channel, or of all three alike, and their products.
template <typename A>
struct FitGroup {
  int64_t places[kMostColumns + 1];  // of its members among the columns, the residual's last
  int64_t count = 0;
  Lanes<A>* sums;  // [blocks (blocks + 1) / 2, kSide, kSide]

  int64_t blocks() const { return ceil_div(count, kSide); }
  int64_t size() const { return blocks() * (blocks() + 1) / 2 * kSide * kSide; }

  void add(const FitRows<A>& rows, int64_t c, const A* zeros, int64_t pixels) {
    const A* members[kMostColumns + 1 + kSide];
    for (int64_t m = 0; m < blocks() * kSide; ++m) members[m] = m < count ? rows.row(c, places[m]) : zeros;
    Lanes<A>* block = sums;
    for (int64_t p = 0; p < blocks(); ++p) {
      for (int64_t q = 0; q <= p; ++q, block += kSide * kSide) {
        add_block(members + p * kSide, members + q * kSide, pixels, block);
      }
    }
  }

  // Adds the lanes to products [columns + 1, columns + 1], at and below the diagonal, and begins again.
  void flush(double* products, int64_t columns) {
    const Lanes<A>* block = sums;
    for (int64_t p = 0; p < blocks(); ++p) {
      for (int64_t q = 0; q <= p; ++q, block += kSide * kSide) {
        for (int64_t e = 0; e < kSide * kSide; ++e) {
          const int64_t row = p * kSide + e / kSide, other = q * kSide + e % kSide;
          if (row >= count || other > row) continue;
          double sum = 0;
          for (int64_t lane = 0; lane < kLanes<A>; ++lane) sum += double(block[e][lane]);
          products[places[row] * (columns + 1) + places[other]] += sum;
        }
      }
    }
    std::memset(sums, 0, size_t(size()) * sizeof(Lanes<A>));
  }
};

}  // namespace ldie::editing
