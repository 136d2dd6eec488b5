// SPDX-License-Identifier: Apache-2.0
// CUDA: the rows of a pixel's Jacobian in shared memory, and the products of its columns.
#pragma once

#include "editing/edit_normal_equations.h"
#include "editing/edit_pixels.cuh"

namespace ldie::editing {

constexpr int kFitThreads = 128;
constexpr int kFitSide = 4;  // columns by columns whose products a thread adds up in registers

// One pixel's place in each row, which begins one bank further than the row before.
template <typename A>
struct PixelColumn {
  A* first;
  int stride;

  __device__ __forceinline__ A& operator[](int64_t column) const { return first[column * stride]; }
};

// A pixel's part of a step's sums.
template <typename A>
struct PixelSums {
  A* values;

  __device__ __forceinline__ void add(int slot, A value) const { values[slot] += value; }
  __device__ __forceinline__ void add_piece(int slot, int, A scaled, A grad) const {  // parts of all pieces, no wholes
#pragma unroll
    for (int i = 0; i < kPieces; ++i) values[slot + kPieces + i] += grad * clamp_unit(scaled - A(i));
  }
};

// The gradient of one channel of the result before a step, of that after it; leaves the step's columns.
template <typename A>
__device__ __forceinline__ Pixel<A> step_row(const EditStep<A>& step, const A* params, const Pixel<A>& x, const A* mask,
                                             const Pixel<A>& grad, int64_t first, const PixelColumn<A>& row) {
  Pixel<A> before = grad;
  with_operator<A>(step.op, [&]<typename Operator>() {
    const Operator op(step.numbers);
    if constexpr (kIsCurve<Operator>) {
      constexpr bool kOneEach = kColumnsOf<Operator> > kPieces;
      const A values[3] = {x.r, x.g, x.b}, grads[3] = {grad.r, grad.g, grad.b};
      A passed[3];
#pragma unroll
      for (int c = 0; c < 3; ++c) {
        const int offset = kOneEach ? c * kPieces : 0;
        A slopes[kPieces];
        passed[c] = grads[c] * curve_slopes<PixelSums<A>>(op.channel(c), params + offset, values[c], mask, slopes);
#pragma unroll
        for (int s = 0; s < kPieces; ++s) {
          A& column = row[first + offset + s];
          column = grads[c] * slopes[s] + (!kOneEach && c > 0 ? column : A(0));
        }
      }
      before = {passed[0], passed[1], passed[2]};
    } else {
      A values[Operator::kSums + 1] = {};
      const PixelSums<A> sums{values};
      before = mask != nullptr ? edit_masked_backward(op, x, *mask, grad, sums) : edit_backward(op, x, grad, sums);
      for (int s = 0; s < Operator::kSums; ++s) row[first + s] = values[s];
    }
  });
  return before;
}

// One problem of a block: its program and its columns, those of step k from first[k] on, in shared memory.
template <typename T>
struct FitProblem {
  const EditNormalEquations<T>& args;
  int64_t problem;
  const EditStep<T>* program;
  const int* first;

  __device__ __forceinline__ void forward(int64_t begin, int64_t end, int64_t pixel, Pixel<T>* value) const {
    for (int64_t k = begin; k < end; ++k) run_step<1>(args.sequences, program[k], args.pixels, pixel, value);
  }

