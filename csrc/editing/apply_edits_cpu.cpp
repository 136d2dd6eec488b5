// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "core/instantiate.h"
#include "core/integers.h"
#include "core/parallel_cpu.h"
#include "editing/apply_edits.h"
#include "editing/edit_halo_gradient_cpu.h"
#include "editing/edit_halo_samples_cpu.h"
#include "editing/edit_sums_cpu.h"

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

template <typename T>
void load_image_tile(const ApplyEdits<T>& args, int64_t offset, const TilePlace& place,
                     const PixelRows<acc_t<T>>& tile) {
  if constexpr (std::is_same_v<T, uint8_t>) {
    if (args.layout == Layout::kChannelsLast) return load_tile_of_bytes(args.images + offset, place, tile);
  }
  load_tile(args.images + offset, place, tile);
}

template <typename T>
void store_image_tile(const ApplyEdits<T>& args, int64_t offset, const PixelRows<const acc_t<T>>& tile,
                      const TilePlace& place) {
  if constexpr (std::is_same_v<T, uint8_t>) {
    if (args.layout == Layout::kChannelsLast) return store_tile_of_bytes(tile, place, args.out + offset);
  }
  store_tile(tile, place, args.out + offset);
}

// A sample's steps on a tile, the first of them on `before` and the last to `after`.
template <typename A, int64_t kPixels>
void run_steps(const EditSequences<A>& sequences, const Program<A>& program, const TilePlace& place,
               PixelRows<const A> before, PixelTile<A, kPixels>& tile, const PixelRows<A>& after) {
  for (int64_t k = 0; k < program.count; ++k) {
    before = apply_step(sequences, program.steps[k], place, before, k + 1 == program.count ? after : tile.rows());
  }
}

// Reads the pixels of the halo again with each tile, 1.05 times the image for one stencil and 1.4 times for eight, and
// computes a step as often. A stencil takes 10 to 40 flops a pixel of a channel, out of the second-level cache.
template <typename T>
void edit_in_halo_tiles(const ApplyEdits<T>& args, const StencilSamples& samples, Context& context) {
  using A = acc_t<T>;
  const int64_t height = args.pixels / args.width;
  const HaloTiles widest(height, args.width, kEditedTile, samples.halo);
  const int64_t tiles = widest.count();
  parallel_with_memory<A>(
      samples.count * tiles, TileBuffers<A>::numbers(widest, 2), context, [&](int64_t task, A* memory) {
        const int64_t sample = samples.samples[task / tiles], tile = task % tiles;
        const Program<A> program(args.sequences, sample);
        const TileBuffers<A> buffers(widest, memory);
        const HaloTile frame = HaloTiles(height, args.width, kEditedTile, halo_of(args.sequences, sample)).at(tile);
        const int64_t offset = sample * 3 * args.pixels;
        for (int64_t y = frame.loaded.top; y < frame.loaded.bottom; ++y) {
          load_image_tile(args, offset, frame.place(y), buffers[0].pixel_rows(frame, y, frame.loaded.left));
        }
        const TileBuffer<A> edited = run_program(args.sequences, program, frame, buffers[0], buffers[1]);
        for (int64_t y = frame.tile.top; y < frame.tile.bottom; ++y) {
          store_image_tile(args, offset, as_const(edited.pixel_rows(frame, y, frame.tile.left)),
                           frame.part(y, frame.tile.left, frame.tile.right));
        }
      });
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
    load_tile(args.images + offset, place, images[0].rows());
    load_tile(args.grad + offset, place, grad.rows());
    PixelRows<const A> before[kMostSteps] = {std::as_const(images[0]).rows()};
    before[0].inside = all_inside(before[0], place.count);
    for (int64_t k = 0; k + 1 < program.count; ++k) {
      before[k + 1] = apply_step(args.sequences, program.steps[k], place, before[k], images[k + 1].rows());
    }
    for (int64_t k = program.count - 1; k >= 0; --k) {
      apply_step_backward(args.sequences, program.steps[k], place, before[k], grad.rows(), lanes[k]);
    }
    store_tile(std::as_const(grad).rows(), place, args.grad_images + offset);
  }
  store_sums(args.sequences, program, lanes, sums);
}

// The same of a tile of a sample with stencils.
template <typename T>
void halo_tile_backward(const ApplyEditsBackward<T>& args, int64_t sample, int64_t tile,
                        const TileBuffers<acc_t<T>>& images, double* sums) {
  using A = acc_t<T>;
  const Program<A> program(args.sequences, sample);
  const int64_t height = args.pixels / args.width, halo = halo_of(args.sequences, sample), last = program.count - 1;
  const HaloTile frame = gradient_tiles<A>(height, args.width, halo).at(tile);
  const TileBuffer<A> grad = images[program.count], fields[] = {images[program.count + 1], images[program.count + 2]};
  const int64_t offset = sample * 3 * args.pixels;
  for (int64_t y = frame.loaded.top; y < frame.loaded.bottom; ++y) {
    load_tile(args.images + offset, frame.place(y), images[0].pixel_rows(frame, y, frame.loaded.left));
  }
  Area rows = frame.loaded;
  for (int64_t k = 0; k < last; ++k) {
    rows = run_step(args.sequences, program.steps[k], frame, rows, images[k], images[k + 1]);
  }
  if (is_stencil(program.steps[last].op)) fill_before(program.steps[last], frame, rows, images[last]);

  Area known = HaloTiles(height, args.width, kGradientTile, halo).at(tile).loaded;
  for (int64_t y = known.top; y < known.bottom; ++y) {
    load_tile(args.grad + offset, frame.place(y), grad.pixel_rows(frame, y, frame.loaded.left));
  }
  Lanes<A> lanes[kMostSteps][kMostSums], of_halo[kMostSums] = {};
  std::memset(lanes, 0, size_t(program.count) * sizeof lanes[0]);
  for (int64_t k = last; k >= 0; --k) {
    known =
        run_step_backward(args.sequences, program.steps[k], frame, known, images[k], grad, fields, {lanes[k], of_halo});
  }
  for (int64_t y = frame.tile.top; y < frame.tile.bottom; ++y) {
    store_tile(as_const(grad.pixel_rows(frame, y, frame.tile.left)), frame.part(y, frame.tile.left, frame.tile.right),
               args.grad_images + offset);
  }
  store_sums(args.sequences, program, lanes, sums);
}

}  // namespace

