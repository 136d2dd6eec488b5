// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "boxes/smallest_cpu.h"
#include "core/instantiate.h"
#include "core/parallel_cpu.h"
#include "pyramid/pyramid_cull.h"

namespace ldie::pyramid {
namespace {

// Floor: a byte read a slot, and of those that are present the score.
template <typename T>
void cull_image(const PyramidCull<T>& args, int64_t image) {
  using Order = boxes::order_t<Key<acc_t<T>>>;
  boxes::Smallest<Order> best(args.capacity);
  for (int64_t slot = 0; slot < args.slots; ++slot) {
    if (args.is_present(image, slot)) best.offer(boxes::order_of(args.key(image, slot), slot));
  }
  int64_t* const kept = args.kept + image * args.capacity;
  int64_t count = 0;
  for (const Order order : best.take(args.capacity)) kept[count++] = boxes::index_of(order);
  std::sort(kept, kept + count);
  std::fill(kept + count, kept + args.capacity, int64_t(-1));
  args.counts[image] = count;
}

}  // namespace

template <typename T>
void pyramid_cull(const PyramidCull<T>& args, Context&) {
  constexpr int64_t kLeastSlotsPerTask = 4096;
  parallel_for(args.batch, 1 + kLeastSlotsPerTask / (args.slots + 1), [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) cull_image(args, image);
  });
}

LDIE_INSTANTIATE(pyramid_cull, PyramidCull);

}  // namespace ldie::pyramid
