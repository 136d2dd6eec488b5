// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/instantiate.h"
#include "core/limits.h"
#include "core/parallel_cpu.h"
#include "editing/fit_tiles_cpu.h"

namespace ldie::editing {
namespace {

// Sums are kept lane by lane over this many runs, and then added to doubles. A problem's runs are shared out in chunks,
// no more than so many, because each leaves sums of its own.
constexpr int64_t kFlushedRuns = 64, kMostChunks = 16;

// Where the runs of a problem are, and what a chunk of them leaves: products [columns + 1, columns + 1], then the sums
// of losses and of |r|.
template <typename A>
struct Chunks {
  int64_t runs, count, products, size;

  explicit Chunks(const EditNormalEquations<A>& args)
      : runs(ceil_div(ceil_div(args.pixels, kFitPixels), args.stride)),
        count(std::clamp(ceil_div(runs, kFlushedRuns), int64_t(1), kMostChunks)),
        products((args.columns + 1) * (args.columns + 1)),
        size(products + 2) {}
};

// A thread's memory, for the widest problem.
template <typename A>
struct Bench {
  A* rows;         // [3, columns + 1, kFitPixels], and one of zeros
  Lanes<A>* sums;  // of three groups

  static int64_t row_values(int64_t columns) { return (3 * (columns + 1) + 1) * kFitPixels; }
  static int64_t sum_lanes(int64_t columns) {
    const int64_t blocks = ceil_div(columns + 1, kSide);
    return 3 * blocks * (blocks + 1) / 2 * kSide * kSide;
  }
};

template <typename A>
class Chunk {
 public:
  Chunk(const EditNormalEquations<A>& args, int64_t problem, const Bench<A>& bench, double* part)
      : args_(args),
        program_(args.sequences, problem),
        offset_(problem / args.candidates * 3 * args.pixels),
        rows_{bench.rows + kFitPixels, args.columns == 0 ? 0 : program_.columns},
        zeros_(bench.rows),
        part_(part) {
    if (args.columns == 0) return;  // only losses are asked for
    std::fill(bench.rows, bench.rows + kFitPixels, A(0));
    for (int64_t k = 0; k < program_.count; ++k) {
      shared_ = shared_ && !(program_.apart[k] && program_.steps[k].op == EditOp::kColorCurve);
    }
    Lanes<A>* sums = bench.sums;
    for (int64_t c = 0; c < (shared_ ? 1 : 3); ++c) {
      gather(c);
      groups_[c].sums = sums;
      sums += groups_[c].size();
    }
    std::memset(bench.sums, 0, size_t(sums - bench.sums) * sizeof(Lanes<A>));
  }

  void add_runs(int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t until = std::min(begin + kFlushedRuns, end);
      for (; begin < until; ++begin) add_run(begin * args_.stride * kFitPixels);
      flush();
    }
  }

 private:
  void gather(int64_t c) {
    FitGroup<A>& group = groups_[c];
    for (int64_t k = 0; k < program_.count; ++k) {
      const int64_t next = k + 1 < program_.count ? program_.first[k + 1] : program_.columns;
      for (int64_t column = program_.first[k]; column < next; ++column) {
        if (program_.is_live(k, column, c)) group.places[group.count++] = column;
      }
    }
    group.places[group.count++] = program_.columns;
  }

  void add_run(int64_t begin) {
    const TilePlace place{args_.pixels, begin, std::min(kFitPixels, args_.pixels - begin)};
    load_tile(args_.images + offset_, place, tiles_[0]);
    for (int64_t k = 0; k < program_.count; ++k) {
      apply_step(args_.sequences, program_.steps[k], place, std::as_const(tiles_[k]).rows(), tiles_[k + 1].rows());
    }
    begin_rows(place);
    if (args_.columns == 0) return;
    for (int64_t k = program_.count - 1; k >= 0; --k) {
      step_rows(args_.sequences, program_, k, place, tiles_[k], grads_, rows_);
    }
    for (int64_t c = 0; c < 3; ++c) groups_[shared_ ? 0 : c].add(rows_, c, zeros_, round_up(place.count, kLanes<A>));
  }

  // The residuals and the unit gradients, both times the root of the weight; lanes beyond the image have none.
  void begin_rows(const TilePlace& place) {
    FitTile<A> target;
    load_tile(args_.targets + offset_, place, target);
    std::memset(grads_, 0, sizeof grads_);
    const A threshold = A(args_.threshold);
    const bool robust = threshold < kInfinite<A>;
    for (int64_t c = 0; c < 3; ++c) {
      A* const residuals = rows_.row(c, rows_.columns);
      for (int64_t i = 0; i < place.count; i += kLanes<A>) {
        const Lanes<A> residual =
            load_lanes(tiles_[program_.count].channels[c] + i) - load_lanes(target.channels[c] + i);
        Lanes<A> there = all_lanes(A(1));
        for (int64_t lane = place.count - i; lane < kLanes<A>; ++lane) there[lane] = 0;
        const Lanes<A> size = there * maximum(residual, -residual);
        losses_ += huber_loss(size, threshold);
        distances_ += size;
        const Lanes<A> root = robust ? there * root_of(huber_weight(size, threshold)) : there;
        const Lanes<A> weighed = root * residual;
        std::memcpy(grads_[c].channels[c] + i, &root, sizeof root);
        std::memcpy(residuals + i, &weighed, sizeof weighed);
      }
    }
  }

