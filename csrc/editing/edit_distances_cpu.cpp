// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/instantiate.h"
#include "core/integers.h"
#include "core/parallel_cpu.h"
#include "editing/distance_tiles_cpu.h"
#include "editing/edit_halo_samples_cpu.h"

namespace ldie::editing {
namespace {

// How many candidates pass over a chunk of a pair, once it is in the cache.
constexpr int64_t kBlockCandidates = 64;

// Rows of sums that a backward keeps at a time, one for each part of a pair and candidate.
constexpr int64_t kMostRows = 16384;

// Calls body(pair, chunk, place, block) for all chunks of kPixels of all pairs, with each block of candidates, over
// threads.
template <int64_t kPixels, typename T, typename Body>
void for_each_chunk_of(const EditPairs<T>& pairs, int64_t blocks, const Body& body) {
  const int64_t chunks = ceil_div(pairs.pixels(), kPixels);
  parallel_for(pairs.batch * chunks * blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t at = first; at < last; ++at) {
      const int64_t chunk = at / blocks % chunks, begin = chunk * kPixels;
      const TilePlace place{pairs.pixels(), begin, std::min(kPixels, pairs.pixels() - begin)};
      body(at / blocks / chunks, chunk, place, at % blocks);
    }
  });
}

// How many parts of a pair have sums of their own: chunks, or tiles with a halo of candidates with stencils.
struct Parts {
  int64_t chunks, tiles;

  int64_t most() const { return std::max(chunks, tiles); }

  template <typename A>
  int64_t of(const EditSequences<A>& sequences, int64_t row) const {
    return halo_of(sequences, row) > 0 ? tiles : chunks;
  }
};

// The sums of chunks of candidates without stencils: parts [batch, parts, candidates].
template <typename T>
void add_chunks(const EditPairs<T>& pairs, const Parts& counts, double* parts) {
  const int64_t blocks = ceil_div(pairs.candidates, kBlockCandidates);
  for_each_chunk_of<kPairPixels>(
      pairs, blocks, [&](int64_t pair, int64_t chunk, const TilePlace& place, int64_t block) {
        const PairTiles<T, kPairPixels> tiles(pairs, pair, place);
        const int64_t first = block * kBlockCandidates, last = std::min(first + kBlockCandidates, pairs.candidates);
        for (int64_t candidate = first; candidate < last; ++candidate) {
          const int64_t row = pair * pairs.candidates + candidate;
          if (halo_of(pairs.sequences, row) > 0) continue;
          const Program<acc_t<T>> program(pairs.sequences, row);
          parts[(pair * counts.most() + chunk) * pairs.candidates + candidate] =
              chunk_distance(pairs, program, tiles, place);
        }
      });
}

// Those of tiles of candidates with stencils, all candidates of a tile in turn.
template <typename T>
void add_tiles(const EditPairs<T>& pairs, const StencilSamples& stencils, const HaloTiles& widest, const Parts& counts,
               Context& context, double* parts) {
  using A = acc_t<T>;
  parallel_with_memory<A>(stencils.count * counts.tiles, TileBuffers<A>::numbers(widest, 2), context,
                          [&](int64_t task, A* memory) {
                            const int64_t row = stencils.samples[task % stencils.count], tile = task / stencils.count;
                            const int64_t pair = row / pairs.candidates, candidate = row % pairs.candidates;
                            parts[(pair * counts.most() + tile) * pairs.candidates + candidate] =
                                tile_distance(pairs, row, widest, tile, memory);
                          });
}

// Candidates first .. last - 1 of all pairs, whose sums are [batch, parts, candidates, steps, kMostSums].
struct Turn {
  int64_t first, last;
  Parts counts;
  double* sums;

  int64_t count() const { return last - first; }
  double* sums_at(int64_t pair, int64_t part, int64_t candidate, int64_t steps) const {
    return sums + ((pair * counts.most() + part) * count() + candidate - first) * steps * kMostSums;
  }
};

// Adds the gradients of a turn's candidates with stencils, for each tile in their order.
template <typename T>
void tiles_backward(const EditDistancesBackward<T>& args, const Turn& turn, const HaloTiles& widest, Context& context) {
  using A = acc_t<T>;
  const EditPairs<T>& pairs = args.pairs;
  const int64_t steps = pairs.sequences.steps, tiles = turn.counts.tiles;
  parallel_with_memory<A>(
      pairs.batch * tiles, TileBuffers<A>::numbers(widest, steps + 4), context, [&](int64_t task, A* memory) {
        const int64_t pair = task / tiles, tile = task % tiles;
        for (int64_t candidate = turn.first; candidate < turn.last; ++candidate) {
          const int64_t row = pair * pairs.candidates + candidate;
          if (halo_of(pairs.sequences, row) == 0) continue;
          halo_tile_backward(args, row, widest, tile, memory, turn.sums_at(pair, tile, candidate, steps));
        }
      });
}

