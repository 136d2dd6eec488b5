// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/instantiate.h"
#include "core/tiles_cpu.h"
#include "losses/spatial_softmax_cross_entropy.h"

namespace ldie::losses {
namespace {

int64_t maps_per_task(int64_t length) {
  constexpr int64_t kCellsPerTask = 1 << 15;
  return kCellsPerTask / (length + 1) + 1;
}

// One pass over the map: a tile is read for its maximum and, still in the first-level cache, for its exponentials.
template <typename T>
SoftmaxNormalizer<acc_t<T>> normalize(const T* map, int64_t length) {
  using A = acc_t<T>;
  OnlineSoftmax<A> total;
  A buffer[kTile], powers[kTile];
  for (int64_t begin = 0; begin < length; begin += kTile) {
    const int64_t count = std::min(kTile, length - begin);
    const A* const x = load_tile(map + begin, count, buffer);
    const A maximum = std::max(total.maximum, tile_maximum(x, count)), shift = OnlineSoftmax<A>::shift(maximum);
    for (int64_t i = 0; i < count; ++i) powers[i] = fast_exp(x[i] - shift);
    total = {maximum, total.rescaled(maximum) + A(tile_sum(powers, count))};
  }
  return total.normalizer();
}

}  // namespace

// Reads the logits of valid maps once, and computes about 25 flops for each.
template <typename T>
void spatial_softmax_cross_entropy(const SpatialSoftmaxLoss<T>& args, Context&) {
  const SpatialSoftmax<T>& inputs = args.inputs;
  parallel_for(inputs.rows, maps_per_task(inputs.length), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      args.normalizers[row] = {0, 0};
      if (inputs.counts(row)) args.normalizers[row] = normalize(inputs.map(row), inputs.length);
    }
  });
  ValidSum total;
  for (int64_t row = 0; row < inputs.rows; ++row) args.add(row, total);
  args.finish(total);
}

// The same reads, and one write of the gradient.
template <typename T>
void spatial_softmax_cross_entropy_backward(const SpatialSoftmaxBackward<T>& args, Context&) {
  using A = acc_t<T>;
  const SpatialSoftmax<T>& inputs = args.inputs;
  parallel_for(inputs.rows, maps_per_task(inputs.length), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      T* const out = args.grad_logits + row * inputs.length;
      if (!inputs.counts(row)) {
        std::fill(out, out + inputs.length, T(0));
        continue;
      }
      const T* const map = inputs.map(row);
      const SoftmaxNormalizer<A> normalizer = args.normalizers[row];
      const A factor = args.factor(row);
      for (int64_t i = 0; i < inputs.length; ++i) out[i] = T(softmax_slope(normalizer, A(map[i]), false, factor));
      const int64_t target = inputs.index[row];
      out[target] = T(softmax_slope(normalizer, A(map[target]), true, factor));
    }
  });
}

LDIE_INSTANTIATE(spatial_softmax_cross_entropy, SpatialSoftmaxLoss);
LDIE_INSTANTIATE(spatial_softmax_cross_entropy_backward, SpatialSoftmaxBackward);

}  // namespace ldie::losses
