// SPDX-License-Identifier: Apache-2.0
// CPU: distances of candidates with stencils and their gradients, over tiles of a pair with a halo.
#pragma once

#include <utility>

#include "editing/distance_chunks_cpu.h"
#include "editing/edit_halo_gradient_cpu.h"

namespace ldie::editing {

template <typename T>
void load_frame(const EditPairs<T>& pairs, int64_t row, const HaloTile& frame, const TileBuffer<acc_t<T>>& buffer) {
  const T* const image = pairs.images + row / pairs.candidates * 3 * pairs.pixels();
  for (int64_t y = frame.loaded.top; y < frame.loaded.bottom; ++y) {
    load_tile(image, frame.place(y), buffer.pixel_rows(frame, y, frame.loaded.left));
  }
}

// One candidate's sum over a tile; memory for two buffers of the widest tiles.
template <typename T>
double tile_distance(const EditPairs<T>& pairs, int64_t row, const HaloTiles& widest, int64_t tile, acc_t<T>* memory) {
  using A = acc_t<T>;
  const Program<A> program(pairs.sequences, row);
  const TileBuffers<A> buffers(widest, memory);
  const int64_t halo = halo_of(pairs.sequences, row);
  const HaloTile frame = HaloTiles(pairs.height, pairs.width, kEditedTile, halo).at(tile);
  load_frame(pairs, row, frame, buffers[0]);
  const TileBuffer<A> edited = run_program(pairs.sequences, program, frame, buffers[0], buffers[1]);
  const T* const target = pairs.targets + row / pairs.candidates * 3 * pairs.pixels();
  PixelTile<A, kEditedTile.columns> targets;
  double sum = 0;
  for (int64_t y = frame.tile.top; y < frame.tile.bottom; ++y) {
    load_tile(target, frame.part(y, frame.tile.left, frame.tile.right), targets.rows());
    sum += sum_of_distances(pairs.metric, as_const(edited.pixel_rows(frame, y, frame.tile.left)),
                            std::as_const(targets).rows(), frame.tile.columns());
  }
  return sum;
}

// Adds a multiple of a tile's gradient to that of the whole image, where it is wanted.
template <typename A>
void add_tile(const HaloTile& frame, const TileBuffer<A>& grad, A factor, A* image) {
  if (image == nullptr) return;
  for (int64_t y = frame.tile.top; y < frame.tile.bottom; ++y) {
    const PixelRows<A> sums = rows_at(image, frame.part(y, frame.tile.left, frame.tile.right));
    const PixelRows<A> values = grad.pixel_rows(frame, y, frame.tile.left);
    for (int c = 0; c < 3; ++c) {
      for (int64_t i = 0; i < frame.tile.columns(); ++i) sums.channels[c][i] += factor * values.channels[c][i];
    }
  }
}

// The gradient of the distance to the edited image, of the rows that other tiles' pixels do not change; on the left and
// on the right, beyond them, it is some number.
template <typename T>
void distance_gradient(const EditDistancesBackward<T>& args, int64_t row, const HaloTile& frame, const Area& rows,
                       const TileBuffer<acc_t<T>>& edited, const TileBuffer<acc_t<T>>& grad) {
  using A = acc_t<T>;
  const EditPairs<T>& pairs = args.pairs;
  const T* const target = pairs.targets + row / pairs.candidates * 3 * pairs.pixels();
  const A scale = gradient_scale(args, row);
  PixelTile<A, kBackwardPixels> targets;
  for (int64_t y = rows.top; y < rows.bottom; ++y) {
    load_tile(target, frame.place(y), targets.rows());
    write_slopes(pairs.metric, scale, as_const(edited.pixel_rows(frame, y, frame.loaded.left)),
                 std::as_const(targets).rows(), frame.loaded.columns(), grad.pixel_rows(frame, y, frame.loaded.left));
  }
}

// Adds one candidate's gradients of a tile to those of the pair, and leaves its sums [steps, kMostSums]; memory for as
// many buffers of the widest tiles as there are steps, and four.
template <typename T>
void halo_tile_backward(const EditDistancesBackward<T>& args, int64_t row, const HaloTiles& widest, int64_t tile,
                        acc_t<T>* memory, double* sums) {
  using A = acc_t<T>;
  const EditPairs<T>& pairs = args.pairs;
  const Program<A> program(pairs.sequences, row);
  const TileBuffers<A> images(widest, memory);  // what each step begins with, and what the last one leaves
  const TileBuffer<A> grad = images[program.count + 1],
                      fields[] = {images[program.count + 2], images[program.count + 3]};
  const int64_t halo = halo_of(pairs.sequences, row), offset = row / pairs.candidates * 3 * pairs.pixels();
  const HaloTile frame = gradient_tiles<A>(pairs.height, pairs.width, halo).at(tile);
  load_frame(pairs, row, frame, images[0]);
  Area rows = frame.loaded;
  for (int64_t k = 0; k < program.count; ++k) {
    rows = run_step(pairs.sequences, program.steps[k], frame, rows, images[k], images[k + 1]);
  }
  Area known = HaloTiles(pairs.height, pairs.width, kGradientTile, halo).at(tile).loaded;
  distance_gradient(args, row, frame, known, images[program.count], grad);
  add_tile(frame, grad, A(-1), args.grad_targets == nullptr ? nullptr : args.grad_targets + offset);
  Lanes<A> lanes[kMostSteps][kMostSums], of_halo[kMostSums] = {};
  std::memset(lanes, 0, size_t(program.count) * sizeof lanes[0]);
  for (int64_t k = program.count - 1; k >= 0; --k) {
    known = run_step_backward(pairs.sequences, program.steps[k], frame, known, images[k], grad, fields,
                              {lanes[k], of_halo});
  }
  add_tile(frame, grad, A(1), args.grad_images == nullptr ? nullptr : args.grad_images + offset);
  store_sums(pairs.sequences, program, lanes, sums);
}

}  // namespace ldie::editing