  // Back through pointwise steps, of a pixel as it is before them. A step whose mask is not there leaves zeros.
  __device__ __forceinline__ Pixel<T> row(int64_t begin, int64_t end, const Pixel<T>& image, int64_t pixel,
                                          Pixel<T> grad, const PixelColumn<T>& columns) const {
    for (int64_t k = end - 1; k >= begin; --k) {
      const EditStep<T>& step = program[k];
      if (!is_operator(step.op)) {
        for (int column = first[k]; column < first[k + 1]; ++column) columns[column] = T(0);
        continue;
      }
      Pixel<T> before = image;
      forward(begin, k, pixel, &before);
      const bool masked = step.mask != kWholeImage;
      const T mask = masked ? mask_value(args.sequences, step, args.pixels, pixel) : T(1);
      const T* const params = args.sequences.params + (problem * args.sequences.steps + k) * kParameters;
      grad = step_row(step, params, before, masked ? &mask : nullptr, grad, first[k], columns);
    }
    return grad;
  }
};

// All threads of the block call.
template <typename T>
__device__ __forceinline__ void load_columns(const EditNormalEquations<T>& args, int64_t problem, int* first) {
  if (threadIdx.x == 0) {
    first[0] = 0;
    for (int64_t k = 0; k < args.sequences.steps; ++k) {
      first[k + 1] = first[k] + columns_of<T>(given_operator(args.sequences, problem * args.sequences.steps + k));
    }
  }
  __syncthreads();
}

template <typename T>
__device__ __forceinline__ Pixel<T> unit_pixel(int64_t c, T value) {
  return {c == 0 ? value : T(0), c == 1 ? value : T(0), c == 2 ? value : T(0)};
}

// Adds the products of count rows over a batch of pixels to the block's part. A thread takes kFitSide rows with
// kFitSide others.
template <typename T>
__device__ __forceinline__ void add_products(const T* rows, int count, int pixels, int64_t columns, double* part) {
  const int sides = ceil_div(count, kFitSide);
  for (int at = int(threadIdx.x); at < sides * sides; at += kFitThreads) {
    const int p = at / sides * kFitSide, q = at % sides * kFitSide;
    if (q > p) continue;
    T sums[kFitSide][kFitSide] = {};
    for (int pixel = 0; pixel < pixels; ++pixel) {
      T left[kFitSide], right[kFitSide];
#pragma unroll
      for (int i = 0; i < kFitSide; ++i) {
        left[i] = rows[(p + i < count ? p + i : 0) * (pixels + 1) + pixel];
        right[i] = rows[(q + i < count ? q + i : 0) * (pixels + 1) + pixel];
      }
#pragma unroll
      for (int i = 0; i < kFitSide; ++i) {
#pragma unroll
        for (int j = 0; j < kFitSide; ++j) sums[i][j] += left[i] * right[j];
      }
    }
#pragma unroll
    for (int i = 0; i < kFitSide; ++i) {
#pragma unroll
      for (int j = 0; j < kFitSide; ++j) {
        if (p + i < count && q + j <= p + i) part[(p + i) * (columns + 1) + q + j] += double(sums[i][j]);
      }
    }
  }
}

// What a thread adds up, and where the block's rows and part are.
template <typename T>
struct FitBatch {
  T* rows;  // [columns + 1, pixels + 1]
  int pixels;
  double* part;
  double loss = 0, distance = 0;

  // The last steps, from `begin` on, of a pixel in each thread that has one; carry(grad, row) makes the columns before
  // them. All threads of the block call.
  template <typename Carry>
  __device__ __forceinline__ void add(const FitProblem<T>& own, int64_t begin, bool there, const Pixel<T>& image,
                                      int64_t pixel, const Carry& carry) {
    if (__syncthreads_or(there) == 0) return;
    const EditNormalEquations<T>& args = own.args;
    const int64_t steps = args.sequences.steps, offset = own.problem / args.candidates * 3 * args.pixels;
    const int columns = args.columns > 0 ? own.first[steps] : 0;
    const PixelColumn<T> row{rows + threadIdx.x, pixels + 1};
    Pixel<T> edited = image;
    if (there) own.forward(begin, steps, pixel, &edited);
    for (int64_t c = 0; c < 3; ++c) {
      if (there) {
        const T residual = (c == 0   ? edited.r
                            : c == 1 ? edited.g
                                     : edited.b) -
                           args.targets[offset + c * args.pixels + pixel];
        const T size = residual < T(0) ? -residual : residual, threshold = T(args.threshold);
        loss += double(huber_loss(size, threshold));
        distance += double(size);
        const T root = std::sqrt(huber_weight(size, threshold));
        if (columns > 0) carry(own.row(begin, steps, image, pixel, unit_pixel(c, root), row), row);
        if (args.columns > 0) row[columns] = root * residual;
      } else if (args.columns > 0 && int(threadIdx.x) < pixels) {
        for (int column = 0; column <= columns; ++column) row[column] = T(0);
      }
      if (columns == 0) continue;
      __syncthreads();
      add_products(rows, columns + 1, pixels, args.columns, part);
      __syncthreads();
    }
  }

  // Begins a block's part; all threads call, and at the end of it.
  __device__ __forceinline__ void clear(int64_t size) const {
    for (int64_t i = threadIdx.x; i < size; i += kFitThreads) part[i] = 0;
    __syncthreads();
  }
  __device__ __forceinline__ void finish(int64_t products) {
    loss = block_sum<kFitThreads>(loss);
    distance = block_sum<kFitThreads>(distance);
    if (threadIdx.x == 0) {
      part[products] = loss;
      part[products + 1] = distance;
    }
    __syncthreads();
  }
};

}  // namespace ldie::editing
