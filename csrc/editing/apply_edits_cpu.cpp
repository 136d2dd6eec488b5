// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "core/instantiate.h"
#include "core/integers.h"
#include "core/parallel_cpu.h"
#include "editing/edit_tiles_cpu.h"

namespace ldie::editing {
namespace {

// What a thread takes at a time. Sums over an image are made of those over its chunks, whoever took them.
constexpr int64_t kChunkPixels = 8192;

// Calls body(sample, chunk, begin, end) for all chunks of all samples, over threads.
template <typename Body>
void for_each_chunk(int64_t batch, int64_t pixels, const Body& body) {
  const int64_t chunks = ceil_div(pixels, kChunkPixels);
  parallel_for(batch * chunks, 1, [&](int64_t first, int64_t last) {
    for (int64_t at = first; at < last; ++at) {
      const int64_t chunk = at % chunks, begin = chunk * kChunkPixels;
      body(at / chunks, chunk, begin, std::min(begin + kChunkPixels, pixels));
    }
  });
}

// The prepared steps of one sample that do something, and which of its sequence each is.
template <typename A>
struct Program {
  EditStep<A> steps[kMostSteps];
  int64_t places[kMostSteps], count = 0;

  Program(const EditSequences<A>& sequences, int64_t sample) {
    for (int64_t k = 0; k < sequences.steps; ++k) {
      prepare_step(sequences, sample * sequences.steps + k, steps[count]);
      places[count] = k;
      count += is_pointwise(steps[count].op);
    }
  }
};

template <typename T>
void load_image_tile(const ApplyEdits<T>& args, int64_t offset, const TilePlace& place,
                     PixelTile<acc_t<T>, kForwardPixels>& tile) {
  if constexpr (std::is_same_v<T, uint8_t>) {
    if (args.layout == Layout::kChannelsLast) return load_tile_of_bytes(args.images + offset, place, tile);
  }
  load_tile(args.images + offset, place, tile);
}

template <typename T>
void store_image_tile(const ApplyEdits<T>& args, int64_t offset, const PixelTile<acc_t<T>, kForwardPixels>& tile,
                      const TilePlace& place) {
  if constexpr (std::is_same_v<T, uint8_t>) {
    if (args.layout == Layout::kChannelsLast) return store_tile_of_bytes(tile, place, args.out + offset);
  }
  store_tile(tile, place, args.out + offset);
}

// A sample's steps on a tile, the first of them on `before` and the last to `after`.
template <typename A>
void run_steps(const EditSequences<A>& sequences, const Program<A>& program, const TilePlace& place,
               PixelRows<const A> before, PixelTile<A, kForwardPixels>& tile, const PixelRows<A>& after) {
  for (int64_t k = 0; k < program.count; ++k) {
    apply_step(sequences, program.steps[k], place, before, k + 1 == program.count ? after : tile.rows());
    const bool inside = leaves_inside(program.steps[k], before.inside);
    before = std::as_const(tile).rows();
    before.inside = inside;
  }
}

template <typename A>
double lane_sum(const Lanes<A>& lanes) {
  double sum = 0;
  for (int64_t lane = 0; lane < kLanes<A>; ++lane) sum += double(lanes[lane]);
  return sum;
}

// Leaves one chunk's gradient of the images and its sums [steps, kMostSums].
template <typename T>
void chunk_backward(const ApplyEditsBackward<T>& args, int64_t sample, int64_t begin, int64_t end, double* sums) {
  using A = acc_t<T>;
  const Program<A> program(args.sequences, sample);
  const int64_t offset = sample * 3 * args.pixels;
  PixelTile<A, kBackwardPixels> images[kMostSteps], grad;  // images: what each step begins with
  Lanes<A> lanes[kMostSteps][kMostSums];
  std::memset(lanes, 0, size_t(program.count) * sizeof lanes[0]);
  for (; begin < end; begin += kBackwardPixels) {
    const TilePlace place{args.pixels, begin, std::min(kBackwardPixels, end - begin)};
    load_tile(args.images + offset, place, images[0]);
    load_tile(args.grad + offset, place, grad);
    PixelRows<const A> before[kMostSteps] = {std::as_const(images[0]).rows()};
    before[0].inside = all_inside(before[0], place.count);
    for (int64_t k = 0; k + 1 < program.count; ++k) {
      apply_step(args.sequences, program.steps[k], place, before[k], images[k + 1].rows());
      before[k + 1] = std::as_const(images[k + 1]).rows();
      before[k + 1].inside = leaves_inside(program.steps[k], before[k].inside);
    }
    for (int64_t k = program.count - 1; k >= 0; --k) {
      apply_step_backward(args.sequences, program.steps[k], place, before[k], grad.rows(), lanes[k]);
    }
    store_tile(grad, place, args.grad_images + offset);
  }
  std::fill(sums, sums + args.sequences.steps * kMostSums, 0.0);
  for (int64_t k = 0; k < program.count; ++k) {
    double* const sums_of_step = sums + program.places[k] * kMostSums;
    for (int i = 0; i < sums_of<A>(program.steps[k].op); ++i) sums_of_step[i] = lane_sum<A>(lanes[k][i]);
  }
}

}  // namespace

// Reads the images once and writes them once, 24 bytes a pixel in float32, and computes 10 to 40 flops a step and
// pixel: with five steps and vectors the two are of a size, and a copy is the floor.
template <typename T>
void apply_edits(const ApplyEdits<T>& args, Context&) {
  using A = acc_t<T>;
  for_each_chunk(args.batch, args.pixels, [&](int64_t sample, int64_t, int64_t begin, int64_t end) {
    const Program<A> program(args.sequences, sample);
    const int64_t offset = sample * 3 * args.pixels;
    PixelTile<A, kForwardPixels> tile;
    for (; begin < end; begin += kForwardPixels) {
      const TilePlace place{args.pixels, begin, std::min(kForwardPixels, end - begin)};
      if constexpr (std::is_same_v<T, A>) {  // the first step reads the image itself, and the last one writes it
        if (program.count > 0 && place.count % kLanes<A> == 0) {
          run_steps(args.sequences, program, place, rows_at(args.images + offset, place), tile,
                    rows_at(args.out + offset, place));
          continue;
        }
      }
      load_image_tile(args, offset, place, tile);
      PixelRows<const A> loaded = std::as_const(tile).rows();
      loaded.inside = std::is_same_v<T, uint8_t>;
      run_steps(args.sequences, program, place, loaded, tile, tile.rows());
      store_image_tile(args, offset, tile, place);
    }
  });
}

// Reads images and gradients once and writes gradients once, 36 bytes a pixel in float32. Each tile's steps are done
// again; what each began with stays in the cache for the way back, 30 to 120 flops a step and pixel.
template <typename T>
void apply_edits_backward(const ApplyEditsBackward<T>& args, Context& context) {
  const int64_t steps = args.sequences.steps, chunks = ceil_div(args.pixels, kChunkPixels);
  double* const parts = context.scratch_array<double>(args.batch * chunks * steps * kMostSums);
  for_each_chunk(args.batch, args.pixels, [&](int64_t sample, int64_t chunk, int64_t begin, int64_t end) {
    chunk_backward(args, sample, begin, end, parts + (sample * chunks + chunk) * steps * kMostSums);
  });
  parallel_for(args.batch * steps, 64, [&](int64_t first, int64_t last) {
    for (int64_t at = first; at < last; ++at) {
      const double* part = parts + (at / steps * chunks * steps + at % steps) * kMostSums;
      double sums[kMostSums] = {};
      for (int64_t chunk = 0; chunk < chunks; ++chunk, part += steps * kMostSums) {
        for (int i = 0; i < kMostSums; ++i) sums[i] += part[i];
      }
      parameter_gradient(args.sequences, at, sums, args.grad_params + at * kParameters);
    }
  });
}

LDIE_INSTANTIATE(apply_edits, ApplyEdits);
LDIE_INSTANTIATE_FOR(apply_edits, ApplyEdits, uint8_t);
LDIE_INSTANTIATE(apply_edits_backward, ApplyEditsBackward);

}  // namespace ldie::editing