  static Lanes<A> root_of(Lanes<A> values) {
    for (int64_t lane = 0; lane < kLanes<A>; ++lane) values[lane] = std::sqrt(values[lane]);
    return values;
  }

  void flush() {
    double* const sums = part_ + (args_.columns + 1) * (args_.columns + 1);
    for (int64_t lane = 0; lane < kLanes<A>; ++lane) {
      sums[0] += double(losses_[lane]);
      sums[1] += double(distances_[lane]);
    }
    losses_ = distances_ = Lanes<A>{};
    if (args_.columns == 0) return;
    for (int64_t c = 0; c < (shared_ ? 1 : 3); ++c) groups_[c].flush(part_, args_.columns);
  }

  const EditNormalEquations<A>& args_;
  const FitProgram<A> program_;
  const int64_t offset_;
  const FitRows<A> rows_;
  const A* const zeros_;
  double* const part_;
  bool shared_ = true;  // all columns are live in all channels
  FitGroup<A> groups_[3];
  FitTile<A> tiles_[kMostFitSteps + 1], grads_[3];  // tiles_: what each step begins with, and the result
  Lanes<A> losses_{}, distances_{};
};

// From a problem's parts, in their order, to its rows of the results. The residuals' products are behind the columns'.
template <typename A>
void finish_problem(const EditNormalEquations<A>& args, const Chunks<A>& chunks, int64_t problem, double* parts) {
  double* const sums = parts;
  for (int64_t chunk = 1; chunk < chunks.count; ++chunk) {
    for (int64_t i = 0; i < chunks.size; ++i) sums[i] += parts[chunk * chunks.size + i];
  }
  args.losses[problem] = sums[chunks.products];
  args.distances[problem] = sums[chunks.products + 1];
  const int64_t columns = args.columns;
  double* const gradient = args.gradients + problem * columns;
  double* const hessian = args.hessians + problem * columns * columns;
  const int64_t used = FitProgram<A>(args.sequences, problem).columns;
  for (int64_t row = 0; row < columns; ++row) {
    gradient[row] = row < used ? sums[used * (columns + 1) + row] : 0.0;
    for (int64_t other = 0; other <= row; ++other) {
      const double product = row < used ? sums[row * (columns + 1) + other] : 0.0;
      hessian[row * columns + other] = hessian[other * columns + row] = product;
    }
  }
}

}  // namespace

// Of each visited pixel it reads 24 bytes in float32 for each candidate, from the cache. For n columns that are live in
// a channel, and the residuals, there are 3 (n + 1) (n + 2) flops, 7,600 of 35 columns, beside some 100 to 300 a step:
// what decides are multiplications in registers, kSide rows by kSide at a time.
template <typename T>
void edit_normal_equations(const EditNormalEquations<T>& args, Context& context) {
  const Chunks<T> chunks(args);
  const int64_t problems = args.batch * args.candidates, tasks = problems * chunks.count;
  const int64_t workers = std::min(num_threads(), tasks);
  double* const parts = context.scratch_array<double>(tasks * chunks.size);
  const int64_t row_values = Bench<T>::row_values(args.columns), sum_lanes = Bench<T>::sum_lanes(args.columns);
  T* const rows = context.scratch_array<T>(workers * row_values);
  auto* const sums = context.scratch_array<Lanes<T>>(workers * sum_lanes);
  parallel_workers(workers, [&](const auto& next, int64_t worker) {
    const Bench<T> bench{rows + worker * row_values, sums + worker * sum_lanes};
    for (int64_t task = next(); task < tasks; task = next()) {
      const int64_t problem = task / chunks.count, at = task % chunks.count;
      double* const part = parts + task * chunks.size;
      std::fill(part, part + chunks.size, 0.0);
      if (!args.active[problem]) continue;
      Chunk<T> chunk(args, problem, bench, part);
      chunk.add_runs(at * chunks.runs / chunks.count, (at + 1) * chunks.runs / chunks.count);
    }
  });
  parallel_for(problems, 16, [&](int64_t begin, int64_t end) {
    for (int64_t problem = begin; problem < end; ++problem) {
      finish_problem(args, chunks, problem, parts + problem * chunks.count * chunks.size);
    }
  });
}

LDIE_INSTANTIATE_WIDE(edit_normal_equations, EditNormalEquations);

}  // namespace ldie::editing
