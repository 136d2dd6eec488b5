// SPDX-License-Identifier: Apache-2.0
// Arguments out of a fuzzer's bytes. Bytes that are not there are zero, so that every string of bytes is a call.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace ldie::host {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : next_(data), end_(data + size) {}

  bool empty() const { return next_ == end_; }
  uint8_t byte() { return next_ < end_ ? *next_++ : uint8_t(0); }

  template <typename T>
  T raw() {
    T value{};
    const size_t size = std::min(sizeof value, size_t(end_ - next_));
    std::memcpy(&value, next_, size);
    next_ += size;
    return value;
  }

  // A height or width: small as a rule, else where integers end.
  int64_t side() {
    constexpr int64_t kExtremes[] = {-1,         INT64_MIN, INT64_MAX,        INT32_MAX,    INT64_C(1) << 31,
                                     UINT32_MAX, 1 << 30,   INT64_C(1) << 32, 46340,        46341,
                                     1 << 16,    INT32_MIN, INT64_C(1) << 62, 1'000'000'007};
    constexpr int kFirstExtreme = 256 - int(sizeof kExtremes / sizeof *kExtremes);
    const int value = byte();
    return value < kFirstExtreme ? value : kExtremes[value - kFirstExtreme];
  }

  // A pixel position as a rule; also fractions, far ones, any bits.
  double coordinate() {
    switch (const uint8_t kind = byte(); kind % 8) {
      case 0: return raw<double>();
      case 1: return raw<float>();
      case 2: return raw<int32_t>();
      case 3: return (kind & 8 ? -1e30 : 1e30) * byte();
      case 4: return kind & 8 ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
      case 5: return raw<int16_t>() / 10.0;  // where COCO's fine grid rounds
      default: return double(int8_t(byte())) / (kind & 8 ? 2 : 1);
    }
  }

  // As long as its first byte says, and no longer than what is left; alone, so that a read beyond its end is seen.
  std::vector<char> text() {
    const size_t wanted = byte(), size = std::min(wanted, size_t(end_ - next_));
    const std::vector<char> found(next_, next_ + size);
    next_ += size;
    return found;
  }

  // Pixels in runs: the top bit of a byte is the pixel, the others how many follow. What is left over is zero.
  std::vector<uint8_t> pixels(size_t count) {
    std::vector<uint8_t> found;
    found.reserve(count);
    while (found.size() < count && !empty()) {
      const uint8_t run = byte();
      const size_t length = std::min<size_t>(1 + (run & 0x7f), count - found.size());
      found.insert(found.end(), length, run & 0x80 ? uint8_t(1 + length) : uint8_t(0));
    }
    found.resize(count, 0);
    return found;
  }

 private:
  const uint8_t *next_, *end_;
};

}  // namespace ldie::host
