// SPDX-License-Identifier: Apache-2.0
// Columns of upsampled maps, and pixels of their targets. Include it in .cu files.
#pragma once

#include <cstdint>

#include "core/simt.cuh"
#include "losses/gather_upsample_dice.h"

namespace ldie::losses {

// Targets, a type for each form.
struct PackedTargets {
  masks::MaskSet set;
  __device__ bool at(int64_t target, int64_t y, int64_t x) const {
    return set.mask(target)[y * set.row_bytes() + x / 8] >> (x % 8) & 1;
  }
};

struct DenseTargets {
  masks::MaskSet set;
  __device__ bool at(int64_t target, int64_t y, int64_t x) const { return set.mask(target)[y * set.width + x] != 0; }
};

template <typename T>
struct SoftTargets {
  const T* elements;
  int64_t height, width;
  __device__ acc_t<T> at(int64_t target, int64_t y, int64_t x) const {
    return acc_t<T>(elements[(target * height + y) * width + x]);
  }
};

template <typename T, typename Body>
void with_targets(const UpsampledDice<T>& maps, const Body& body) {
  if (maps.soft != nullptr) return body(SoftTargets<T>{maps.soft, maps.vertical.out, maps.horizontal.out});
  if (maps.masks.packed()) return body(PackedTargets{maps.masks});
  body(DenseTargets{maps.masks});
}

// A column of an upsampled map. Samples are asked for in rising order.
template <typename T>
class Column {
 public:
  using A = acc_t<T>;

  __device__ Column(const UpsampledDice<T>& maps, int64_t cell, int64_t x)
      : maps_(maps), cell_(cell), tap_(maps.horizontal.template tap<A>(x)) {}

  __device__ A at(const UpsampleTap<A>& row) {
    if (row.first != held_) {
      upper_ = row.first == held_ + 1 ? lower_ : along(row.first);
      lower_ = along(min(row.first + 1, maps_.height() - 1));
      held_ = row.first;
    }
    return row.between(upper_, lower_);
  }
  __device__ const UpsampleTap<A>& tap() const { return tap_; }  // along the rows

 private:
  __device__ A along(int64_t y) const {
    const T* const row = maps_.logits.row(cell_, y);
    const int64_t stride = maps_.logits.stride_x;
    const int64_t next = min(tap_.first + 1, maps_.width() - 1);
    return tap_.between(value(row[tap_.first * stride]), value(row[next * stride]));
  }
  __device__ A value(T logit) const {
    const A x = A(logit);
    return maps_.sigmoid_first ? logistic(x, exp_minus_abs(x)).p : x;
  }

  const UpsampledDice<T>& maps_;
  int64_t cell_, held_ = -2;
  UpsampleTap<A> tap_;
  A upper_ = A(0), lower_ = A(0);
};

// The rows' taps for all threads; a barrier is between this and what the block did before, and behind it.
template <typename A, int kRows>
__device__ void load_taps(const UpsampleAxis& axis, int64_t begin, int64_t end, UpsampleTap<A> (&taps)[kRows]) {
  __syncthreads();
  if (threadIdx.x < kRows && begin + threadIdx.x < end) taps[threadIdx.x] = axis.tap<A>(begin + threadIdx.x);
  __syncthreads();
}

}  // namespace ldie::losses
