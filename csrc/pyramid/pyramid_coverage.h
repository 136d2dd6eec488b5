// SPDX-License-Identifier: Apache-2.0
// Shares that hypotheses have of pixels, and which hypotheses are among the best somewhere.
//   softmax: share = e^(l - s) / (sum of e^(l' - s) over the living [+ e^(background - s)]),  s = max of all these;
//   max:     share = 1 / (1 + e^-l).
// Ties are settled by values: the few largest logits of a pixel give a limit, and how many of those equal to it have
// room beside those above it. A slot is one of the few if its logit is above the limit, or equal while there is room.
#pragma once

#include <cstdint>
#include <limits>

#include "core/context.h"
#include "core/fast_math.h"
#include "core/half.h"
#include "core/integers.h"
#include "core/limits.h"

namespace ldie::pyramid {

enum class ShareMode { kSoftmax, kMax };
inline ShareMode last_option(ShareMode) { return ShareMode::kMax; }

constexpr int kUsualTop = 3, kMostTop = 8;  // largest logits, in registers

// A pixel's sum is that of so many partial sums over consecutive slots, which CUDA takes side by side.
constexpr int kSlotGroups = 8;

template <typename A>
constexpr A kGreatest = std::numeric_limits<A>::max();

// V is a number or lanes of them, A that number. Of a and NaN the result is the second.
template <typename V>
LDIE_HD V greater_of(const V& a, const V& b) {
  return a > b ? a : b;
}
template <typename V>
LDIE_HD V lesser_of(const V& a, const V& b) {
  return a < b ? a : b;
}

// -inf where there is no claim, else finite.
template <typename A, typename V = A>
LDIE_HD V claimed_logit(const V& logit) {
  return lesser_of(greater_of(logit, V{} - kInfinite<A>), V{} + kGreatest<A>);
}

// Which logits are among the few, in the order of slots.
template <typename V>
struct Claims {
  V limit, room;

  LDIE_HD auto take(const V& logit) {
    const auto equal = logit == limit;
    const auto taken = (logit > limit) | (equal & (room > V{}));
    room = equal ? room - (V{} + 1) : room;
    return taken;
  }
};

// The largest logits of a pixel, falling.
template <typename A, int K, typename V = A>
struct TopLogits {
  V values[K];

  // Of less than K the first places are taken, by what is above all logits.
  LDIE_HD explicit TopLogits(int64_t top_k) {
    for (int i = 0; i < K; ++i) values[i] = V{} + (i < K - top_k ? kInfinite<A> : -kInfinite<A>);
  }
  LDIE_HD void insert(V logit) {
    for (int i = 0; i < K; ++i) {
      const V next = lesser_of(logit, values[i]);
      values[i] = greater_of(logit, values[i]);
      logit = next;
    }
  }
  LDIE_HD V greatest() const {
    const V infinite = V{} + kInfinite<A>;
    V greatest = values[K - 1];
    for (int i = 0; i < K - 1; ++i) greatest = values[i] < infinite ? greater_of(values[i], greatest) : greatest;
    return greatest;
  }
  LDIE_HD Claims<V> claims() const {
    Claims<V> claims{greater_of(values[K - 1], V{} - kGreatest<A>), V{} + K};
    for (int i = 0; i < K; ++i) claims.room = values[i] > claims.limit ? claims.room - (V{} + 1) : claims.room;
    return claims;
  }
};

// What turns a pixel's logits into shares.
template <typename A>
struct PixelShares {
  A shift, total;
};

template <typename A>
struct ShareRule {
  ShareMode mode;
  bool has_background;
  A background, floor;

  template <typename V>
  LDIE_HD V shift(const V& greatest) const {
    const V most = has_background ? greater_of(V{} + background, greatest) : greatest;
    return most > V{} - kInfinite<A> ? most : V{};
  }
  LDIE_HD A total(A sum, A shift) const { return has_background ? sum + fast_exp(background - shift) : sum; }
  LDIE_HD A share(A logit, const PixelShares<A>& pixel) const {
    if (mode == ShareMode::kSoftmax) return fast_exp(logit - pixel.shift) / pixel.total;
    return logistic(logit, exp_minus_abs(logit)).p;
  }
  LDIE_HD A coverage(A greatest, const PixelShares<A>& pixel) const {
    return greatest > -kInfinite<A> ? share(greatest, pixel) : A(0);
  }
  LDIE_HD bool is_enough(A logit, const PixelShares<A>& pixel) const {
    return !(floor > A(0)) || share(logit, pixel) > floor;
  }
};

struct SlotRange {
  int64_t begin, end;
};

template <typename T>
struct PyramidCoverage {
  using A = acc_t<T>;
  const T* logits;       // [batch, slots, height, width]
  const bool* alive;     // [batch, slots]
  const int64_t* sizes;  // [batch, 2], or null
  int64_t batch, slots, height, width;
  int64_t top_k;
  ShareRule<A> rule;
  A* coverage;    // [batch, height, width]
  bool* present;  // [batch, slots]

  LDIE_HD int64_t cells() const { return height * width; }
  LDIE_HD int64_t group_slots() const { return ceil_div(slots, kSlotGroups); }
  LDIE_HD SlotRange group(int64_t number) const {
    const int64_t begin = number * group_slots(), end = begin + group_slots();
    return {begin < slots ? begin : slots, end < slots ? end : slots};
  }
  // Whether a cell of the map counts.
  LDIE_HD bool is_inside(int64_t image, int64_t y, int64_t x) const {
    return sizes == nullptr || (y < sizes[2 * image] && x < sizes[2 * image + 1]);
  }
};

template <typename T>
void pyramid_coverage(const PyramidCoverage<T>& args, Context& context);

}  // namespace ldie::pyramid
