// SPDX-License-Identifier: Apache-2.0
// Shares that hypotheses have of pixels, and which hypotheses are among the best somewhere.
//   softmax: share = e^(l - s) / (sum of e^(l' - s) over the living [+ e^(background - s)]),  s = max of all these;
//   max:     share = 1 / (1 + e^(background - l)), the background 0 where none is given.
// Ties are settled by values: the few largest logits of a pixel give a limit, and how many of those equal to it have
// room beside those above it. A slot is one of the few if its logit is above the limit, or equal while there is room.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "core/context.h"
#include "core/fast_math.h"
#include "core/half.h"
#include "core/integers.h"
#include "core/limits.h"
#include "core/wide_numbers.h"

namespace ldie::pyramid {

enum class ShareMode { kSoftmax, kMax };
constexpr ShareMode last_option(ShareMode) { return ShareMode::kMax; }

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
  A background, floor;  // the background 0 where there is none

  template <typename V>
  LDIE_HD V shift(const V& greatest) const {
    const V most = has_background ? greater_of(V{} + background, greatest) : greatest;
    return most > V{} - kInfinite<A> ? most : V{};
  }
  LDIE_HD A total(A sum, A shift) const { return has_background ? sum + fast_exp(background - shift) : sum; }
  LDIE_HD A share(A logit, const PixelShares<A>& pixel) const {
    if (mode == ShareMode::kSoftmax) return fast_exp(logit - pixel.shift) / pixel.total;
    const A above = logit - background;
    return logistic(above, exp_minus_abs(above)).p;
  }
  LDIE_HD A coverage(A greatest, const PixelShares<A>& pixel) const {
    return greatest > -kInfinite<A> ? share(greatest, pixel) : A(0);
  }
  LDIE_HD bool is_enough(A logit, const PixelShares<A>& pixel) const {
    return !(floor > A(0)) || share(logit, pixel) > floor;
  }
};

// The cell along one axis that a finite position lies in, or the nearest one of the map. In units of cells.
LDIE_HD int64_t nearest_cell(double position, int64_t side) {
  const double cell = std::floor(position), last = double(side - 1);
  return cell >= last ? side - 1 : cell > 0 ? int64_t(cell) : 0;
}

struct SlotRange {
  int64_t begin, end;
};

template <typename T>
struct PyramidCoverage {
  using A = acc_t<T>;
  const T* logits;       // [batch, slots, height, width]
  const bool* alive;     // [batch, slots]
  const int64_t* sizes;  // [batch, 2], or null
  WideNumbers places;    // [batch, slots, 2] x y, or none
  double step;           // of a cell, in the unit of sizes and places
  int64_t batch, slots, height, width;
  int64_t top_k;
  ShareRule<A> rule;
  A* coverage;    // [batch, height, width]
  bool* present;  // [batch, slots]
  A* responses;   // [batch, slots] where there are places

  LDIE_HD int64_t cells() const { return height * width; }
  LDIE_HD int64_t group_slots() const { return ceil_div(slots, kSlotGroups); }
  LDIE_HD SlotRange group(int64_t number) const {
    const int64_t begin = number * group_slots(), end = begin + group_slots();
    return {begin < slots ? begin : slots, end < slots ? end : slots};
  }
  // Whether a cell of the map counts.
  LDIE_HD bool is_inside(int64_t image, int64_t y, int64_t x) const {
    return sizes == nullptr ||
           (double(y) * step < double(sizes[2 * image]) && double(x) * step < double(sizes[2 * image + 1]));
  }
  // The logit of one of all slots at its place.
  LDIE_HD A response(int64_t slot) const {
    const double x = places[2 * slot], y = places[2 * slot + 1];
    if (!alive[slot] || x - x != 0 || y - y != 0 || cells() == 0) return -kInfinite<A>;
    return A(logits[(slot * height + nearest_cell(y / step, height)) * width + nearest_cell(x / step, width)]);
  }
};

template <typename T>
void pyramid_coverage(const PyramidCoverage<T>& args, Context& context);

}  // namespace ldie::pyramid