// Reads the images once and writes them once, 24 bytes a pixel in float32, and computes 10 to 40 flops a step and
// pixel: with five steps and vectors the two are of a size, and a copy is the floor.
template <typename T>
void apply_edits(const ApplyEdits<T>& args, Context& context) {
  using A = acc_t<T>;
  for_each_chunk(args.batch, args.pixels, [&](int64_t sample, int64_t, int64_t begin, int64_t end) {
    if (halo_of(args.sequences, sample) > 0) return;
    const Program<A> program(args.sequences, sample);
    const int64_t offset = sample * 3 * args.pixels;
    PixelTile<A, kStreamPixels<T>> tile;
    for (; begin < end; begin += kStreamPixels<T>) {
      const TilePlace place{args.pixels, begin, std::min(kStreamPixels<T>, end - begin)};
      if constexpr (std::is_same_v<T, A>) {  // the first step reads the image itself, and the last one writes it
        if (program.count > 0 && place.count % kLanes<A> == 0) {
          run_steps(args.sequences, program, place, rows_at(args.images + offset, place), tile,
                    rows_at(args.out + offset, place));
          continue;
        }
      }
      load_image_tile(args, offset, place, tile.rows());
      PixelRows<const A> loaded = std::as_const(tile).rows();
      loaded.inside = std::is_same_v<T, uint8_t>;
      run_steps(args.sequences, program, place, loaded, tile, tile.rows());
      store_image_tile(args, offset, std::as_const(tile).rows(), place);
    }
  });
  const StencilSamples stencils(args.sequences, args.batch, context);
  if (args.pixels * stencils.count > 0) edit_in_halo_tiles(args, stencils, context);
}

// Reads images and gradients once and writes gradients once, 36 bytes a pixel in float32. Each tile's steps are done
// again; what each began with stays in the cache for the way back, 30 to 120 flops a step and pixel. With stencils the
// tiles overlap by two pixels for each, so that a tile of 32 x 128 reads and computes 1.15 times as much for one.
template <typename T>
void apply_edits_backward(const ApplyEditsBackward<T>& args, Context& context) {
  using A = acc_t<T>;
  const int64_t steps = args.sequences.steps, chunks = ceil_div(args.pixels, kChunkPixels);
  const StencilSamples stencils(args.sequences, args.batch, context);
  const int64_t height = args.pixels > 0 ? args.pixels / args.width : 0;
  const HaloTiles widest = gradient_tiles<A>(height, args.width, stencils.halo);
  const int64_t most = std::max(chunks, stencils.count > 0 ? widest.count() : 0);
  double* const parts = context.scratch_array<double>(args.batch * most * steps * kMostSums);
  for_each_chunk(args.batch, args.pixels, [&](int64_t sample, int64_t chunk, int64_t begin, int64_t end) {
    if (halo_of(args.sequences, sample) > 0) return;
    chunk_backward(args, sample, begin, end, parts + (sample * most + chunk) * steps * kMostSums);
  });
  if (args.pixels * stencils.count > 0) {
    const int64_t tiles = widest.count(), numbers = TileBuffers<A>::numbers(widest, steps + 3);
    parallel_with_memory<A>(stencils.count * tiles, numbers, context, [&](int64_t task, A* memory) {
      const int64_t sample = stencils.samples[task / tiles], tile = task % tiles;
      halo_tile_backward(args, sample, tile, TileBuffers<A>(widest, memory),
                         parts + (sample * most + tile) * steps * kMostSums);
    });
  }
  parallel_for(args.batch * steps, 64, [&](int64_t first, int64_t last) {
    for (int64_t at = first; at < last; ++at) {
      const int64_t sample = at / steps, count = halo_of(args.sequences, sample) > 0 ? widest.count() : chunks;
      const double* const part = parts + (sample * most * steps + at % steps) * kMostSums;
      write_parameter_gradient(args.sequences, at, part, count, steps * kMostSums, args.grad_params);
    }
  });
}

LDIE_INSTANTIATE(apply_edits, ApplyEdits);
LDIE_INSTANTIATE_FOR(apply_edits, ApplyEdits, uint8_t);
LDIE_INSTANTIATE(apply_edits_backward, ApplyEditsBackward);

}  // namespace ldie::editing
