// SPDX-License-Identifier: Apache-2.0
// A block an image. It counts the slots that are alive and the cells that are low, which tells how many cells are
// taken; finds the key of the last of these bit by bit; lists them; and gives each the place that is the number of
// those before it. The floor is one read of the coverage and 16 bytes written a place, less than the time of a launch;
// bit by bit the coverage is read as often as a key has bits, from the cache. Quadratic in the cells taken, some
// hundred.
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "heatmap/peak_bound.cuh"
#include "pyramid/pyramid_spawn.h"

namespace ldie::pyramid {
namespace {

using heatmap::kThreads;

// An image's cells as bound_of() takes them, the greatest key first.
template <typename T>
struct Cells {
  using A = acc_t<T>;
  using Key = pyramid::Key<A>;
  using Order = uint32_t;
  const T* coverage;
  int64_t count;

  __device__ A value(int64_t i) const { return A(coverage[i]); }
  __device__ Key key(int64_t i) const { return Key(~rising_key(value(i))); }
  __device__ Order order(int64_t i) const { return ~Order(i); }
};

template <typename A>
struct Taken {
  Key<A> key;
  uint32_t cell;

  __device__ bool before(const Taken& other) const {
    return key > other.key || (key == other.key && cell < other.cell);
  }
};

struct Slots {
  int64_t count;
};

template <typename T>
__global__ void __launch_bounds__(kThreads)
    spawn_kernel(const T* coverage, Births<acc_t<T>> births, Taken<acc_t<T>>* lists) {
  LDIE_SHARED(int, counts, [2][heatmap::kWarps]);
  LDIE_SHARED(unsigned, listed, );
  const int64_t image = blockIdx.x;
  const Cells<T> cells{coverage + image * births.area, births.area};
  const uint8_t* const alive = births.alive + image * births.slots;
  heatmap::BlockCounter count{counts};
  if (threadIdx.x == 0) listed = 0;
  const int64_t alive_slots = count(Slots{births.slots}, [&](int64_t i) { return alive[i] != 0; });
  const int64_t low = count(cells, [&](int64_t i) { return cells.value(i) < births.threshold; });
  const int64_t open = count(cells, [&](int64_t i) { return cells.value(i) < 1; });
  const int64_t taken = births.taken(alive_slots, low, open);

  Taken<acc_t<T>>* const list = lists + image * births.capacity;
  if (taken > 0) {
    const auto bound = heatmap::bound_of(cells, taken, count);
    for (int64_t i = threadIdx.x; i < births.area; i += kThreads) {
      if (bound.reached(cells.key(i), cells.order(i))) list[atomicAdd(&listed, 1u)] = {cells.key(i), uint32_t(i)};
    }
  }
  __syncthreads();
  const int64_t first_place = image * births.capacity;
  for (int64_t i = threadIdx.x; i < births.capacity; i += kThreads) {
    if (i >= taken) {
      births.leave(first_place + i);
      continue;
    }
    const Taken<acc_t<T>> mine = list[i];
    int64_t place = first_place;
    for (int64_t j = 0; j < taken; ++j) place += list[j].before(mine);
    births.put(place, mine.cell);
  }
  if (threadIdx.x == 0) births.counts[image] = taken;
}

// Reads guide and coverage once and writes a number a cell. As a kernel of its own it has all processors for what may
// be many classes; spawn_kernel would read them again for each bit of its keys.
template <typename T>
__global__ void __launch_bounds__(kThreads) guide_kernel(PyramidSpawn<T> args, acc_t<T>* guided) {
  using A = acc_t<T>;
  const int64_t area = args.births.area, cells = args.births.batch * area;
  for (int64_t i = thread_index<kThreads>(); i < cells; i += grid_threads<kThreads>()) {
    const A* const guide = args.guide + i / area * args.classes * area + i % area;
    A greatest = -kInfinite<A>;
#pragma unroll 8
    for (int64_t k = 0; k < args.classes; ++k) greatest = greater_guide(greatest, guide[k * area]);
    guided[i] = guided_coverage(A(args.coverage[i]), greatest, exp_minus_abs(greatest));
  }
}

template <typename T>
void launch_spawn(const T* coverage, const Births<acc_t<T>>& births, Context& context) {
  auto* const lists = context.scratch_array<Taken<acc_t<T>>>(births.batch * births.capacity);
  LDIE_LAUNCH(spawn_kernel<T>, dim3(unsigned(births.batch)), dim3(kThreads), 0, context.stream, coverage, births,
              lists);
}

}  // namespace

template <typename T>
void pyramid_spawn(const PyramidSpawn<T>& args, Context& context) {
  using A = acc_t<T>;
  if (args.guide == nullptr) return launch_spawn(args.coverage, args.births, context);
  const int64_t cells = args.births.batch * args.births.area;
  A* const guided = context.scratch_array<A>(cells);
  LDIE_LAUNCH(guide_kernel<T>, dim3(grid_blocks(cells, kThreads)), dim3(kThreads), 0, context.stream, args, guided);
  launch_spawn<A>(guided, args.births, context);
}

LDIE_INSTANTIATE(pyramid_spawn, PyramidSpawn);

}  // namespace ldie::pyramid
