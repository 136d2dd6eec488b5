// SPDX-License-Identifier: Apache-2.0
// CPU: a tile's pixels and the columns of its Jacobian as they are after the last stencil of a problem. Each column is
// an image of the tile with its halo, which goes through the stencils as the pixels do.
#pragma once

#include "editing/edit_halo_tiles_cpu.h"
#include "editing/fit_tiles_cpu.h"

namespace ldie::editing {

constexpr TileSize kFitTileSize = {8, kFitPixels};

template <typename A>
class StencilTile {
 public:
  static HaloTiles tiles(int64_t height, int64_t width, int64_t halo) {
    return HaloTiles(height, width, kFitTileSize, halo);
  }

  // Of memory that is 0 at first.
  static int64_t numbers(const HaloTiles& widest, int64_t columns) {
    return TileBuffers<A>::numbers(widest, columns + kOthers);
  }

  // Without `derivatives`, pixels alone.
  StencilTile(const EditSequences<A>& sequences, const FitProgram<A>& program, const HaloTiles& widest, A* memory,
              bool derivatives)
      : sequences_(sequences),
        program_(program),
        buffers_(widest, memory),
        pixels_(buffers_[0]),
        spare_(buffers_[1]),
        spare_column_(buffers_[5]),
        derivatives_(derivatives) {
    for (int64_t column = 0; derivatives && column < program.first[program.last_run]; ++column) {
      columns_[column] = buffers_[kOthers + column];
    }
  }

  // All steps before the last run, on a sample's image; `rows` has room for the rows of a run.
  void run(const A* image, const HaloTile& frame, const FitRows<A>& rows) {
    for (int64_t y = frame.loaded.top; y < frame.loaded.bottom; ++y) {
      load_tile(image, frame.place(y), pixels_.pixel_rows(frame, y, frame.loaded.left));
    }
    Area right = frame.loaded;
    for (int64_t k = 0; k < program_.last_run; ++k) {
      int64_t next = k;
      while (!is_stencil(program_.steps[next].op)) ++next;
      if (next > k) run_pointwise(frame, right, k, next, rows);
      k = next;
      right = run_stencil(frame, right, k);
    }
  }

  PixelRows<A> pixel_rows(const HaloTile& frame, int64_t y, int64_t x) const { return pixels_.pixel_rows(frame, y, x); }

  const A* column_row(const HaloTile& frame, int64_t c, int64_t column, int64_t y, int64_t x) const {
    return columns_[column].channel_row(frame, c, y) + (x - frame.loaded.left);
  }

 private:
  static constexpr int64_t kOthers = 6;  // pixels, a spare, a flow's own part and two fields, and a spare column

  void run_pointwise(const HaloTile& frame, const Area& right, int64_t begin, int64_t end, const FitRows<A>& rows) {
    for (int64_t y = right.top; y < right.bottom; ++y) {
      for (int64_t x = frame.loaded.left; x < frame.loaded.right; x += kFitPixels) {
        run_piece(frame, frame.part(y, x, std::min(x + kFitPixels, frame.loaded.right)), y, x, begin, end, rows);
      }
    }
  }

  void run_piece(const HaloTile& frame, const TilePlace& place, int64_t y, int64_t x, int64_t begin, int64_t end,
                 const FitRows<A>& rows) {
    const PixelRows<A> pixels = pixels_.pixel_rows(frame, y, x);
    const int64_t count = round_up(place.count, kLanes<A>);
    for (int64_t c = 0; c < 3; ++c) std::copy_n(pixels.channels[c], count, tiles_[begin].channels[c]);
    for (int64_t k = begin; k < end; ++k) {
      apply_step(sequences_, program_.steps[k], place, std::as_const(tiles_[k]).rows(), tiles_[k + 1].rows());
    }
    for (int64_t c = 0; c < 3; ++c) std::copy_n(tiles_[end].channels[c], count, pixels.channels[c]);
    if (!derivatives_) return;
    std::memset(grads_, 0, sizeof grads_);
    for (int64_t c = 0; c < 3; ++c) std::fill_n(grads_[c].channels[c], count, A(1));
    for (int64_t k = end - 1; k >= begin; --k) {
      step_rows(sequences_, program_, k, place, tiles_[k], grads_, rows);
    }
    const auto row = [&](int64_t c, int64_t column) {
      return columns_[column].channel_row(frame, c, y) + (x - frame.loaded.left);
    };
    carry_columns(program_, begin, grads_, count, row, row);
    for (int64_t column = program_.first[begin]; column < program_.first[end]; ++column) {
      for (int64_t c = 0; c < 3; ++c) {
        if (program_.is_live(column, c)) std::copy_n(rows.row(c, column), count, row(c, column));
      }
    }
  }

