// SPDX-License-Identifier: Apache-2.0
// CPU: a sample's whole program, stencils too, on tiles that stay in the second-level cache, with nothing of an image's
// size stored. A tile is edited together with a halo of one pixel for each stencil; what is right shrinks by one pixel
// with each, but not at the image's border, and in the end is the tile. For the edited pixels of tile after tile:
//
//   const Program<A> program(sequences, sample);
//   const HaloTiles tiles(height, width, kEditedTile, halo_of(sequences, sample));
//   const TileBuffers<A> buffers(tiles, memory);  // TileBuffers<A>::numbers(tiles, 2) numbers, 0 at first
//   for (int64_t tile = 0; tile < tiles.count(); ++tile) {
//     const HaloTile frame = tiles.at(tile);
//     for (int64_t y = frame.loaded.top; y < frame.loaded.bottom; ++y)
//       load_tile(image, frame.place(y), buffers[0].pixel_rows(frame, y, frame.loaded.left));
//     const TileBuffer<A> edited = run_program(sequences, program, frame, buffers[0], buffers[1]);
//     for (int64_t y = frame.tile.top; y < frame.tile.bottom; ++y)
//       .. edited.pixel_rows(frame, y, frame.tile.left), frame.tile.columns() pixels
//   }
//
// Both buffers are overwritten. Whole registers may be read of the rows: after the tile's pixels are some numbers.
#pragma once

#include <algorithm>
#include <utility>

#include "editing/edit_tiles_cpu.h"

namespace ldie::editing {

// Pixels of rows top .. bottom - 1 and columns left .. right - 1 of an image.
struct Area {
  int64_t top, bottom, left, right;

  int64_t rows() const { return bottom - top; }
  int64_t columns() const { return right - left; }
};

struct TileSize {
  int64_t rows, columns;
};

// Columns in whole registers of any width.
constexpr TileSize kEditedTile = {64, 128};

// A tile, and what is loaded for it: with its halo, as far as there is an image.
struct HaloTile {
  int64_t height, width;  // the image's
  Area tile, loaded;

  TilePlace place(int64_t y) const { return part(y, loaded.left, loaded.right); }
  TilePlace part(int64_t y, int64_t left, int64_t right) const {
    return {height * width, y * width + left, right - left};
  }

  // The rows that are right after a stencil, of those before it.
  Area after_stencil(const Area& rows) const {
    return {rows.top + (rows.top > 0), rows.bottom - (rows.bottom < height), rows.left, rows.right};
  }
};

// All tiles of an image, row by row.
class HaloTiles {
 public:
  // On the left the halo may be wider than it must be.
  HaloTiles(int64_t height, int64_t width, const TileSize& size, int64_t halo, int64_t left_halo)
      : height_(height), width_(width), size_(size), halo_(halo), left_halo_(left_halo) {}
  HaloTiles(int64_t height, int64_t width, const TileSize& size, int64_t halo)
      : HaloTiles(height, width, size, halo, halo) {}

  int64_t count() const { return ceil_div(height_, size_.rows) * ceil_div(width_, size_.columns); }

  HaloTile at(int64_t tile) const {
    const int64_t across = ceil_div(width_, size_.columns);
    const int64_t top = tile / across * size_.rows, left = tile % across * size_.columns;
    const Area own = {top, std::min(top + size_.rows, height_), left, std::min(left + size_.columns, width_)};
    const Area loaded = {std::max<int64_t>(own.top - halo_, 0), std::min(own.bottom + halo_, height_),
                         std::max<int64_t>(own.left - left_halo_, 0), std::min(own.right + halo_, width_)};
    return {height_, width_, own, loaded};
  }

  // The most rows and columns that are loaded for one.
  int64_t most_rows() const { return std::min(size_.rows + 2 * halo_, height_); }
  int64_t most_columns() const { return std::min(left_halo_ + size_.columns + halo_, width_); }

 private:
  int64_t height_, width_;
  TileSize size_;
  int64_t halo_, left_halo_;
};

// Rows of three channels, with room for a pixel beyond each border of the image.
template <typename A>
struct TileBuffer {
  A* first;  // channel 0 of the first pixel that is loaded
  int64_t channel_stride, row_stride;

  A* channel_row(const HaloTile& frame, int64_t c, int64_t y) const {
    return first + c * channel_stride + (y - frame.loaded.top) * row_stride;
  }
  PixelRows<A> pixel_rows(const HaloTile& frame, int64_t y, int64_t x) const {
    A* const red = channel_row(frame, 0, y) + (x - frame.loaded.left);
    return {{red, red + channel_stride, red + 2 * channel_stride}};
  }
};

// Buffers side by side in memory that is 0 at first.
template <typename A>
class TileBuffers {
 public:
  static int64_t numbers(const HaloTiles& tiles, int64_t count) { return count * TileBuffers(tiles, nullptr).size(); }

  TileBuffers(const HaloTiles& tiles, A* memory)
      : memory_(memory),
        row_(round_up(tiles.most_columns(), kLanes<A>) + 2 * kLanes<A>),
        channel_((tiles.most_rows() + 2) * row_) {}

  TileBuffer<A> operator[](int64_t i) const { return {memory_ + i * size() + row_ + kLanes<A>, channel_, row_}; }

 private:
  int64_t size() const { return 3 * channel_; }

