// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "editing/edit_normal_equations.h"
#include "editing/edit_pixels.cuh"

namespace ldie::editing {
namespace {

constexpr int kFitThreads = 128;
constexpr int kSide = 4;  // columns by columns whose products a thread adds up in registers

// How the work is cut: pixels whose rows are in shared memory at a time, blocks of a problem, and what each leaves:
// products [columns + 1, columns + 1], then the sums of losses and of |r|.
struct FitPlan {
  int64_t runs, products, size;
  int pixels, blocks;

  template <typename T>
  explicit FitPlan(const EditNormalEquations<T>& args)
      : runs(ceil_div(ceil_div(args.pixels, kFitPixels), args.stride)),
        products((args.columns + 1) * (args.columns + 1)),
        size(products + 2),
        pixels(kFitThreads) {
    constexpr int64_t kRoom = 40 * 1024, kMostParts = int64_t(1) << 23, kEnough = 2048;
    while (pixels > 16 && (args.columns + 1) * (pixels + 1) * int64_t(sizeof(T)) > kRoom) pixels /= 2;
    const int64_t problems = args.batch * args.candidates;
    const int64_t most = std::min(kMostParts / (problems * size), kEnough / problems);
    blocks = int(std::clamp(most, int64_t(1), std::max(runs, int64_t(1))));
  }

