// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "editing/fit_stencils.cuh"

namespace ldie::editing {
namespace {

// How the work is cut: pixels whose rows are in shared memory at a time, blocks of a problem, and what each leaves:
// products [columns + 1, columns + 1], then the sums of losses and of |r|. With stencils a block has planes of its own,
// so that there are fewer blocks, for a few problems at a time.
struct FitPlan {
  int64_t runs, products, size, problems, at_once;
  int pixels, blocks;

  template <typename T>
  explicit FitPlan(const EditNormalEquations<T>& args)
      : runs(ceil_div(ceil_div(args.pixels, kFitPixels), args.stride)),
        products((args.columns + 1) * (args.columns + 1)),
        size(products + 2),
        problems(args.batch * args.candidates),
        pixels(kFitThreads) {
    constexpr int64_t kRoom = 40 * 1024, kMostParts = int64_t(1) << 23, kMostPlanes = int64_t(1) << 28, kEnough = 2048;
    while (pixels > 16 && (args.columns + 1) * (pixels + 1) * int64_t(sizeof(T)) > kRoom) pixels /= 2;
    const int64_t planes = std::max(kMostPlanes / plane_bytes(args), int64_t(1));
    const int64_t most = std::min({kMostParts / (problems * size), kEnough / problems, planes});
    blocks = int(std::clamp(most, int64_t(1), std::max(runs, int64_t(1))));
    at_once = std::clamp(planes / blocks, int64_t(1), problems);
  }

  template <typename T>
  size_t shared_bytes(const EditNormalEquations<T>& args) const {
    return program_bytes(args.sequences) + size_t((args.columns + 1) * (pixels + 1)) * sizeof(T);
  }

