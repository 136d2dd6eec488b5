// SPDX-License-Identifier: Apache-2.0
// CUDA: a sample's whole program, stencils too, on tiles in shared memory. A square of kSide x kSide pixels holds a
// tile and around it one pixel for each stencil; what is right shrinks by one pixel with each, and in the end is the
// tile: fewer stencils leave larger tiles. All threads of a block go through a square together, each with the same
// pixels of it every time:
//
//   const int halo = stencils_of(program, steps);                 // after load_program(); 0: edit pixels in registers
//   const SquareTiles<kEditedSide> tiles(height, width, halo);
//   for (int64_t tile = blockIdx.x; tile < tiles.count(); tile += gridDim.x) {
//     const Square<kEditedSide> square = tiles.at(tile);
//     load_square<kThreads>(images + offset, strides, square, channels);    // 3 square.kPixels numbers, shared
//     run_steps<kThreads>(sequences, program, 0, steps, pixels, square, channels, spare);     // one channel more
//     for (int i = threadIdx.x; i < square.kPixels; i += kThreads) {
//       if (square.in_tile(i)) pixel_at<kEditedSide>(channels, i) is pixel square.pixel(i) of the image, edited
//     }
//   }
//
// A thread may read its own pixels as they are; another's after a barrier.
#pragma once

#include "editing/edit_pixels.cuh"

namespace ldie::editing {

// So small that samples without stencils, in the same kernel, lose no blocks of a multiprocessor to its shared memory.
constexpr int kEditedSide = 32;

// Pixel i = row * kSide + column of a tile with its halo, which may reach over the image.
template <int kSide>
struct Square {
  static constexpr int kPixels = kSide * kSide;

  int64_t width, origin;                               // of the image; its pixel where the square begins
  int first_row, last_row, first_column, last_column;  // inside the image
  int halo;

  static __device__ __forceinline__ int row(int i) { return i / kSide; }
  static __device__ __forceinline__ int column(int i) { return i % kSide; }

  __device__ __forceinline__ int64_t pixel(int i) const { return origin + row(i) * width + column(i); }

  __device__ __forceinline__ bool in_image(int i) const {
    const int y = row(i), x = column(i);
    return y >= first_row && y <= last_row && x >= first_column && x <= last_column;
  }
  // In the image and this far from the square's border.
  __device__ __forceinline__ bool is_inside(int i, int distance) const {
    const int y = row(i), x = column(i), last = kSide - distance;
    return y >= distance && y < last && x >= distance && x < last && in_image(i);
  }
  __device__ __forceinline__ bool in_tile(int i) const { return is_inside(i, halo); }
};

// All tiles of an image, row by row.
template <int kSide>
class SquareTiles {
 public:
  __device__ __forceinline__ SquareTiles(int64_t height, int64_t width, int halo)
      : height_(height), width_(width), halo_(halo), across_(ceil_div(width, tile())) {}

  __device__ __forceinline__ int64_t count() const { return across_ * ceil_div(height_, tile()); }

  __device__ __forceinline__ Square<kSide> at(int64_t index) const {
    const int64_t top = index / across_ * tile() - halo_, left = index % across_ * tile() - halo_;
    return {.width = width_,
            .origin = top * width_ + left,
            .first_row = first(top),
            .last_row = last(top, height_),
            .first_column = first(left),
            .last_column = last(left, width_),
            .halo = halo_};
  }

 private:
  __device__ __forceinline__ int64_t tile() const { return kSide - 2 * halo_; }
  static __device__ __forceinline__ int first(int64_t begin) { return begin < 0 ? int(-begin) : 0; }
  static __device__ __forceinline__ int last(int64_t begin, int64_t size) {
    return size - begin < kSide ? int(size - begin) - 1 : kSide - 1;
  }