  A* memory_;
  int64_t row_, channel_;
};

template <typename A>
PixelRows<const A> as_const(const PixelRows<A>& rows) {
  return {{rows.channels[0], rows.channels[1], rows.channels[2]}};
}

// What a stencil reads beyond the image's borders, where the frame reaches them; of these rows, and all three channels.
template <typename A>
void fill_beyond(const HaloTile& frame, const Area& rows, const Border& border, const TileBuffer<A>& buffer) {
  const int64_t columns = frame.loaded.columns(), end = round_up(columns, kLanes<A>);
  for (int64_t c = 0; c < 3; ++c) {
    for (int64_t y = rows.top; y < rows.bottom; ++y) {
      A* const row = buffer.channel_row(frame, c, y);
      if (frame.loaded.left == 0) row[-1] = beyond(border.along_x, row[0]);
      if (frame.loaded.right < frame.width) continue;
      row[columns] = beyond(border.along_x, row[columns - 1]);
      std::fill(row + columns + 1, row + end + 1, A(0));  // the last register's other lanes, which must not be NaN
    }
    const auto copy = [&](int64_t from, int64_t to) {
      const A* const inside = buffer.channel_row(frame, c, from);
      A* const outside = buffer.channel_row(frame, c, to);
      for (int64_t i = -1; i <= end; ++i) outside[i] = beyond(border.along_y, inside[i]);
    };
    if (rows.top == 0) copy(0, -1);
    if (rows.bottom == frame.height) copy(frame.height - 1, frame.height);
  }
}

// Reads neighbours out of three rows.
template <typename A>
class RowsAround {
 public:
  RowsAround(const HaloTile& frame, const TileBuffer<A>& buffer, int64_t c, int64_t y) {
    for (int64_t dy = 0; dy < 3; ++dy) rows_[dy] = buffer.channel_row(frame, c, y + dy - 1);
  }

  inline __attribute__((always_inline)) Around<Lanes<A>> at(int64_t i) const {
    Around<Lanes<A>> around;
    for (int dy = 0; dy < 3; ++dy) {
      for (int dx = 0; dx < 3; ++dx) around.at[dy][dx] = load_lanes<A>(rows_[dy] + i + dx - 1);
    }
    return around;
  }

 private:
  const A* rows_[3];
};

template <typename A>
inline __attribute__((always_inline)) void put_lanes(A* address, const Lanes<A>& lanes) {
  std::memcpy(address, &lanes, sizeof lanes);
}

// A stencil's rows, of a buffer whose pixels beyond the image are filled.
template <typename A>
void apply_stencil(const EditSequences<A>& sequences, const EditStep<A>& step, const HaloTile& frame, const Area& rows,
                   const TileBuffer<A>& before, const TileBuffer<A>& after) {
  alignas(kLaneBytes) A mask[kForwardPixels];
  const bool masked = step.mask != kWholeImage;
  const int64_t columns = frame.loaded.columns();
  with_stencil<A>(step.op, [&]<typename Operator>() {
    const Operator op(step.numbers);
    for (int64_t y = rows.top; y < rows.bottom; ++y) {
      if (masked) load_mask(sequences, step, frame.place(y), mask);
      for (int64_t c = 0; c < 3; ++c) {
        const RowsAround<A> around(frame, before, c, y);
        A* const row = after.channel_row(frame, c, y);
        if (masked) {
          for (int64_t i = 0; i < columns; i += kLanes<A>) {
            put_lanes(row + i, edit_masked(op, around.at(i), load_lanes(mask + i)));
          }
        } else {
          for (int64_t i = 0; i < columns; i += kLanes<A>) put_lanes(row + i, edit(op, around.at(i)));
        }
      }
    }
  });
}

template <typename A>
void fill_before(const EditStep<A>& step, const HaloTile& frame, const Area& rows, const TileBuffer<A>& before) {
  with_stencil<A>(step.op, [&]<typename Operator>() { fill_beyond(frame, rows, Operator::border(), before); });
}

// One step of either kind: of the rows that are right before it, and returns those that are right after it. A stencil
// needs another buffer for its result, and fills `before` beyond the image.
template <typename A>
Area run_step(const EditSequences<A>& sequences, const EditStep<A>& step, const HaloTile& frame, const Area& rows,
              const TileBuffer<A>& before, const TileBuffer<A>& after) {
  if (!is_stencil(step.op)) {
    for (int64_t y = rows.top; y < rows.bottom; ++y) {
      apply_step(sequences, step, frame.place(y), as_const(before.pixel_rows(frame, y, frame.loaded.left)),
                 after.pixel_rows(frame, y, frame.loaded.left));
    }
    return rows;
  }
  fill_before(step, frame, rows, before);
  const Area right = frame.after_stencil(rows);
  apply_stencil(sequences, step, frame, right, before, after);
  return right;
}

// All steps, of an image that is loaded into `image`; `other` is another buffer. Returns the one that has the result.
template <typename A>
TileBuffer<A> run_program(const EditSequences<A>& sequences, const Program<A>& program, const HaloTile& frame,
                          TileBuffer<A> image, TileBuffer<A> other) {
  Area rows = frame.loaded;
  for (int64_t k = 0; k < program.count; ++k) {
    const bool stencil = is_stencil(program.steps[k].op);
    rows = run_step(sequences, program.steps[k], frame, rows, image, stencil ? other : image);
    if (stencil) std::swap(image, other);
  }
  return image;
}

}  // namespace ldie::editing
