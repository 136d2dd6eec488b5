// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "core/instantiate.h"
#include "core/integers.h"
#include "core/parallel_cpu.h"
#include "editing/edit_distances.h"
#include "editing/edit_program_cpu.h"
#include "editing/edit_tiles_cpu.h"

namespace ldie::editing {
namespace {

// Pixels of a pair that stay in the second-level cache while candidates pass over them, forward and backward, and how
// many candidates do: what the pair's own reading and converting is shared by.
constexpr int64_t kPairPixels = 4096, kGradientPixels = 1024, kBlockCandidates = 64;

// Rows of sums that a backward keeps at a time, one for each chunk and candidate.
constexpr int64_t kMostRows = 16384;

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
    load_tile(pairs.images + pair * 3 * pairs.pixels, place, images);
    load_tile(pairs.targets + pair * 3 * pairs.pixels, place, targets);
  }
};

// Calls body(pair, chunk, place, block) for all chunks of kPixels of all pairs, with each block of candidates, over
// threads.
template <int64_t kPixels, typename T, typename Body>
void for_each_chunk_of(const EditPairs<T>& pairs, int64_t blocks, const Body& body) {
  const int64_t chunks = ceil_div(pairs.pixels, kPixels);
  parallel_for(pairs.batch * chunks * blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t at = first; at < last; ++at) {
      const int64_t chunk = at / blocks % chunks, begin = chunk * kPixels;
      const TilePlace place{pairs.pixels, begin, std::min(kPixels, pairs.pixels - begin)};
      body(at / blocks / chunks, chunk, place, at % blocks);
    }
  });
}

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
      apply_step(pairs.sequences, program.steps[k], place, edited, work.rows());
      edited = std::as_const(work).rows();
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
  const auto before = [&](int64_t k) {
    return k == 0 ? rows_from(tiles.images, begin) : std::as_const(work.after[k - 1]).rows();
  };
  for (int64_t k = 0; k < program.count; ++k) {
    apply_step(pairs.sequences, program.steps[k], place, before(k), work.after[k].rows());
  }
  const PixelRows<const A> edited = before(program.count), targets = rows_from(tiles.targets, begin);
  const PixelRows<A> grad = work.grad.rows();
  for (int64_t i = 0; i < place.count; i += kLanes<A>) {
    grad.put(i, all_lanes(scale) * distance_slope(pairs.metric, edited.at(i) - targets.at(i)));
  }
  for (A* const channel : grad.channels) {  // what the last register has beyond the pixels
    std::fill(channel + place.count, channel + round_up(place.count, kLanes<A>), A(0));
  }
  const PixelRows<A> of_targets = rows_from(gradients.targets, begin), of_images = rows_from(gradients.images, begin);
  for (int64_t i = 0; i < place.count; i += kLanes<A>) of_targets.put(i, of_targets.at(i) - grad.at(i));
  for (int64_t k = program.count - 1; k >= 0; --k) {
    apply_step_backward(pairs.sequences, program.steps[k], place, before(k), grad, work.lanes[k]);
  }
  for (int64_t i = 0; i < place.count; i += kLanes<A>) of_images.put(i, of_images.at(i) + grad.at(i));
}

// Adds these candidates' gradients to those of a chunk, and leaves their sums there [candidates, steps, kMostSums].
template <typename T>
void chunk_backward(const EditDistancesBackward<T>& args, int64_t pair, const TilePlace& chunk, int64_t first,
                    int64_t last, double* sums) {
  using A = acc_t<T>;
  const EditPairs<T>& pairs = args.pairs;
  const PairTiles<T, kGradientPixels> tiles(pairs, pair, chunk);
  const int64_t offset = pair * 3 * pairs.pixels, steps = pairs.sequences.steps;
  PairGradients<A> gradients{};
  if (first > 0 && args.grad_images != nullptr) load_tile(args.grad_images + offset, chunk, gradients.images);
  if (first > 0 && args.grad_targets != nullptr) load_tile(args.grad_targets + offset, chunk, gradients.targets);
  BackwardWork<A> work;
  for (int64_t candidate = first; candidate < last; ++candidate, sums += steps * kMostSums) {
    const int64_t row = pair * pairs.candidates + candidate;
    const Program<A> program(pairs.sequences, row);
    const A scale = A(double(args.grad[row]) * distance_share(pairs.pixels));
    std::memset(work.lanes, 0, size_t(program.count) * sizeof work.lanes[0]);
    for (int64_t begin = 0; begin < chunk.count; begin += kBackwardPixels) {
      const TilePlace place{pairs.pixels, chunk.begin + begin, std::min(kBackwardPixels, chunk.count - begin)};
      tile_backward(pairs, program, scale, tiles, place, begin, work, gradients);
    }
    write_sums(program, work.lanes, steps, sums);
  }
  if (args.grad_images != nullptr) store_tile(gradients.images, chunk, args.grad_images + offset);
  if (args.grad_targets != nullptr) store_tile(gradients.targets, chunk, args.grad_targets + offset);
}

