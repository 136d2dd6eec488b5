// SPDX-License-Identifier: Apache-2.0
// A block an image. It counts the slots that are present, finds the last that is kept bit by bit, and a warp lists what
// is not behind it. The floor is one read of the slots and 8 bytes written a place, less than the time of a launch.
#include "core/instantiate.h"
#include "heatmap/peak_bound.cuh"
#include "pyramid/pyramid_cull.h"

namespace ldie::pyramid {
namespace {

using heatmap::kThreads;

// An image's slots as bound_of() takes them, the greatest key first. Those that are not present come after all others,
// also after a NaN, whose order is not 0.
template <typename T>
struct PresentSlots {
  using Key = pyramid::Key<acc_t<T>>;
  using Order = uint32_t;
  const PyramidCull<T>& args;
  int64_t image, count;

  __device__ bool present(int64_t i) const { return args.is_present(image, i); }
  __device__ Key key(int64_t i) const { return present(i) ? Key(~args.key(image, i)) : Key(0); }
  __device__ Order order(int64_t i) const { return present(i) ? ~Order(i) : Order(0); }
};

template <typename T>
__global__ void __launch_bounds__(kThreads) cull_kernel(PyramidCull<T> args) {
  LDIE_SHARED(int, counts, [2][heatmap::kWarps]);
  const PresentSlots<T> slots{args, blockIdx.x, args.slots};
  heatmap::BlockCounter count{counts};
  const int64_t present = count(slots, [&](int64_t i) { return slots.present(i); });
  const int64_t taken = present < args.capacity ? present : args.capacity;
  const auto bound = heatmap::bound_of(slots, args.capacity, count);

  int64_t* const kept = args.kept + slots.image * args.capacity;
  for (int64_t i = taken + threadIdx.x; i < args.capacity; i += kThreads) kept[i] = -1;
  if (threadIdx.x == 0) args.counts[slots.image] = taken;
  if (threadIdx.x >= kWarpSize) return;
  int64_t listed = 0;
  for (int64_t first = 0; first < args.slots; first += kWarpSize) {
    const int64_t i = first + threadIdx.x;
    const bool is_kept = i < args.slots && slots.present(i) && bound.reached(slots.key(i), slots.order(i));
    const uint32_t mask = __ballot_sync(kFullWarp, is_kept);
    if (is_kept) kept[listed + __popc(mask & ((1u << threadIdx.x) - 1))] = i;
    listed += __popc(mask);
  }
}

}  // namespace

template <typename T>
void pyramid_cull(const PyramidCull<T>& args, Context& context) {
  LDIE_LAUNCH(cull_kernel<T>, dim3(unsigned(args.batch)), dim3(kThreads), 0, context.stream, args);
}

LDIE_INSTANTIATE(pyramid_cull, PyramidCull);

}  // namespace ldie::pyramid
