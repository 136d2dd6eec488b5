// SPDX-License-Identifier: Apache-2.0
// CPU: the greatest IoU of a ground truth and where it was met, for the low-quality rule. Bounded memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "boxes/match_boxes.h"

namespace ldie::boxes {

// Numbers, of which this many are known exactly; when there are more, blocks of 2, 4, 8, ... All are given back, some
// more than once perhaps.
class Places {
 public:
  bool empty() const { return blocks_.empty(); }
  void clear() {
    blocks_.clear();
    shift_ = 0;
  }

  void add(int64_t place) {
    if (!empty() && blocks_.back() == place >> shift_) return;
    while (blocks_.size() >= kMost) coarsen();
    blocks_.push_back(place >> shift_);
  }

  // Calls body(first, last) for each block of places first .. last - 1.
  template <typename Body>
  void for_each_block(const Body& body) const {
    for (const int64_t block : blocks_) body(block << shift_, (block + 1) << shift_);
  }

 private:
  static constexpr size_t kMost = 256;

  void coarsen() {
    ++shift_;
    for (int64_t& block : blocks_) block >>= 1;
    std::sort(blocks_.begin(), blocks_.end());
    blocks_.erase(std::unique(blocks_.begin(), blocks_.end()), blocks_.end());
  }

  int shift_ = 0;
  std::vector<int64_t> blocks_;
};

template <typename T>
struct Peak {
  T iou = std::numeric_limits<T>::denorm_min();  // above 0, which is no peak
  Places places;                                 // none: no IoU above 0

  // Whether this is the greatest so far, or as great; its places are to be added then.
  bool raise(T other) {
    if (exceeds(other, iou)) {
      iou = other;
      places.clear();
    }
    return !exceeds(iou, other);
  }
};

}  // namespace ldie::boxes