  template <typename T>
  size_t shared_bytes(const EditNormalEquations<T>& args) const {
    return program_bytes(args.sequences) + size_t((args.columns + 1) * (pixels + 1)) * sizeof(T);
  }
};

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
  __device__ __forceinline__ void add_at(int slot, int index, A value) const {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) values[slot + i] += index == i ? value : A(0);
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

// Back through a problem's steps, each of which begins with what those before it make of `image`. Steps without a
// place of their own, whose mask is not there, leave zeros.
template <typename T>
__device__ __forceinline__ void pixel_row(const EditNormalEquations<T>& args, int64_t problem,
                                          const EditStep<T>* program, const int* first, const Pixel<T>& image,
                                          int64_t pixel, Pixel<T> grad, const PixelColumn<T>& row) {
  const int64_t steps = args.sequences.steps;
  for (int64_t k = steps - 1; k >= 0; --k) {
    const EditStep<T>& step = program[k];
    Pixel<T> before = image;
    for (int64_t i = 0; i < k; ++i) run_step<1>(args.sequences, program[i], args.pixels, pixel, &before);
    const bool masked = step.mask != kWholeImage && is_pointwise(step.op);
    const T mask = masked ? mask_value(args.sequences, step, args.pixels, pixel) : T(1);
    if (!is_pointwise(step.op)) {
      for (int column = first[k]; column < first[k + 1]; ++column) row[column] = T(0);
      continue;
    }
    const T* const params = args.sequences.params + (problem * steps + k) * kParameters;
    grad = step_row(step, params, before, masked ? &mask : nullptr, grad, first[k], row);
  }
}

// Adds the products of count rows over a batch of pixels to the block's part, or begins it. A thread takes kSide rows
// with kSide others.
template <typename T>
__device__ __forceinline__ void add_products(const T* rows, int count, int pixels, int columns, bool begins,
                                             double* part) {
  const int sides = ceil_div(count, kSide);
  for (int at = int(threadIdx.x); at < sides * sides; at += kFitThreads) {
    const int p = at / sides * kSide, q = at % sides * kSide;
    if (q > p) continue;
    T sums[kSide][kSide] = {};
    for (int pixel = 0; pixel < pixels; ++pixel) {
      T left[kSide], right[kSide];
#pragma unroll
      for (int i = 0; i < kSide; ++i) {
        left[i] = rows[(p + i < count ? p + i : 0) * (pixels + 1) + pixel];
        right[i] = rows[(q + i < count ? q + i : 0) * (pixels + 1) + pixel];
      }
#pragma unroll
      for (int i = 0; i < kSide; ++i) {
#pragma unroll
        for (int j = 0; j < kSide; ++j) sums[i][j] += left[i] * right[j];
      }
    }
#pragma unroll
    for (int i = 0; i < kSide; ++i) {
#pragma unroll
      for (int j = 0; j < kSide; ++j) {
        if (p + i >= count || q + j > p + i) continue;
        double& sum = part[(p + i) * (columns + 1) + q + j];
        sum = begins ? double(sums[i][j]) : sum + double(sums[i][j]);
      }
    }
  }
}

// For n columns there are 3 (n + 1) (n + 2) flops a visited pixel, 7,600 of 35, and 24 bytes of it in float32, which
// the candidates share in the cache: arithmetic decides. A thread makes the row of one channel of its pixel, in shared
// memory, and then the block multiplies the rows. parts gets [problems, blocks, size].
template <typename T>
__global__ void __launch_bounds__(kFitThreads)
    products_kernel(EditNormalEquations<T> args, FitPlan plan, double* parts) {
  LDIE_DYNAMIC_SHARED(EditStep<T>, program);
  LDIE_SHARED(int, first, [kMostFitSteps + 1]);
  T* const rows = reinterpret_cast<T*>(program + args.sequences.steps + 1);
  const int64_t steps = args.sequences.steps;
  const int thread = int(threadIdx.x);
  for (int64_t problem = blockIdx.y; problem < args.batch * args.candidates; problem += gridDim.y) {
    load_program(args.sequences, problem, program);
    if (thread == 0) {
      first[0] = 0;
      for (int64_t k = 0; k < steps; ++k) {
        first[k + 1] = first[k] + columns_of<T>(given_operator(args.sequences, problem * steps + k));
      }
    }
    __syncthreads();
    if (!args.active[problem] || (args.columns > 0 && first[steps] > args.columns)) continue;
    const int columns = args.columns > 0 ? first[steps] : 0;
    const int64_t offset = problem / args.candidates * 3 * args.pixels;
    double* const part = parts + (problem * gridDim.x + blockIdx.x) * plan.size;
    const PixelColumn<T> row{rows + thread, plan.pixels + 1};
    double loss = 0, distance = 0;
    for (int64_t run = blockIdx.x; run < plan.runs; run += gridDim.x) {
      for (int64_t begin = 0; begin < kFitPixels; begin += plan.pixels) {
        const int64_t pixel = run * args.stride * kFitPixels + begin + thread;
        const bool own = thread < plan.pixels, there = own && pixel < args.pixels;
        Pixel<T> image{}, edited{};
        if (there) {
          load_pixels<1>(args.images + offset, PixelStrides{args.pixels, 1}, pixel, &image);
          edited = image;
          for (int64_t k = 0; k < steps; ++k) run_step<1>(args.sequences, program[k], args.pixels, pixel, &edited);
        }
        for (int64_t c = 0; c < 3; ++c) {
          if (there) {
            const T result = c == 0 ? edited.r : c == 1 ? edited.g : edited.b;
            const T residual = result - args.targets[offset + c * args.pixels + pixel];
            const T size = residual < T(0) ? -residual : residual, threshold = T(args.threshold);
            loss += double(huber_loss(size, threshold));
            distance += double(size);
            const T root = std::sqrt(huber_weight(size, threshold)), none = T(0);
            const Pixel<T> grad = {c == 0 ? root : none, c == 1 ? root : none, c == 2 ? root : none};
            if (columns > 0) pixel_row(args, problem, program, first, image, pixel, grad, row);
            row[columns] = root * residual;
          } else if (own) {
            for (int column = 0; column <= columns; ++column) row[column] = T(0);
          }
          if (columns == 0) continue;
          __syncthreads();
          const bool begins = run == blockIdx.x && begin == 0 && c == 0;
          add_products(rows, columns + 1, plan.pixels, int(args.columns), begins, part);
          __syncthreads();
        }
      }
    }
    loss = block_sum<kFitThreads>(loss);
    distance = block_sum<kFitThreads>(distance);
    if (thread == 0) {
      part[plan.products] = loss;
      part[plan.products + 1] = distance;
    }
  }
}

// One block a problem: adds the parts in their order. Reads the parts, and writes the results.
template <typename T>
__global__ void __launch_bounds__(kFitThreads)
    results_kernel(EditNormalEquations<T> args, FitPlan plan, const double* parts) {
  const int64_t columns = args.columns, thread = threadIdx.x;
  for (int64_t problem = blockIdx.x; problem < args.batch * args.candidates; problem += gridDim.x) {
    const int64_t used = used_columns(args.sequences, problem);
    const bool active = args.active[problem] && plan.runs > 0 && (columns == 0 || used <= columns);
    const double* const first = parts + problem * plan.blocks * plan.size;
    const auto sum = [&](int64_t place) {
      double total = 0;
      for (int64_t block = 0; block < plan.blocks; ++block) total += first[block * plan.size + place];
      return total;
    };
    if (thread < 2) {
      double* const result = thread == 0 ? args.losses : args.distances;
      result[problem] = active ? sum(plan.products + thread) : 0.0;
    }
    for (int64_t at = thread; at < columns * columns; at += kFitThreads) {
      const int64_t row = at / columns, other = at % columns;
      const int64_t later = row < other ? other : row, earlier = row < other ? row : other;
      const bool there = active && later < used;
      args.hessians[problem * columns * columns + at] = there ? sum(later * (columns + 1) + earlier) : 0.0;
    }
    for (int64_t column = thread; column < columns; column += kFitThreads) {
      args.gradients[problem * columns + column] = active && column < used ? sum(used * (columns + 1) + column) : 0.0;
    }
  }
}

}  // namespace

template <typename T>
void edit_normal_equations(const EditNormalEquations<T>& args, Context& context) {
  const int64_t problems = args.batch * args.candidates;
  if (problems == 0) return;
  const FitPlan plan(args);
  double* const parts = context.scratch_array<double>(problems * plan.blocks * plan.size);
  if (plan.runs > 0) {
    LDIE_LAUNCH(products_kernel<T>, dim3(unsigned(plan.blocks), grid_side(problems)), dim3(kFitThreads),
                plan.shared_bytes(args), context.stream, args, plan, parts);
  }
  LDIE_LAUNCH(results_kernel<T>, dim3(grid_side(problems)), dim3(kFitThreads), 0, context.stream, args, plan, parts);
}

LDIE_INSTANTIATE_WIDE(edit_normal_equations, EditNormalEquations);

}  // namespace ldie::editing
