// SPDX-License-Identifier: Apache-2.0
// CPU: the smallest few of a long stream of items.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace ldie::boxes {

// What items are ordered by in one number: the key, then the index, which has 32 bits at most.
constexpr int kIndexBits = 32;
template <typename Key>
using order_t = std::conditional_t<sizeof(Key) == 4, uint64_t, unsigned __int128>;

template <typename Key>
order_t<Key> order_of(Key key, int64_t index) {
  return order_t<Key>(key) << kIndexBits | order_t<Key>(index);
}
template <typename Order>
int64_t index_of(Order order) {
  return int64_t(uint32_t(order));
}

// Linear in the number of items: those that cannot be among the `limit` smallest cost a comparison, the others pile up
// to about twice the limit before they are cut back. Item is an unsigned integer below its greatest value.
template <typename Item>
class Smallest {
 public:
  explicit Smallest(int64_t limit) : limit_(size_t(limit)), bound_(limit > 0 ? Item(~Item(0)) : Item(0)) {
    items_.reserve(std::min(limit_, kSlack));
  }

  // Items that are not below cannot be among the smallest.
  Item bound() const { return bound_; }

  void offer(Item item) {
    if (item < bound_) insert(item);
  }

  // The `count` smallest offered, or as many as there are, in no order; ends the stream.
  const std::vector<Item>& take(int64_t count) {
    cut(std::min(size_t(count), limit_));
    return items_;
  }

  const std::vector<Item>& take_sorted() {
    cut(limit_);
    std::sort(items_.begin(), items_.end());
    return items_;
  }

 private:
  static constexpr size_t kSlack = 256;  // so that a small limit is not cut back to all the time

  void insert(Item item) {
    items_.push_back(item);
    if (items_.size() < 2 * limit_ + kSlack) return;
    cut(limit_);
    bound_ = *std::max_element(items_.begin(), items_.end());
  }

  void cut(size_t count) {
    if (items_.size() <= count) return;
    std::nth_element(items_.begin(), items_.begin() + std::ptrdiff_t(count), items_.end());
    items_.resize(count);
  }

  size_t limit_;
  Item bound_;
  std::vector<Item> items_;
};

}  // namespace ldie::boxes