  Area run_stencil(const HaloTile& frame, const Area& rows, int64_t k) {
    const EditStep<A>& step = program_.steps[k];
    const Area right = frame.after_stencil(rows);
    fill_before(step, frame, rows, pixels_);
    apply_stencil(sequences_, step, frame, right, pixels_, spare_);
    with_stencil<A>(step.op, [&]<typename Operator>() {
      if (!derivatives_) return;
      leave_flows(Operator(step.numbers), step, frame, right, columns_[program_.first[k]]);
      for (int64_t column = 0; column < program_.first[k]; ++column) {
        fill_beyond(frame, rows, Operator::border(), columns_[column]);
        take_column<Operator>(frame, right, column);
      }
    });
    std::swap(pixels_, spare_);
    return right;
  }

  // dy of each pixel is own dx of itself and fields times what the operator reads of the dx around it. The sums of a
  // unit gradient are the step's own column.
  template <typename Operator>
  void leave_flows(const Operator& op, const EditStep<A>& step, const HaloTile& frame, const Area& rows,
                   const TileBuffer<A>& column) const {
    alignas(kLaneBytes) A mask[kForwardPixels];
    const bool masked = step.mask != kWholeImage;
    const Lanes<A> one = all_lanes(A(1));
    for (int64_t y = rows.top; y < rows.bottom; ++y) {
      if (masked) load_mask(sequences_, step, frame.place(y), mask);
      for (int64_t c = 0; c < 3; ++c) {
        const RowsAround<A> around(frame, pixels_, c, y);
        for (int64_t i = 0; i < frame.loaded.columns(); i += kLanes<A>) {
          Lanes<A> sum{};
          const LaneSums<A> sums{&sum};
          const auto flow = masked ? edit_masked_backward(op, around.at(i), load_lanes(mask + i), one, sums)
                                   : edit_backward(op, around.at(i), one, sums);
          put_lanes(column.channel_row(frame, c, y) + i, sum);
          put_lanes(buffers_[2].channel_row(frame, c, y) + i, flow.own);
          for (int f = 0; f < Operator::kFields; ++f) {
            put_lanes(buffers_[3 + f].channel_row(frame, c, y) + i, flow.fields[f]);
          }
        }
      }
    }
  }

  template <typename Operator>
  void take_column(const HaloTile& frame, const Area& rows, int64_t column) {
    for (int64_t c = 0; c < 3; ++c) {
      if (!program_.is_live(column, c)) continue;
      for (int64_t y = rows.top; y < rows.bottom; ++y) {
        const RowsAround<A> around(frame, columns_[column], c, y);
        const auto flow = [&](int64_t i, int64_t part) {
          return load_lanes(buffers_[2 + part].channel_row(frame, c, y) + i);
        };
        A* const to = spare_column_.channel_row(frame, c, y);
        for (int64_t i = 0; i < frame.loaded.columns(); i += kLanes<A>) {
          const Around<Lanes<A>> values = around.at(i);
          put_lanes(to + i, add_fields<Operator>(Lanes<A>(flow(i, 0) * own_value(values)), [&]<int kField>() {
                      return flow(i, 1 + kField) * Operator::template read<kField>(values);
                    }));
        }
      }
    }
    std::swap(columns_[column], spare_column_);
  }

  const EditSequences<A>& sequences_;
  const FitProgram<A>& program_;
  const TileBuffers<A> buffers_;
  TileBuffer<A> pixels_, spare_, spare_column_, columns_[kMostColumns];
  const bool derivatives_;
  FitTile<A> tiles_[kMostFitSteps + 1], grads_[3];
};

}  // namespace ldie::editing
