// SPDX-License-Identifier: Apache-2.0
// CUDA: a square's pixels and the columns of its Jacobian as they are after the last stencil of a problem, in memory of
// the block's own. Each column is an image of the square, which goes through the stencils as the pixels do.
#pragma once

#include "editing/edit_halo_tiles.cuh"
#include "editing/fit_rows.cuh"

namespace ldie::editing {

constexpr int kFitSquare = 32;
constexpr int kSquarePixels = kFitSquare * kFitSquare;

// Planes of three channels each.
template <typename T>
struct FitPlanes {
  static constexpr int64_t kPlane = 3 * kSquarePixels;
  T* memory;

  static LDIE_HD int64_t numbers(int64_t columns) { return (4 + columns) * kPlane; }

  __device__ __forceinline__ T* pixels() const { return memory; }
  // A pixel's own part of a stencil's flow, 0, or one of its fields.
  __device__ __forceinline__ T* flow(int part) const { return memory + (1 + part) * kPlane; }
  __device__ __forceinline__ T* column(int64_t number) const { return memory + (4 + number) * kPlane; }
};

// Pointwise steps begin .. end - 1, of the pixels and of the columns.
template <typename T>
__device__ __forceinline__ void run_pointwise_columns(const FitProblem<T>& own, int64_t begin, int64_t end,
                                                      const Square<kFitSquare>& square, const FitPlanes<T>& planes) {
  const bool columns = own.args.columns > 0;
  for (int i = int(threadIdx.x); i < kSquarePixels; i += kFitThreads) {
    if (!square.in_image(i)) continue;
    Pixel<T> pixel = pixel_at<kFitSquare>(planes.pixels(), i);
    if (columns) {
      Pixel<T> grads[3];
#pragma unroll
      for (int c = 0; c < 3; ++c) {
        const PixelColumn<T> row{planes.column(0) + c * kSquarePixels + i, int(FitPlanes<T>::kPlane)};
        grads[c] = own.row(begin, end, pixel, square.pixel(i), unit_pixel(c, T(1)), row);
      }
      for (int column = 0; column < own.first[begin]; ++column) {
        const Pixel<T> before = pixel_at<kFitSquare>(planes.column(column), i);
        put_pixel<kFitSquare>(Pixel<T>{dot(grads[0], before), dot(grads[1], before), dot(grads[2], before)}, i,
                              planes.column(column));
      }
    }
    own.forward(begin, end, square.pixel(i), &pixel);
    put_pixel<kFitSquare>(pixel, i, planes.pixels());
  }
}

// The flow of a unit gradient, whose sums are the stencil's own column.
template <typename Operator, typename T>
__device__ __forceinline__ void leave_flows(const Operator& op, const FitProblem<T>& own, int64_t k,
                                            const Square<kFitSquare>& square, const FitPlanes<T>& planes) {
  const EditStep<T>& step = own.program[k];
  for (int at = int(threadIdx.x); at < FitPlanes<T>::kPlane; at += kFitThreads) {
    const int i = at % kSquarePixels;
    if (!square.is_inside(i, 1)) continue;
    const Around<T> around = around_at(planes.pixels() + at - i, square, Operator::border(), i);
    T sum = T(0);
    const PixelSums<T> sums{&sum};
    const auto flow =
        step.mask == kWholeImage
            ? edit_backward(op, around, T(1), sums)
            : edit_masked_backward(op, around, mask_value(own.args.sequences, step, own.args.pixels, square.pixel(i)),
                                   T(1), sums);
    planes.column(own.first[k])[at] = sum;
    planes.flow(0)[at] = flow.own;
    for (int f = 0; f < Operator::kFields; ++f) planes.flow(1 + f)[at] = flow.fields[f];
  }
}

// In place: a thread's results wait in registers until all neighbours are read.
template <typename Operator, typename T>
__device__ __forceinline__ void take_channel(const Square<kFitSquare>& square, const FitPlanes<T>& planes, int channel,
                                             T* values) {
  constexpr int kRounds = kSquarePixels / kFitThreads;
  T taken[kRounds];
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const int i = int(threadIdx.x) + round * kFitThreads, at = channel + i;
    if (!square.is_inside(i, 1)) continue;
    const Around<T> around = around_at(values, square, Operator::border(), i);
    taken[round] = add_fields<Operator>(planes.flow(0)[at] * own_value(around), [&]<int kField>() {
      return planes.flow(1 + kField)[at] * Operator::template read<kField>(around);
    });
  }
  __syncthreads();
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const int i = int(threadIdx.x) + round * kFitThreads;
    if (square.is_inside(i, 1)) values[i] = taken[round];
  }
}

template <typename T>
__device__ __forceinline__ void run_stencil_columns(const FitProblem<T>& own, int64_t k,
                                                    const Square<kFitSquare>& square, const FitPlanes<T>& planes) {
  const EditStep<T>& step = own.program[k];
  __syncthreads();
  if (own.args.columns > 0) {
    with_stencil<T>(step.op, [&]<typename Operator>() {
      leave_flows(Operator(step.numbers), own, k, square, planes);
      for (int64_t column = 0; column < own.first[k]; ++column) {
        for (int c = 0; c < 3; ++c) {
          const int channel = c * kSquarePixels;
          take_channel<Operator>(square, planes, channel, planes.column(column) + channel);
        }
      }
    });
  }
  run_stencil<kFitThreads>(own.args.sequences, step, own.args.pixels, square, planes.pixels(), planes.flow(0));
}

// All steps before the last run, of a square that is loaded. All threads of the block call.
template <typename T>
__device__ __forceinline__ void run_to_last(const FitProblem<T>& own, int64_t last_run,
                                            const Square<kFitSquare>& square, const FitPlanes<T>& planes) {
  for (int64_t k = 0; k < last_run; ++k) {
    int64_t next = k;
    while (!is_stencil(own.program[next].op)) ++next;
    if (next > k) run_pointwise_columns(own, k, next, square, planes);
    run_stencil_columns(own, next, square, planes);
    k = next;
  }
  __syncthreads();
}

}  // namespace ldie::editing