  template <typename T>
  static int64_t plane_bytes(const EditNormalEquations<T>& args) {
    return args.stencils ? FitPlanes<T>::numbers(args.columns) * int64_t(sizeof(T)) : 1;
  }
};

// Whether a problem is one of these, with or without stencils, and has room.
template <typename T>
__device__ __forceinline__ bool is_wanted(const EditNormalEquations<T>& args, int64_t problem, const int* first,
                                          bool stencils) {
  const bool fits = args.columns == 0 || first[args.sequences.steps] <= args.columns;
  return args.active[problem] && fits && (halo_of(args.sequences, problem) > 0) == stencils;
}

// For n columns there are 3 (n + 1) (n + 2) flops a visited pixel, 7,600 of 35, and 24 bytes of it in float32, which
// the candidates share in the cache: arithmetic decides. A thread makes the row of one channel of its pixel, in shared
// memory, and then the block multiplies the rows. parts gets [problems, blocks, size].
template <typename T>
__global__ void __launch_bounds__(kFitThreads)
    products_kernel(EditNormalEquations<T> args, FitPlan plan, double* parts) {
  LDIE_DYNAMIC_SHARED(EditStep<T>, program);
  LDIE_SHARED(int, first, [kMostFitSteps + 1]);
  T* const rows = behind_program(args.sequences, program);
  for (int64_t problem = blockIdx.y; problem < plan.problems; problem += gridDim.y) {
    load_program(args.sequences, problem, program);
    load_columns(args, problem, first);
    if (!is_wanted(args, problem, first, false)) continue;
    const FitProblem<T> own{args, problem, program, first};
    const T* const images = args.images + problem / args.candidates * 3 * args.pixels;
    FitBatch<T> batch{rows, plan.pixels, parts + (problem * plan.blocks + blockIdx.x) * plan.size};
    batch.clear(plan.size);
    for (int64_t run = blockIdx.x; run < plan.runs; run += gridDim.x) {
      for (int64_t begin = 0; begin < kFitPixels; begin += plan.pixels) {
        const int64_t pixel = run * args.stride * kFitPixels + begin + threadIdx.x;
        const bool there = int(threadIdx.x) < plan.pixels && pixel < args.pixels;
        Pixel<T> image{};
        if (there) load_pixels<1>(images, PixelStrides{args.pixels, 1}, pixel, &image);
        batch.add(own, 0, there, image, pixel, [](const auto&, const auto&) {});
      }
    }
    batch.finish(plan.products);
  }
}

// The same of problems with stencils. Each step before the last stencil is done for a square with its halo and for all
// columns that there are, in planes of the block's own: 12 KB a column in float32, read and written with each stencil.
// With a stride all squares are edited, though few of their pixels are visited.
template <typename T>
__global__ void __launch_bounds__(kFitThreads)
    stencils_kernel(EditNormalEquations<T> args, FitPlan plan, T* planes_memory, double* parts) {
  LDIE_DYNAMIC_SHARED(EditStep<T>, program);
  LDIE_SHARED(int, first, [kMostFitSteps + 1]);
  T* const rows = behind_program(args.sequences, program);
  const int64_t block = int64_t(blockIdx.y) * gridDim.x + blockIdx.x, height = args.pixels / args.width;
  const FitPlanes<T> planes{planes_memory + block * FitPlanes<T>::numbers(args.columns)};
  for (int64_t problem = blockIdx.y; problem < plan.problems; problem += gridDim.y) {
    load_program(args.sequences, problem, program);
    load_columns(args, problem, first);
    if (!is_wanted(args, problem, first, true)) continue;
    const FitProblem<T> own{args, problem, program, first};
    const T* const images = args.images + problem / args.candidates * 3 * args.pixels;
    FitBatch<T> batch{rows, plan.pixels, parts + (problem * plan.blocks + blockIdx.x) * plan.size};
    batch.clear(plan.size);
    int64_t last_run = args.sequences.steps;
    while (!is_stencil(program[last_run - 1].op)) --last_run;
    const SquareTiles<kFitSquare> tiles(height, args.width, stencils_of(program, args.sequences.steps));
    for (int64_t tile = blockIdx.x; tile < tiles.count(); tile += gridDim.x) {
      const Square<kFitSquare> square = tiles.at(tile);
      load_square<kFitThreads>(images, PixelStrides{args.pixels, 1}, square, planes.pixels());
      run_to_last(own, last_run, square, planes);
      for (int begin = 0; begin < kSquarePixels; begin += plan.pixels) {
        const int i = begin + int(threadIdx.x);
        const bool inside = int(threadIdx.x) < plan.pixels && square.in_tile(i);
        const int64_t pixel = inside ? square.pixel(i) : 0;
        const bool there = inside && pixel / kFitPixels % args.stride == 0;
        Pixel<T> image{};
        if (there) image = pixel_at<kFitSquare>(planes.pixels(), i);
        batch.add(own, last_run, there, image, pixel, [&](const Pixel<T>& grad, const PixelColumn<T>& row) {
          for (int column = 0; column < first[last_run]; ++column) {
            row[column] = dot(grad, pixel_at<kFitSquare>(planes.column(column), i));
          }
        });
      }
      __syncthreads();
    }
    batch.finish(plan.products);
  }
}

// One block a problem: adds the parts in their order. Reads the parts, and writes the results.
template <typename T>
__global__ void __launch_bounds__(kFitThreads)
    results_kernel(EditNormalEquations<T> args, FitPlan plan, const double* parts) {
  const int64_t columns = args.columns, thread = threadIdx.x;
  for (int64_t problem = blockIdx.x; problem < plan.problems; problem += gridDim.x) {
    const int64_t used = used_columns(args.sequences, problem);
    const bool done = args.stencils || halo_of(args.sequences, problem) == 0;
    const bool active = args.active[problem] && plan.runs > 0 && (columns == 0 || used <= columns) && done;
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
  if (args.batch * args.candidates == 0) return;
  const FitPlan plan(args);
  double* const parts = context.scratch_array<double>(plan.problems * plan.blocks * plan.size);
  if (plan.runs > 0) {
    LDIE_LAUNCH(products_kernel<T>, dim3(unsigned(plan.blocks), grid_side(plan.problems)), dim3(kFitThreads),
                plan.shared_bytes(args), context.stream, args, plan, parts);
  }
  if (plan.runs > 0 && args.stencils) {
    const dim3 grid(unsigned(plan.blocks), grid_side(plan.at_once));
    T* const planes = context.scratch_array<T>(int64_t(grid.x) * grid.y * FitPlanes<T>::numbers(args.columns));
    LDIE_LAUNCH(stencils_kernel<T>, grid, dim3(kFitThreads), plan.shared_bytes(args), context.stream, args, plan,
                planes, parts);
  }
  LDIE_LAUNCH(results_kernel<T>, dim3(grid_side(plan.problems)), dim3(kFitThreads), 0, context.stream, args, plan,
              parts);
}

LDIE_INSTANTIATE_WIDE(edit_normal_equations, EditNormalEquations);

}  // namespace ldie::editing
