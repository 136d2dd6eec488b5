// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>

#include "core/instantiate.h"
#include "core/limits.h"
#include "core/parallel_cpu.h"
#include "editing/fit_stencils_cpu.h"

namespace ldie::editing {
namespace {

// Sums are kept lane by lane over this many runs, and then added to doubles. A problem's runs are shared out in chunks,
// no more than so many, because each leaves sums of its own.
constexpr int64_t kFlushedRuns = 64, kMostChunks = 16, kEnoughChunks = 256;  // of all problems

// Where the runs of a problem are, and what a chunk of them leaves: products [columns + 1, columns + 1], then the sums
// of losses and of |r|.
template <typename A>
struct Chunks {
  int64_t runs, count, products, size;

  static int64_t problems_of(const EditNormalEquations<A>& args) {
    return std::max(args.batch * args.candidates, int64_t(1));
  }

  explicit Chunks(const EditNormalEquations<A>& args)
      : runs(ceil_div(ceil_div(args.pixels, kFitPixels), args.stride)),
        count(std::clamp(std::min(ceil_div(runs, kFlushedRuns), ceil_div(kEnoughChunks, problems_of(args))), int64_t(1),
                         kMostChunks)),
        products((args.columns + 1) * (args.columns + 1)),
        size(products + 2) {}
};

// A thread's memory, for the widest problem.
template <typename A>
struct Bench {
  A* rows;         // [3, columns + 1, kFitPixels], and one of zeros
  Lanes<A>* sums;  // of three groups
  A* planes;       // of a tile with stencils, 0 at first

  static int64_t row_values(int64_t columns) { return (3 * (columns + 1) + 1) * kFitPixels; }
  static int64_t sum_lanes(int64_t columns) {
    const int64_t blocks = ceil_div(columns + 1, kSide);
    return 3 * blocks * (blocks + 1) / 2 * kSide * kSide;
  }
};

template <typename A>
class Chunk {
 public:
  Chunk(const EditNormalEquations<A>& args, int64_t problem, const HaloTiles& widest, const Bench<A>& bench,
        double* part)
      : args_(args),
        program_(args.sequences, problem),
        height_(args.pixels / args.width),
        halo_(halo_of(args.sequences, problem)),
        offset_(problem / args.candidates * 3 * args.pixels),
        rows_{bench.rows + kFitPixels, args.columns == 0 ? 0 : program_.columns()},
        zeros_(bench.rows),
        part_(part) {
    if (halo_ > 0) stencils_.emplace(args.sequences, program_, widest, bench.planes, args.columns > 0);
    if (args.columns == 0) return;  // only losses are asked for
    std::fill(bench.rows, bench.rows + kFitPixels, A(0));
    for (int64_t column = 0; column < rows_.columns; ++column) {
      for (int64_t c = 0; c < 3; ++c) shared_ = shared_ && program_.is_live(column, c);
    }
    Lanes<A>* sums = bench.sums;
    for (int64_t c = 0; c < (shared_ ? 1 : 3); ++c) {
      gather(c);
      groups_[c].sums = sums;
      sums += groups_[c].size();
    }
    std::memset(bench.sums, 0, size_t(sums - bench.sums) * sizeof(Lanes<A>));
  }

  // The chunk of this number, out of so many.
  void run(int64_t at, const Chunks<A>& chunks) {
    if (halo_ > 0 && args_.stride == 1) {
      const HaloTiles tiles = StencilTile<A>::tiles(height_, args_.width, halo_);
      return add_units(tiles.count(), at, chunks.count, kFlushedRuns / kFitTileSize.rows,
                       [&](int64_t tile) { add_tile(tiles.at(tile)); });
    }
    add_units(chunks.runs, at, chunks.count, kFlushedRuns, [&](int64_t run) {
      const int64_t begin = run * args_.stride * kFitPixels;
      halo_ > 0 ? add_rows(begin) : add_run({args_.pixels, begin, std::min(kFitPixels, args_.pixels - begin)});
    });
  }

 private:
  template <typename Body>
  void add_units(int64_t units, int64_t at, int64_t chunks, int64_t flushed, const Body& body) {
    const int64_t end = (at + 1) * units / chunks;
    int64_t unit = at * units / chunks;
    while (unit < end) {
      const int64_t until = std::min(unit + flushed, end);
      for (; unit < until; ++unit) body(unit);
      flush();
    }
  }

  void gather(int64_t c) {
    FitGroup<A>& group = groups_[c];
    for (int64_t column = 0; column < rows_.columns; ++column) {
      if (program_.is_live(column, c)) group.places[group.count++] = column;
    }
    group.places[group.count++] = rows_.columns;
  }

