// SPDX-License-Identifier: Apache-2.0
// CPU: distances of candidates without stencils and their gradients, over chunks of a pair's pixels.
#pragma once

#include <algorithm>
#include <utility>

#include "editing/edit_distances.h"
#include "editing/edit_sums_cpu.h"

namespace ldie::editing {

// Pixels of a pair that stay in the second-level cache while candidates pass over them, forward and backward.
constexpr int64_t kPairPixels = 4096, kGradientPixels = 1024;

// A tile's pixels from this one on.
template <typename A, int64_t kPixels>
PixelRows<const A> rows_from(const PixelTile<A, kPixels>& tile, int64_t begin) {
  return {{tile.channels[0] + begin, tile.channels[1] + begin, tile.channels[2] + begin}};
}
template <typename A, int64_t kPixels>
PixelRows<A> rows_from(PixelTile<A, kPixels>& tile, int64_t begin) {
  return {{tile.channels[0] + begin, tile.channels[1] + begin, tile.channels[2] + begin}};
}

// The images and the targets of a chunk.
template <typename T, int64_t kPixels>
struct PairTiles {
  PixelTile<acc_t<T>, kPixels> images, targets;

  PairTiles(const EditPairs<T>& pairs, int64_t pair, const TilePlace& place) {
    load_tile(pairs.images + pair * 3 * pairs.pixels(), place, images.rows());
    load_tile(pairs.targets + pair * 3 * pairs.pixels(), place, targets.rows());
  }
};

template <typename A>
Pixel<Lanes<A>> first_lanes(Pixel<Lanes<A>> pixel, int64_t count) {
  for (int64_t lane = count; lane < kLanes<A>; ++lane) pixel.r[lane] = pixel.g[lane] = pixel.b[lane] = 0;
  return pixel;
}

template <typename A>
double sum_of_distances(Metric metric, const PixelRows<const A>& edited, const PixelRows<const A>& targets,
                        int64_t count) {
  Pixel<Lanes<A>> sums{};
  int64_t i = 0;
  for (; i + kLanes<A> <= count; i += kLanes<A>) sums = sums + distance(metric, edited.at(i) - targets.at(i));
  if (i < count) sums = sums + first_lanes<A>(distance(metric, edited.at(i) - targets.at(i)), count - i);
  return lane_sum<A>(sums.r) + lane_sum<A>(sums.g) + lane_sum<A>(sums.b);
}

// The gradient of a distance that counts so much, 0 in what the last register has beyond the pixels.
template <typename A>
void write_slopes(Metric metric, A scale, const PixelRows<const A>& edited, const PixelRows<const A>& targets,
                  int64_t count, const PixelRows<A>& grad) {
  for (int64_t i = 0; i < count; i += kLanes<A>) {
    grad.put(i, all_lanes(scale) * distance_slope(metric, edited.at(i) - targets.at(i)));
  }
  for (A* const channel : grad.channels) std::fill(channel + count, channel + round_up(count, kLanes<A>), A(0));
}

// One candidate's sum over a chunk.
template <typename T>
double chunk_distance(const EditPairs<T>& pairs, const Program<acc_t<T>>& program,
                      const PairTiles<T, kPairPixels>& tiles, const TilePlace& chunk) {
  using A = acc_t<T>;
  PixelTile<A, kForwardPixels> work;
  double sum = 0;
  for (int64_t begin = 0; begin < chunk.count; begin += kForwardPixels) {
    const TilePlace place{chunk.pixels, chunk.begin + begin, std::min(kForwardPixels, chunk.count - begin)};
    PixelRows<const A> edited = rows_from(tiles.images, begin);
    for (int64_t k = 0; k < program.count; ++k) {
      edited = apply_step(pairs.sequences, program.steps[k], place, edited, work.rows());
    }
    sum += sum_of_distances(pairs.metric, edited, rows_from(tiles.targets, begin), place.count);
  }
  return sum;
}

// What a candidate's way back over a tile keeps, and its sums.
template <typename A>
struct BackwardWork {
  PixelTile<A, kBackwardPixels> after[kMostSteps], grad;
  Lanes<A> lanes[kMostSteps][kMostSums];
};

// The gradients of a chunk of a pair, added up over candidates.
template <typename A>
struct PairGradients {
  PixelTile<A, kGradientPixels> images, targets;
};

// A tile that begins here in its chunk.
template <typename T>
void tile_backward(const EditPairs<T>& pairs, const Program<acc_t<T>>& program, acc_t<T> scale,
                   const PairTiles<T, kGradientPixels>& tiles, const TilePlace& place, int64_t begin,
                   BackwardWork<acc_t<T>>& work, PairGradients<acc_t<T>>& gradients) {
  using A = acc_t<T>;
  PixelRows<const A> before[kMostSteps + 1] = {rows_from(tiles.images, begin)};
  before[0].inside = all_inside(before[0], place.count);
  for (int64_t k = 0; k < program.count; ++k) {
    before[k + 1] = apply_step(pairs.sequences, program.steps[k], place, before[k], work.after[k].rows());
  }
  const PixelRows<const A> edited = before[program.count], targets = rows_from(tiles.targets, begin);
  const PixelRows<A> grad = work.grad.rows();
  write_slopes(pairs.metric, scale, edited, targets, place.count, grad);
  const PixelRows<A> of_targets = rows_from(gradients.targets, begin), of_images = rows_from(gradients.images, begin);
  for (int64_t i = 0; i < place.count; i += kLanes<A>) of_targets.put(i, of_targets.at(i) - grad.at(i));
  for (int64_t k = program.count - 1; k >= 0; --k) {
    apply_step_backward(pairs.sequences, program.steps[k], place, before[k], grad, work.lanes[k]);
  }
  for (int64_t i = 0; i < place.count; i += kLanes<A>) of_images.put(i, of_images.at(i) + grad.at(i));
}

// Adds the gradients of these candidates, of those without stencils, to those of a chunk, and leaves their sums there
// [candidates, steps, kMostSums].
template <typename T>
void chunk_backward(const EditDistancesBackward<T>& args, int64_t pair, const TilePlace& chunk, int64_t first,
                    int64_t last, double* sums) {
  using A = acc_t<T>;
  const EditPairs<T>& pairs = args.pairs;
  const PairTiles<T, kGradientPixels> tiles(pairs, pair, chunk);
  const int64_t offset = pair * 3 * pairs.pixels(), steps = pairs.sequences.steps;
  PairGradients<A> gradients{};
  if (first > 0 && args.grad_images != nullptr) load_tile(args.grad_images + offset, chunk, gradients.images.rows());
  if (first > 0 && args.grad_targets != nullptr) load_tile(args.grad_targets + offset, chunk, gradients.targets.rows());
  BackwardWork<A> work;
  for (int64_t candidate = first; candidate < last; ++candidate, sums += steps * kMostSums) {
    const int64_t row = pair * pairs.candidates + candidate;
    if (halo_of(pairs.sequences, row) > 0) continue;
    const Program<A> program(pairs.sequences, row);
    const A scale = gradient_scale(args, row);
    std::memset(work.lanes, 0, size_t(program.count) * sizeof work.lanes[0]);
    for (int64_t begin = 0; begin < chunk.count; begin += kBackwardPixels) {
      const TilePlace place{pairs.pixels(), chunk.begin + begin, std::min(kBackwardPixels, chunk.count - begin)};
      tile_backward(pairs, program, scale, tiles, place, begin, work, gradients);
    }
    store_sums(pairs.sequences, program, work.lanes, sums);
  }
  if (args.grad_images != nullptr) store_tile(std::as_const(gradients.images).rows(), chunk, args.grad_images + offset);
  if (args.grad_targets != nullptr)
    store_tile(std::as_const(gradients.targets).rows(), chunk, args.grad_targets + offset);
}

}  // namespace ldie::editing
