// SPDX-License-Identifier: Apache-2.0
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "editing/edit_halo_gradient.cuh"

namespace ldie::editing {
namespace {

// A sample's squares that fall to this block.
template <typename T, typename A>
__device__ __forceinline__ void edit_squares(const ApplyEdits<T>& args, const EditStep<A>* program, int halo,
                                             int64_t offset, A* channels) {
  const PixelStrides strides = pixel_strides(args.layout, args.pixels);
  const SquareTiles<kEditedSide> tiles(args.pixels / args.width, args.width, halo);
  for (int64_t tile = blockIdx.x; tile < tiles.count(); tile += gridDim.x) {
    const Square<kEditedSide> square = tiles.at(tile);
    load_square<kThreads>(args.images + offset, strides, square, channels);
    run_steps<kThreads>(args.sequences, program, 0, args.sequences.steps, args.pixels, square, channels,
                        channels + 3 * square.kPixels);
    for (int i = int(threadIdx.x); i < square.kPixels; i += kThreads) {
      const Pixel<A> pixel = pixel_at<kEditedSide>(channels, i);
      if (square.in_tile(i)) store_pixels<1>(&pixel, strides, square.pixel(i), args.out + offset);
    }
  }
}

// Reads the images once and writes them once, 24 bytes a pixel in float32, and computes 10 to 40 flops a step and
// pixel: up to some ten steps the memory decides. Each thread takes packs of kWidth pixels of one sample after another
// through all steps in registers.
//
// A sample with stencils goes square by square through shared memory, which reads its pixels 1.1 times for one stencil
// and 4 times for eight, and computes a step as often; a stencil takes 10 to 40 flops a pixel of a channel. What
// the other samples lose by it are 14 of 62 registers a thread, and 16 KB of shared memory a block.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads) edit_kernel(ApplyEdits<T> args) {
  using A = acc_t<T>;
  LDIE_DYNAMIC_SHARED(EditStep<A>, program);
  const PixelStrides strides = pixel_strides(args.layout, args.pixels);
  const int64_t first = thread_index<kThreads>(), stride = grid_threads<kThreads>();
  for (int64_t sample = blockIdx.y; sample < args.batch; sample += gridDim.y) {
    load_program(args.sequences, sample, program);
    const int64_t offset = sample * 3 * args.pixels;
    if (const int halo = stencils_of(program, args.sequences.steps); halo > 0) {
      edit_squares(args, program, halo, offset, behind_program(args.sequences, program));
      continue;
    }
    for (int64_t pack = first; pack < args.pixels / kWidth; pack += stride) {
      Pixel<A> pixels[kWidth];
      load_pixels<kWidth>(args.images + offset, strides, pack, pixels);
      for (int64_t k = 0; k < args.sequences.steps; ++k) {
        run_step<kWidth>(args.sequences, program[k], args.pixels, pack, pixels);
      }
      store_pixels<kWidth>(pixels, strides, pack, args.out + offset);
    }
  }
}

// Reads images and gradients once and writes gradients once, 36 bytes a pixel in float32. A thread keeps kWidth pixels
// and their gradients in registers and goes back step by step, doing the steps before each again: K (K - 1) / 2 of them
// cost less than what they began with would, in memory, for the five or six steps of an edit. What pixels add to a
// step's sums stands in shared memory, one column a thread, and is added up at once for the block: parts gets [batch,
// blocks, steps, kMostSums].
template <typename T, int kWidth>
__global__ void __launch_bounds__(kBackwardThreads<acc_t<T>>)
    gradient_kernel(ApplyEditsBackward<T> args, acc_t<T>* parts) {
  using A = acc_t<T>;
  constexpr int kBlock = kBackwardThreads<A>;
  LDIE_DYNAMIC_SHARED(EditStep<A>, program);
  LDIE_SHARED(A, columns, [kMostSums * kBackwardThreads<acc_t<T>>]);
  const PixelStrides strides = pixel_strides(Layout::kChannelsFirst, args.pixels);
  const int64_t steps = args.sequences.steps, packs = args.pixels / kWidth, rounds = ceil_div(packs, int64_t(kBlock));
  for (int64_t sample = blockIdx.y; sample < args.batch; sample += gridDim.y) {
    load_program(args.sequences, sample, program);
    if (stencils_of(program, steps) > 0) continue;  // halo_gradient_kernel's
    const int64_t offset = sample * 3 * args.pixels;
    A* const block_parts = parts + (sample * gridDim.x + blockIdx.x) * steps * kMostSums;
    for (int64_t round = blockIdx.x; round < rounds; round += gridDim.x) {
      const int64_t pack = round * kBlock + threadIdx.x;
      const bool there = pack < packs;
      Pixel<A> images[kWidth] = {}, grads[kWidth] = {};
      if (there) {
        load_pixels<kWidth>(args.images + offset, strides, pack, images);
        load_pixels<kWidth>(args.grad + offset, strides, pack, grads);
      }
      for (int64_t k = steps - 1; k >= 0; --k) {
        const int sums = sums_of<A>(program[k].op);
        for (int slot = 0; slot < sums; ++slot) columns[slot * kBlock + threadIdx.x] = A(0);
        if (there) {
          Pixel<A> before[kWidth];
          for (int i = 0; i < kWidth; ++i) before[i] = images[i];
          for (int64_t i = 0; i < k; ++i) run_step<kWidth>(args.sequences, program[i], args.pixels, pack, before);
          run_step_backward<kWidth>(args.sequences, program[k], args.pixels, pack, before, grads,
                                    ColumnSums<A>{columns + threadIdx.x});
        }
        add_columns(columns, sums, round == blockIdx.x, block_parts + k * kMostSums);
      }
      if (there) store_pixels<kWidth>(grads, strides, pack, args.grad_images + offset);
    }
  }
}

// The same for samples with stencils; those without it passes over, at the price of an empty launch. Reads 36 bytes a
// pixel in float32, and computes each step, 1.3 times for one stencil, 2.3 times for three and 81 times for eight; and
// what is before a stencil, or a run of pointwise steps, again for each of them, out of caches. In shared memory but
// for float64, whose squares would not fit every GPU: they lie in `squares`, one a block.
template <typename T>
__global__ void __launch_bounds__(kBackwardThreads<acc_t<T>>)
    halo_gradient_kernel(ApplyEditsBackward<T> args, acc_t<T>* parts, int64_t blocks, acc_t<T>* squares) {
  using A = acc_t<T>;
  constexpr int kBlock = kBackwardThreads<A>;
  LDIE_DYNAMIC_SHARED(EditStep<A>, program);
  LDIE_SHARED(A, columns, [kMostSums * kBackwardThreads<acc_t<T>>]);
  const int64_t steps = args.sequences.steps, block = int64_t(blockIdx.y) * gridDim.x + blockIdx.x;
  const GradientSquare<A> values(
      squares == nullptr ? behind_program(args.sequences, program) : squares + block * GradientSquare<A>::kNumbers,
      columns);
  const PixelStrides strides = pixel_strides(Layout::kChannelsFirst, args.pixels);
  for (int64_t sample = blockIdx.y; sample < args.batch; sample += gridDim.y) {
    const int64_t halo = 2 * halo_of(args.sequences, sample), offset = sample * 3 * args.pixels;
    if (halo == 0) continue;
    load_program(args.sequences, sample, program);
    A* const block_parts = parts + (sample * blocks + blockIdx.x) * steps * kMostSums;
    for (int64_t row = blockIdx.x; row < blocks; row += gridDim.x) {
      A* const sums = parts + (sample * blocks + row) * steps * kMostSums;
      for (int64_t i = threadIdx.x; i < steps * kMostSums; i += kBlock) sums[i] = A(0);
    }
    const SquareTiles<kGradientSide> tiles(args.pixels / args.width, args.width, int(halo));
    for (int64_t tile = blockIdx.x; tile < tiles.count(); tile += gridDim.x) {
      const Square<kGradientSide> square = tiles.at(tile);
      load_square<kBlock>(args.grad + offset, strides, square, values.grads);
      run_square_backward(args.sequences, program, args.images + offset, args.pixels, square, values, block_parts);
      for (int i = int(threadIdx.x); i < square.kPixels; i += kBlock) {
        const Pixel<A> grad = pixel_at<kGradientSide>(values.grads, i);
        if (square.in_tile(i)) store_pixels<1>(&grad, strides, square.pixel(i), args.grad_images + offset);
      }
    }
  }
}

// One block a step of a sample: adds the parts in a fixed order and writes a row of the parameters' gradient. Reads the
// parts only.
template <typename T>
__global__ void __launch_bounds__(kFinishThreads)
    finish_kernel(ApplyEditsBackward<T> args, const acc_t<T>* parts, int64_t blocks) {
  LDIE_SHARED(double, totals, [kMostSums]);
  const int64_t steps = args.sequences.steps;
  for (int64_t at = blockIdx.x; at < args.batch * steps; at += gridDim.x) {
    const acc_t<T>* const first = parts + (at / steps * blocks * steps + at % steps) * kMostSums;
    const int sums = sums_of<acc_t<T>>(operator_at(args.sequences, at));
    for (int slot = int(threadIdx.x); slot < sums; slot += kFinishThreads) {
      double total = 0;
      for (int64_t block = 0; block < blocks; ++block) total += double(first[block * steps * kMostSums + slot]);
      totals[slot] = total;
    }
    __syncthreads();
    if (threadIdx.x == 0) parameter_gradient(args.sequences, at, totals, args.grad_params + at * kParameters);
    __syncthreads();
  }
}

// So many that all samples together fill a GPU, and few enough to add their parts quickly.
dim3 sample_grid(int64_t batch, int64_t packs, int threads) {
  constexpr int64_t kEnough = 2048;
  const int64_t blocks = ceil_div(kEnough, batch);
  return dim3(grid_side(ceil_div(packs, int64_t(threads)), blocks), grid_side(batch));
}

template <int kWidth, typename T>
void launch_edit(const ApplyEdits<T>& args, Context& context) {
  using A = acc_t<T>;
  LDIE_LAUNCH((edit_kernel<T, kWidth>), sample_grid(args.batch, args.pixels / kWidth, kThreads), dim3(kThreads),
              program_bytes(args.sequences) + 4 * Square<kEditedSide>::kPixels * sizeof(A), context.stream, args);
}

template <typename T>
void launch_halo_gradient(const ApplyEditsBackward<T>& args, unsigned blocks, acc_t<T>* parts, Context& context) {
  using A = acc_t<T>;
  constexpr size_t kSquareBytes = GradientSquare<A>::kNumbers * sizeof(A);
  constexpr bool kInShared = sizeof(A) == 4;
  const unsigned side = grid_side(blocks, kHaloBlocks);
  A* const squares = kInShared ? nullptr : context.scratch_array<A>(kHaloBlocks * GradientSquare<A>::kNumbers);
  LDIE_LAUNCH(halo_gradient_kernel<T>, dim3(side, grid_side(args.batch, kHaloBlocks / side)), dim3(kBackwardThreads<A>),
              program_bytes(args.sequences) + (kInShared ? kSquareBytes : 0), context.stream, args, parts,
              int64_t(blocks), squares);
}

template <int kWidth, typename T>
void launch_gradient(const ApplyEditsBackward<T>& args, Context& context) {
  using A = acc_t<T>;
  constexpr int kBlock = kBackwardThreads<A>;
  const int64_t steps = args.sequences.steps;
  const dim3 grid = sample_grid(args.batch, args.pixels / kWidth, kBlock);
  A* const parts = context.scratch_array<A>(args.batch * grid.x * steps * kMostSums);
  LDIE_LAUNCH((gradient_kernel<T, kWidth>), grid, dim3(kBlock), program_bytes(args.sequences), context.stream, args,
              parts);
  if (args.pixels > 0) launch_halo_gradient(args, grid.x, parts, context);
  LDIE_LAUNCH(finish_kernel<T>, dim3(grid_side(args.batch * steps)), dim3(kFinishThreads), 0, context.stream, args,
              parts, int64_t(grid.x));
}

}  // namespace

template <typename T>
void apply_edits(const ApplyEdits<T>& args, Context& context) {
  if (args.batch * args.pixels == 0) return;
  const bool packed = args.layout == Layout::kChannelsFirst && args.pixels % kPixelsOf<T> == 0;
  const bool wide = packed && packs_fit({args.images, args.out});
  wide ? launch_edit<kPixelsOf<T>>(args, context) : launch_edit<1>(args, context);
}

template <typename T>
void apply_edits_backward(const ApplyEditsBackward<T>& args, Context& context) {
  if (args.batch == 0) return;
  const bool packed = args.pixels % kBackwardPixels == 0 && packs_fit({args.images, args.grad, args.grad_images});
  packed ? launch_gradient<kBackwardPixels>(args, context) : launch_gradient<1>(args, context);
}

LDIE_INSTANTIATE(apply_edits, ApplyEdits);
LDIE_INSTANTIATE_FOR(apply_edits, ApplyEdits, uint8_t);
LDIE_INSTANTIATE(apply_edits_backward, ApplyEditsBackward);

}  // namespace ldie::editing