  void add_run(const TilePlace& place) {
    load_tile(args_.images + offset_, place, tiles_[0].rows());
    end_run(place, [](const auto&, const auto&) {});
  }

  // A run's pixels row by row, each as a tile.
  void add_rows(int64_t begin) {
    const int64_t end = std::min(begin + kFitPixels, args_.pixels), width = args_.width;
    while (begin < end) {
      const int64_t y = begin / width, left = begin % width, right = std::min(width, left + end - begin);
      add_tile({height_,
                width,
                {y, y + 1, left, right},
                {std::max<int64_t>(y - halo_, 0), std::min(y + 1 + halo_, height_), std::max<int64_t>(left - halo_, 0),
                 std::min(right + halo_, width)}});
      begin += right - left;
    }
  }

  void add_tile(const HaloTile& frame) {
    stencils_->run(args_.images + offset_, frame, rows_);
    const int64_t left = frame.tile.left;
    for (int64_t y = frame.tile.top; y < frame.tile.bottom; ++y) {
      const TilePlace place = frame.part(y, left, frame.tile.right);
      const int64_t count = round_up(place.count, kLanes<A>);
      const PixelRows<A> pixels = stencils_->pixel_rows(frame, y, left);
      for (int64_t c = 0; c < 3; ++c) {
        A* const channel = tiles_[program_.last_run].channels[c];
        std::copy_n(pixels.channels[c], place.count, channel);
        std::fill(channel + place.count, channel + count, A(0));  // what lies there may be another problem's NaN
      }
      end_run(place, [&](const FitTile<A>* grads, const FitRows<A>& rows) {
        carry_columns(
            program_, program_.last_run, grads, count,
            [&](int64_t c, int64_t column) { return stencils_->column_row(frame, c, column, y, left); },
            [&](int64_t c, int64_t column) { return rows.row(c, column); });
        for (int64_t column = 0; column < program_.first[program_.last_run]; ++column) {
          for (int64_t c = 0; c < 3; ++c)
            std::fill(rows.row(c, column) + place.count, rows.row(c, column) + count, A(0));
        }
      });
    }
  }

  // The last run of steps, on pixels as they are before it; carry() makes the rows of the columns before it.
  template <typename Carry>
  void end_run(const TilePlace& place, const Carry& carry) {
    for (int64_t k = program_.last_run; k < program_.count; ++k) {
      apply_step(args_.sequences, program_.steps[k], place, std::as_const(tiles_[k]).rows(), tiles_[k + 1].rows());
    }
    begin_rows(place);
    if (args_.columns == 0) return;
    for (int64_t k = program_.count - 1; k >= program_.last_run; --k) {
      step_rows(args_.sequences, program_, k, place, tiles_[k], grads_, rows_);
    }
    carry(grads_, rows_);
    for (int64_t c = 0; c < 3; ++c) groups_[shared_ ? 0 : c].add(rows_, c, zeros_, round_up(place.count, kLanes<A>));
  }

  // The residuals and the unit gradients, both times the root of the weight; lanes beyond the image have none.
  void begin_rows(const TilePlace& place) {
    FitTile<A> target;
    load_tile(args_.targets + offset_, place, target.rows());
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
  const int64_t height_, halo_, offset_;
  const FitRows<A> rows_;
  const A* const zeros_;
  double* const part_;
  bool shared_ = true;  // all columns are live in all channels
  FitGroup<A> groups_[3];
  FitTile<A> tiles_[kMostFitSteps + 1], grads_[3];  // tiles_: what each step begins with, and the result
  Lanes<A> losses_{}, distances_{};
  std::optional<StencilTile<A>> stencils_;
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
  const int64_t used = used_columns(args.sequences, problem);
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
  int64_t halo = 0;
  for (int64_t problem = 0; problem < problems; ++problem) halo = std::max(halo, halo_of(args.sequences, problem));
  const HaloTiles widest = StencilTile<T>::tiles(args.pixels > 0 ? args.pixels / args.width : 0, args.width, halo);
  const int64_t numbers = halo > 0 ? StencilTile<T>::numbers(widest, args.columns) : 0;
  T* const planes = context.scratch_array<T>(workers * numbers);
  parallel_workers(workers, [&](const auto& next, int64_t worker) {
    const Bench<T> bench{rows + worker * row_values, sums + worker * sum_lanes, planes + worker * numbers};
    std::fill(bench.planes, bench.planes + numbers, T(0));
    for (int64_t task = next(); task < tasks; task = next()) {
      const int64_t problem = task / chunks.count;
      double* const part = parts + task * chunks.size;
      std::fill(part, part + chunks.size, 0.0);
      if (!args.active[problem] || args.pixels == 0) continue;
      Chunk<T>(args, problem, widest, bench, part).run(task % chunks.count, chunks);
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
