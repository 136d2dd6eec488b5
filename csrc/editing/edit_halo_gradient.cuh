// SPDX-License-Identifier: Apache-2.0
// CUDA: back through a sample's program on tiles with a halo (edit_halo_tiles.cuh). The gradient of a tile is made of
// that of the pixels around it, one pixel for each stencil, and those need the image as far again: a square has a halo
// of twice as many pixels as there are stencils. Steps are done again from the image before each stencil and before
// each run of pointwise steps.
#pragma once

#include "editing/edit_halo_tiles.cuh"

namespace ldie::editing {

// Enough for those that are on a GPU at once.
constexpr int64_t kHaloBlocks = 512;

// The most with which a square, columns of sums and 32 steps fit the 64 KB that any GPU has, in float32.
constexpr int kGradientSide = 36;

// A square on its way back: channels of the image and of the gradient. A stencil has one sum, so that the columns of
// sums have room for its fields. A pixel of the first one lies in the column of the thread that has it.
template <typename A>
struct GradientSquare {
  static constexpr int kPixels = Square<kGradientSide>::kPixels;
  static constexpr int64_t kNumbers = 6 * kPixels;
  static_assert((kMostSums - 1) * kBackwardThreads<A> >= 2 * kPixels);

  A *channels, *grads, *columns, *fields;

  __device__ __forceinline__ GradientSquare(A* memory, A* columns)
      : channels(memory), grads(memory + 3 * kPixels), columns(columns), fields(columns + kBackwardThreads<A>) {}

  __device__ __forceinline__ ColumnSums<A> own_column() const { return {columns + threadIdx.x}; }
};

// Sums of the tile's pixels alone; other tiles count those of the halo.
template <typename A>
struct TileSums {
  ColumnSums<A> columns;
  bool in_tile;

  __device__ __forceinline__ void add(int slot, A value) const {
    if (in_tile) columns.add(slot, value);
  }
  __device__ __forceinline__ void add_piece(int slot, int piece, A scaled, A grad) const {
    if (in_tile) columns.add_piece(slot, piece, scaled, grad);
  }
};

template <typename A>
__device__ __forceinline__ void clear_column(int sums, const ColumnSums<A>& columns) {
  for (int slot = 0; slot < sums; ++slot) columns.column[slot * kBackwardThreads<A>] = A(0);
}

// Back through the pointwise steps begin .. end - 1, of what `begin` begins with; adds to parts [steps, kMostSums].
template <typename A>
__device__ __forceinline__ void run_pointwise_backward(const EditSequences<A>& sequences, const EditStep<A>* program,
                                                       int64_t begin, int64_t end, int64_t pixels,
                                                       const Square<kGradientSide>& square,
                                                       const GradientSquare<A>& values, A* parts) {
  constexpr int kBlock = kBackwardThreads<A>;
  const ColumnSums<A> own = values.own_column();
  for (int64_t k = end - 1; k >= begin; --k) {
    const int sums = sums_of<A>(program[k].op);
    clear_column(sums, own);
    for (int i = int(threadIdx.x); i < Square<kGradientSide>::kPixels; i += kBlock) {
      if (!square.in_image(i)) continue;
      const int64_t pixel = square.pixel(i);
      Pixel<A> before = pixel_at<kGradientSide>(values.channels, i), grad = pixel_at<kGradientSide>(values.grads, i);
      for (int64_t step = begin; step < k; ++step) run_step<1>(sequences, program[step], pixels, pixel, &before);
      run_step_backward<1>(sequences, program[k], pixels, pixel, &before, &grad, TileSums<A>{own, square.in_tile(i)});
      put_pixel<kGradientSide>(grad, i, values.grads);
    }
    add_columns(values.columns, sums, false, parts + k * kMostSums);
  }
}

// Back through a stencil, of what it begins with.
template <typename A>
__device__ __forceinline__ void run_stencil_backward(const EditSequences<A>& sequences, const EditStep<A>& step,
                                                     int64_t pixels, const Square<kGradientSide>& square,
                                                     const GradientSquare<A>& values, A* part) {
  constexpr int kBlock = kBackwardThreads<A>, kPixels = GradientSquare<A>::kPixels;
  const ColumnSums<A> own = values.own_column();
  with_stencil<A>(step.op, [&]<typename Operator>() {
    const Operator op(step.numbers);
    clear_column(Operator::kSums, own);
    for (int c = 0; c < 3; ++c) {
      const A* const channel = values.channels + c * kPixels;
      A* const grads = values.grads + c * kPixels;
      __syncthreads();
      for (int i = int(threadIdx.x); i < kPixels; i += kBlock) {
        Flow<A, Operator::kFields> flow = {};
        if (square.is_inside(i, 1)) {
          const Around<A> around = around_at(channel, square, Operator::border(), i);
          const TileSums<A> sums{own, square.in_tile(i)};
          flow = step.mask == kWholeImage
                     ? edit_backward(op, around, grads[i], sums)
                     : edit_masked_backward(op, around, mask_value(sequences, step, pixels, square.pixel(i)), grads[i],
                                            sums);
          grads[i] = flow.own;
        }
        for (int f = 0; f < Operator::kFields; ++f) values.fields[f * kPixels + i] = flow.fields[f];
      }
      __syncthreads();
      for (int i = int(threadIdx.x); i < kPixels; i += kBlock) {
        if (!square.is_inside(i, 1)) continue;
        grads[i] = add_fields<Operator>(grads[i], [&]<int kField>() {
          return Operator::template spread<kField>(
              around_at(values.fields + kField * kPixels, square, Operator::field_border(kField), i));
        });
      }
    }
    add_columns(values.columns, Operator::kSums, false, part);
  });
}

// Takes `values.grads`, of what the program makes of a square, to that of the image, of one sample's image, and adds
// what the tile adds to the sums [steps, kMostSums].
template <typename T, typename A>
__device__ __forceinline__ void run_square_backward(const EditSequences<A>& sequences, const EditStep<A>* program,
                                                    const T* image, int64_t pixels, const Square<kGradientSide>& square,
                                                    const GradientSquare<A>& values, A* parts) {
  constexpr int kBlock = kBackwardThreads<A>;
  const PixelStrides strides = pixel_strides(Layout::kChannelsFirst, pixels);
  for (int64_t end = sequences.steps; end > 0;) {
    int64_t begin = end - 1;
    const bool stencil = is_stencil(program[begin].op);
    while (!stencil && begin > 0 && !is_stencil(program[begin - 1].op)) --begin;
    load_square<kBlock>(image, strides, square, values.channels);
    run_steps<kBlock>(sequences, program, 0, begin, pixels, square, values.channels, values.fields);
    if (stencil) {
      run_stencil_backward(sequences, program[begin], pixels, square, values, parts + begin * kMostSums);
    } else {
      run_pointwise_backward(sequences, program, begin, end, pixels, square, values, parts);
    }
    end = begin;
  }
}

}  // namespace ldie::editing
