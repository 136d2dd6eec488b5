// SPDX-License-Identifier: Apache-2.0
// CPU: back through a sample's program on tiles with a halo (edit_halo_tiles_cpu.h). The gradient of a tile is made of
// that of the pixels around it, one pixel for each stencil, and those need the image as far again: it is loaded with
// twice the halo, and what each step begins with is kept in a buffer of its own.
#pragma once

#include "editing/edit_halo_tiles_cpu.h"

namespace ldie::editing {

constexpr TileSize kGradientTile = {32, 128};

// The halo on the left in whole registers, so that the tile begins with one.
template <typename A>
HaloTiles gradient_tiles(int64_t height, int64_t width, int64_t halo) {
  return HaloTiles(height, width, kGradientTile, 2 * halo, round_up(2 * halo, kLanes<A>));
}

// A step's sums: those of the tile, and those of the halo, which other tiles count.
template <typename A>
struct TileSums {
  Lanes<A>*of_tile, *of_halo;
};

template <typename A>
void apply_pointwise_backward(const EditSequences<A>& sequences, const EditStep<A>& step, const HaloTile& frame,
                              const Area& rows, const TileBuffer<A>& before, const TileBuffer<A>& grad,
                              const TileSums<A>& sums) {
  const auto part = [&](int64_t y, int64_t left, int64_t right, Lanes<A>* sums_of_part) {
    if (left == right) return;
    apply_step_backward(sequences, step, frame.part(y, left, right), as_const(before.pixel_rows(frame, y, left)),
                        grad.pixel_rows(frame, y, left), sums_of_part);
  };
  for (int64_t y = rows.top; y < rows.bottom; ++y) {
    if (y < frame.tile.top || y >= frame.tile.bottom) {
      part(y, frame.loaded.left, frame.loaded.right, sums.of_halo);
    } else {
      part(y, frame.loaded.left, frame.tile.left, sums.of_halo);
      part(y, frame.tile.left, frame.tile.right, sums.of_tile);
      part(y, frame.tile.right, frame.loaded.right, sums.of_halo);
    }
  }
}

// Leaves in `grad` what goes to each pixel itself, and in `fields` what its neighbours get of it.
template <typename A, typename Operator>
void leave_fields(const Operator& op, const EditSequences<A>& sequences, const EditStep<A>& step, const HaloTile& frame,
                  const Area& rows, const TileBuffer<A>& before, const TileBuffer<A>& grad, const TileBuffer<A>* fields,
                  const TileSums<A>& sums) {
  alignas(kLaneBytes) A mask[kBackwardPixels];
  const bool masked = step.mask != kWholeImage;
  const int64_t begin = frame.tile.left - frame.loaded.left, end = frame.tile.right - frame.loaded.left;
  for (int64_t y = rows.top; y < rows.bottom; ++y) {
    if (masked) load_mask(sequences, step, frame.place(y), mask);
    const bool in_tile = y >= frame.tile.top && y < frame.tile.bottom;
    for (int64_t c = 0; c < 3; ++c) {
      const RowsAround<A> around(frame, before, c, y);
      A* const row = grad.channel_row(frame, c, y);
      for (int64_t i = 0; i < frame.loaded.columns(); i += kLanes<A>) {
        const LaneSums<A> sums_here{in_tile && i >= begin && i < end ? sums.of_tile : sums.of_halo};
        const Lanes<A> passed = load_lanes(row + i);
        const auto flow = masked ? edit_masked_backward(op, around.at(i), load_lanes(mask + i), passed, sums_here)
                                 : edit_backward(op, around.at(i), passed, sums_here);
        put_lanes(row + i, flow.own);
        for (int f = 0; f < Operator::kFields; ++f) put_lanes(fields[f].channel_row(frame, c, y) + i, flow.fields[f]);
      }
    }
  }
}

// Adds to `grad` what each pixel gets of the fields; beyond the image it stays 0.
template <typename Operator, typename A>
void gather_fields(const HaloTile& frame, const Area& rows, const TileBuffer<A>* fields, const TileBuffer<A>& grad) {
  const int64_t columns = frame.loaded.columns();
  for (int64_t y = rows.top; y < rows.bottom; ++y) {
    for (int64_t c = 0; c < 3; ++c) {
      A* const row = grad.channel_row(frame, c, y);
      const RowsAround<A> around[] = {{frame, fields[0], c, y}, {frame, fields[Operator::kFields - 1], c, y}};
      for (int64_t i = 0; i < columns; i += kLanes<A>) {
        put_lanes(row + i, add_fields<Operator>(load_lanes(row + i), [&]<int kField>() {
                    return Operator::template spread<kField>(around[kField].at(i));
                  }));
      }
      for (int64_t i = columns; i < round_up(columns, kLanes<A>); ++i) row[i] = 0;
    }
  }
}

// Takes the gradient of what a step made of `before` to that of `before`, in the rows where it is right, and returns
// those where it is right then. `fields`: two more buffers.
template <typename A>
Area run_step_backward(const EditSequences<A>& sequences, const EditStep<A>& step, const HaloTile& frame,
                       const Area& rows, const TileBuffer<A>& before, const TileBuffer<A>& grad,
                       const TileBuffer<A>* fields, const TileSums<A>& sums) {
  if (!is_stencil(step.op)) {
    apply_pointwise_backward(sequences, step, frame, rows, before, grad, sums);
    return rows;
  }
  const Area right = frame.after_stencil(rows);
  with_stencil<A>(step.op, [&]<typename Operator>() {
    leave_fields(Operator(step.numbers), sequences, step, frame, rows, before, grad, fields, sums);
    for (int f = 0; f < Operator::kFields; ++f) fill_beyond(frame, rows, Operator::field_border(f), fields[f]);
    gather_fields<Operator>(frame, right, fields, grad);
  });
  return right;
}

}  // namespace ldie::editing
