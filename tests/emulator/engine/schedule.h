// SPDX-License-Identifier: Apache-2.0
// The order in which blocks, warps and threads take their turns: SIMT_SCHEDULE=forward|reverse|random:<seed>.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace simt {

class Schedule {
 public:
  static Schedule from_environment();  // throws std::runtime_error on a value it does not know

  bool reverse() const { return order_ == Order::reverse; }
  bool random() const { return order_ == Order::random; }

  void reseed(std::uint64_t stream);
  std::uint64_t draw();  // xorshift64
  bool coin() { return draw() >> 32 & 1; }

  // Puts [first, first + count), given in forward order, into this schedule's order.
  template <class T>
  void arrange(T* first, std::size_t count) {
    if (reverse()) {
      for (std::size_t i = 0; i < count / 2; ++i) std::swap(first[i], first[count - 1 - i]);
    } else if (random()) {
      for (std::size_t i = count; i > 1; --i) std::swap(first[i - 1], first[draw() % i]);
    }
  }

 private:
  enum class Order { forward, reverse, random };
  Order order_ = Order::forward;
  std::uint64_t seed_ = 0, state_ = 1;
};

}  // namespace simt