// The rows of the parameters' gradients of these candidates, of the sums [batch, chunks, candidates, steps, kMostSums].
template <typename T>
void write_parameter_gradients(const EditDistancesBackward<T>& args, int64_t first, int64_t last, const double* sums) {
  const EditPairs<T>& pairs = args.pairs;
  const int64_t chunks = ceil_div(pairs.pixels, kGradientPixels), rows = (last - first) * pairs.sequences.steps;
  parallel_for(pairs.batch * rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t pair = i / rows;
      const double* const part = sums + (pair * chunks * rows + i % rows) * kMostSums;
      const int64_t at = (pair * pairs.candidates + first) * pairs.sequences.steps + i % rows;
      write_parameter_gradient(pairs.sequences, at, part, chunks, rows * kMostSums, args.grad_params);
    }
  });
}

}  // namespace

// Reads images and targets once for each block of candidates, 24 bytes a pixel in float32, and writes nothing: at 10 to
// 40 flops a step, a pixel and a candidate, arithmetic is the floor from the second candidate on. A tile's images and
// targets stay in the second-level cache while a block's candidates pass over them, and what they make of a tile in the
// first.
template <typename T>
void edit_distances(const EditDistances<T>& args, Context& context) {
  using A = acc_t<T>;
  const EditPairs<T>& pairs = args.pairs;
  const int64_t chunks = ceil_div(pairs.pixels, kPairPixels), blocks = ceil_div(pairs.candidates, kBlockCandidates);
  double* const parts = context.scratch_array<double>(pairs.batch * chunks * pairs.candidates);
  for_each_chunk_of<kPairPixels>(
      pairs, blocks, [&](int64_t pair, int64_t chunk, const TilePlace& place, int64_t block) {
        const PairTiles<T, kPairPixels> tiles(pairs, pair, place);
        const int64_t first = block * kBlockCandidates, last = std::min(first + kBlockCandidates, pairs.candidates);
        for (int64_t candidate = first; candidate < last; ++candidate) {
          const Program<A> program(pairs.sequences, pair * pairs.candidates + candidate);
          parts[(pair * chunks + chunk) * pairs.candidates + candidate] = chunk_distance(pairs, program, tiles, place);
        }
      });
  parallel_for(pairs.rows(), 4096, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const double* const part = parts + row / pairs.candidates * chunks * pairs.candidates + row % pairs.candidates;
      double sum = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += part[chunk * pairs.candidates];
      args.out[row] = A(sum * distance_share(pairs.pixels));
    }
  });
}

// Reads images and targets, and reads and writes their gradients, once for each block of candidates, 72 bytes a pixel
// in float32, and does the steps forward and back, 40 to 160 flops a step, a pixel and a candidate. Sums are kept for
// one block of candidates at a time, so that memory does not grow with their number.
template <typename T>
void edit_distances_backward(const EditDistancesBackward<T>& args, Context& context) {
  const EditPairs<T>& pairs = args.pairs;
  const int64_t chunks = ceil_div(pairs.pixels, kGradientPixels), part = pairs.sequences.steps * kMostSums;
  const int64_t fitting = kMostRows / std::max(pairs.batch * chunks, int64_t(1));
  const int64_t most =
      std::clamp(fitting, int64_t(1), std::min(kBlockCandidates, std::max(pairs.candidates, int64_t(1))));
  double* const sums = context.scratch_array<double>(pairs.batch * chunks * most * part);
  int64_t first = 0;
  do {  // also without candidates: gradients of images and targets are written
    const int64_t last = std::min(first + most, pairs.candidates), count = last - first;
    for_each_chunk_of<kGradientPixels>(pairs, 1, [&](int64_t pair, int64_t chunk, const TilePlace& place, int64_t) {
      chunk_backward(args, pair, place, first, last, sums + (pair * chunks + chunk) * count * part);
    });
    write_parameter_gradients(args, first, last, sums);
    first = last;
  } while (first < pairs.candidates);
}

LDIE_INSTANTIATE(edit_distances, EditDistances);
LDIE_INSTANTIATE_FOR(edit_distances, EditDistances, uint8_t);
LDIE_INSTANTIATE(edit_distances_backward, EditDistancesBackward);
LDIE_INSTANTIATE_FOR(edit_distances_backward, EditDistancesBackward, uint8_t);

}  // namespace ldie::editing
