// SPDX-License-Identifier: Apache-2.0
// A block an image. It counts the slots that are alive and the cells that are low, which tells how many cells are
// taken; finds the key of the last of these bit by bit; lists them; and gives each the place that is the number of
// those before it. The floor is one read of the coverage and 8 bytes written a place, less than the time of a launch;
// bit by bit the coverage is read as often as a key has bits, from the cache. Quadratic in the cells taken, some
// hundred.
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
__global__ void __launch_bounds__(kThreads) spawn_kernel(PyramidSpawn<T> args, Taken<acc_t<T>>* lists) {
  LDIE_SHARED(int, counts, [2][heatmap::kWarps]);
  LDIE_SHARED(unsigned, listed, );
  const int64_t image = blockIdx.x;
  const Cells<T> cells{args.coverage + image * args.area, args.area};
  const uint8_t* const alive = args.alive + image * args.slots;
  heatmap::BlockCounter count{counts};
  if (threadIdx.x == 0) listed = 0;
  const int64_t alive_slots = count(Slots{args.slots}, [&](int64_t i) { return alive[i] != 0; });
  const int64_t low = count(cells, [&](int64_t i) { return cells.value(i) < args.threshold; });
  const int64_t open = count(cells, [&](int64_t i) { return cells.value(i) < 1; });
  const int64_t taken = args.taken(alive_slots, low, open);

  Taken<acc_t<T>>* const list = lists + image * args.capacity;
  if (taken > 0) {
    const auto bound = heatmap::bound_of(cells, taken, count);
    for (int64_t i = threadIdx.x; i < args.area; i += kThreads) {
      if (bound.reached(cells.key(i), cells.order(i))) list[atomicAdd(&listed, 1u)] = {cells.key(i), uint32_t(i)};
    }
  }
  __syncthreads();
  int64_t* const places = args.cells + image * args.capacity;
  for (int64_t i = threadIdx.x; i < args.capacity; i += kThreads) {
    if (i >= taken) {
      places[i] = -1;
      continue;
    }
    const Taken<acc_t<T>> mine = list[i];
    int64_t place = 0;
    for (int64_t j = 0; j < taken; ++j) place += list[j].before(mine);
    places[place] = mine.cell;
  }
  if (threadIdx.x == 0) args.counts[image] = taken;
}

}  // namespace

template <typename T>
void pyramid_spawn(const PyramidSpawn<T>& args, Context& context) {
  auto* const lists = context.scratch_array<Taken<acc_t<T>>>(args.batch * args.capacity);
  LDIE_LAUNCH(spawn_kernel<T>, dim3(unsigned(args.batch)), dim3(kThreads), 0, context.stream, args, lists);
}

LDIE_INSTANTIATE(pyramid_spawn, PyramidSpawn);

}  // namespace ldie::pyramid