  int64_t height_, width_;
  int halo_;
  int64_t across_;
};

template <typename A>
__device__ __forceinline__ int stencils_of(const EditStep<A>* program, int64_t steps) {
  int count = 0;
  for (int64_t k = 0; k < steps; ++k) count += is_stencil(program[k].op);
  return count;
}

template <int kSide, typename A>
__device__ __forceinline__ Pixel<A> pixel_at(const A* channels, int i) {
  constexpr int kChannel = kSide * kSide;
  return {channels[i], channels[kChannel + i], channels[2 * kChannel + i]};
}

template <int kSide, typename A>
__device__ __forceinline__ void put_pixel(const Pixel<A>& pixel, int i, A* channels) {
  constexpr int kChannel = kSide * kSide;
  channels[i] = pixel.r;
  channels[kChannel + i] = pixel.g;
  channels[2 * kChannel + i] = pixel.b;
}

// Black beyond the image, and so it stays.
template <int kThreads, int kSide, typename T>
__device__ __forceinline__ void load_square(const T* sample, const PixelStrides& strides, const Square<kSide>& square,
                                            acc_t<T>* channels) {
  for (int i = int(threadIdx.x); i < Square<kSide>::kPixels; i += kThreads) {
    Pixel<acc_t<T>> pixel = {};
    if (square.in_image(i)) load_pixels<1>(sample, strides, square.pixel(i), &pixel);
    put_pixel<kSide>(pixel, i, channels);
  }
}

// A channel's pixel with its neighbours, which the square must have.
template <int kSide, typename A>
__device__ __forceinline__ Around<A> around_at(const A* channel, const Square<kSide>& square, const Border& border,
                                               int i) {
  const int y = Square<kSide>::row(i), x = Square<kSide>::column(i);
  Around<A> around;
#pragma unroll
  for (int dy = -1; dy <= 1; ++dy) {
    const int row = minimum(maximum(y + dy, square.first_row), square.last_row);
#pragma unroll
    for (int dx = -1; dx <= 1; ++dx) {
      const int column = minimum(maximum(x + dx, square.first_column), square.last_column);
      A value = channel[row * kSide + column];
      if (row != y + dy) value = beyond(border.along_y, value);
      if (column != x + dx) value = beyond(border.along_x, value);
      around.at[1 + dy][1 + dx] = value;
    }
  }
  return around;
}

// Steps begin .. end - 1, pointwise ones, on the thread's pixels.
template <int kThreads, int kSide, typename A>
__device__ __forceinline__ void run_pointwise(const EditSequences<A>& sequences, const EditStep<A>* program,
                                              int64_t begin, int64_t end, int64_t pixels, const Square<kSide>& square,
                                              A* channels) {
  for (int i = int(threadIdx.x); i < Square<kSide>::kPixels; i += kThreads) {
    if (!square.in_image(i)) continue;
    Pixel<A> pixel = pixel_at<kSide>(channels, i);
    for (int64_t k = begin; k < end; ++k) run_step<1>(sequences, program[k], pixels, square.pixel(i), &pixel);
    put_pixel<kSide>(pixel, i, channels);
  }
}

// Channel after channel: a thread's results wait in a spare channel until all neighbours are read.
template <int kThreads, int kSide, typename A>
__device__ __forceinline__ void run_stencil(const EditSequences<A>& sequences, const EditStep<A>& step, int64_t pixels,
                                            const Square<kSide>& square, A* channels, A* spare) {
  constexpr int kPixels = Square<kSide>::kPixels;
  with_stencil<A>(step.op, [&]<typename Operator>() {
    const Operator op(step.numbers);
    __syncthreads();
    for (int c = 0; c < 3; ++c) {
      A* const channel = channels + c * kPixels;
      for (int i = int(threadIdx.x); i < kPixels; i += kThreads) {
        if (!square.is_inside(i, 1)) continue;
        const Around<A> around = around_at(channel, square, Operator::border(), i);
        spare[i] = step.mask == kWholeImage
                       ? edit(op, around)
                       : edit_masked(op, around, mask_value(sequences, step, pixels, square.pixel(i)));
      }
      __syncthreads();
      for (int i = int(threadIdx.x); i < kPixels; i += kThreads) {
        if (square.is_inside(i, 1)) channel[i] = spare[i];
      }
    }
  });
}

// Steps begin .. end - 1 of a program, of `pixels` pixels of an image.
template <int kThreads, int kSide, typename A>
__device__ __forceinline__ void run_steps(const EditSequences<A>& sequences, const EditStep<A>* program, int64_t begin,
                                          int64_t end, int64_t pixels, const Square<kSide>& square, A* channels,
                                          A* spare) {
  while (begin < end) {
    int64_t next = begin;
    while (next < end && !is_stencil(program[next].op)) ++next;
    if (next > begin) run_pointwise<kThreads>(sequences, program, begin, next, pixels, square, channels);
    if (next < end) run_stencil<kThreads>(sequences, program[next], pixels, square, channels, spare);
    begin = next + 1;
  }
}

}  // namespace ldie::editing
