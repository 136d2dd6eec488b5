// SPDX-License-Identifier: Apache-2.0
// CPU: the greatest IoU of a ground truth and where it was met, for the low-quality rule. Bounded memory.
#pragma once

#include <cstdint>
#include <limits>

namespace ldie::boxes {

// Numbers added in ascending order, of which this many are known exactly; when there are more, blocks of 2, 4, 8, ...
class AscendingPlaces {
 public:
  bool empty() const { return count_ == 0; }
  void clear() { count_ = shift_ = 0; }

  void add(int64_t place) {
    if (has_last(place)) return;
    while (count_ == kMost) coarsen();
    if (!has_last(place)) blocks_[count_++] = place >> shift_;
  }

  // Calls body(first, last) for each block of places first .. last - 1.
  template <typename Body>
  void for_each_block(const Body& body) const {
    for (int i = 0; i < count_; ++i) body(blocks_[i] << shift_, (blocks_[i] + 1) << shift_);
  }

 private:
  static constexpr int kMost = 32;

  bool has_last(int64_t place) const { return count_ > 0 && blocks_[count_ - 1] == place >> shift_; }

  void coarsen() {
    ++shift_;
    int kept = 0;
    for (int i = 0; i < kMost; ++i) {
      const int64_t block = blocks_[i] >> 1;
      if (kept == 0 || blocks_[kept - 1] != block) blocks_[kept++] = block;
    }
    count_ = kept;
  }

  int count_ = 0, shift_ = 0;
  int64_t blocks_[kMost];
};

// NaN is the greatest of all IoUs, and equal to none.
template <typename T>
struct Peak {
  T iou = std::numeric_limits<T>::denorm_min();  // above 0, which is no peak
  AscendingPlaces places;                        // none: no IoU above 0

  void raise(T other, int64_t place) {
    if (iou != iou) return;
    if (other > iou || other != other) {
      iou = other;
      places.clear();
    }
    if (!(other < iou)) places.add(place);
  }
};

}  // namespace ldie::boxes