// The rows of the parameters' gradients of a turn's candidates.
template <typename T>
void write_parameter_gradients(const EditDistancesBackward<T>& args, const Turn& turn) {
  const EditPairs<T>& pairs = args.pairs;
  const int64_t steps = pairs.sequences.steps, rows = turn.count() * steps;
  parallel_for(pairs.batch * rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t pair = i / rows, candidate = turn.first + i % rows / steps, k = i % steps;
      const int64_t row = pair * pairs.candidates + candidate;
      const double* const part = turn.sums_at(pair, 0, candidate, steps) + k * kMostSums;
      write_parameter_gradient(pairs.sequences, row * steps + k, part, turn.counts.of(pairs.sequences, row),
                               rows * kMostSums, args.grad_params);
    }
  });
}

}  // namespace

// Reads images and targets once for each block of candidates, 24 bytes a pixel in float32, and writes nothing: at 10 to
// 40 flops a step, a pixel and a candidate, arithmetic is the floor from the second candidate on. A chunk's images and
// targets stay in the second-level cache while a block's candidates pass over them, and what they make of a part of it
// in the first. With stencils a tile of the image is read again for each candidate, from the second-level cache.
template <typename T>
void edit_distances(const EditDistances<T>& args, Context& context) {
  const EditPairs<T>& pairs = args.pairs;
  const StencilSamples stencils(pairs.sequences, pairs.rows(), context);
  const HaloTiles widest(pairs.height, pairs.width, kEditedTile, stencils.halo);
  const Parts counts = {ceil_div(pairs.pixels(), kPairPixels), stencils.count > 0 ? widest.count() : 0};
  double* const parts = context.scratch_array<double>(pairs.batch * counts.most() * pairs.candidates);
  add_chunks(pairs, counts, parts);
  if (counts.tiles > 0) add_tiles(pairs, stencils, widest, counts, context, parts);
  parallel_for(pairs.rows(), 4096, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const int64_t pair = row / pairs.candidates, candidate = row % pairs.candidates;
      double sum = 0;
      for (int64_t part = 0; part < counts.of(pairs.sequences, row); ++part) {
        sum += parts[(pair * counts.most() + part) * pairs.candidates + candidate];
      }
      args.out[row] = acc_t<T>(sum * distance_share(pairs.pixels()));
    }
  });
}

// Reads images and targets, and reads and writes their gradients, once for each block of candidates, 72 bytes a pixel
// in float32, and does the steps forward and back, 40 to 160 flops a step, a pixel and a candidate. Sums are kept for
// one block of candidates at a time, so that memory does not grow with their number.
template <typename T>
void edit_distances_backward(const EditDistancesBackward<T>& args, Context& context) {
  using A = acc_t<T>;
  const EditPairs<T>& pairs = args.pairs;
  const int64_t steps = pairs.sequences.steps;
  const StencilSamples stencils(pairs.sequences, pairs.rows(), context);
  const HaloTiles widest = gradient_tiles<A>(pairs.height, pairs.width, stencils.halo);
  const Parts counts = {ceil_div(pairs.pixels(), kGradientPixels), stencils.count > 0 ? widest.count() : 0};
  const int64_t fitting = kMostRows / std::max(pairs.batch * counts.most(), int64_t(1));
  const int64_t most =
      std::clamp(fitting, int64_t(1), std::min(kBlockCandidates, std::max(pairs.candidates, int64_t(1))));
  double* const sums = context.scratch_array<double>(pairs.batch * counts.most() * most * steps * kMostSums);
  int64_t first = 0;
  do {  // also without candidates: gradients of images and targets are written
    const Turn turn = {first, std::min(first + most, pairs.candidates), counts, sums};
    for_each_chunk_of<kGradientPixels>(pairs, 1, [&](int64_t pair, int64_t chunk, const TilePlace& place, int64_t) {
      chunk_backward(args, pair, place, turn.first, turn.last, turn.sums_at(pair, chunk, turn.first, steps));
    });
    if (counts.tiles > 0) tiles_backward(args, turn, widest, context);
    write_parameter_gradients(args, turn);
    first = turn.last;
  } while (first < pairs.candidates);
}

LDIE_INSTANTIATE(edit_distances, EditDistances);
LDIE_INSTANTIATE_FOR(edit_distances, EditDistances, uint8_t);
LDIE_INSTANTIATE(edit_distances_backward, EditDistancesBackward);
LDIE_INSTANTIATE_FOR(edit_distances_backward, EditDistancesBackward, uint8_t);

}  // namespace ldie::editing
