// SPDX-License-Identifier: Apache-2.0
// CPU: pixels whose three bytes stand side by side, to and from a row of bytes for each channel.
#pragma once

#include <cstdint>
#include <cstring>

namespace ldie::editing {

constexpr int64_t kByteGroup = 16;  // pixels of one turn, and bytes of a register that every machine has
typedef uint8_t Bytes __attribute__((vector_size(kByteGroup)));

inline Bytes load_bytes(const uint8_t* address) {
  Bytes bytes;
  std::memcpy(&bytes, address, sizeof bytes);
  return bytes;
}

inline void store_bytes(uint8_t* address, const Bytes& bytes) { std::memcpy(address, &bytes, sizeof bytes); }

// Byte 3 i + c of three registers is channel c of pixel i. Each list names bytes of two registers, 16 to 31 the
// second's.
inline void split_channels(const uint8_t* pixels, int64_t count, uint8_t* red, uint8_t* green, uint8_t* blue) {
  int64_t i = 0;
  for (; i + kByteGroup <= count; i += kByteGroup) {
    const uint8_t* const group = pixels + 3 * i;
    const Bytes a = load_bytes(group), b = load_bytes(group + kByteGroup), c = load_bytes(group + 2 * kByteGroup);
    const Bytes red_begin = __builtin_shufflevector(a, b, 0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, -1, -1, -1, -1, -1);
    store_bytes(red + i, __builtin_shufflevector(red_begin, c, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 20, 23, 26, 29));
    const Bytes green_begin =
        __builtin_shufflevector(a, b, 1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, -1, -1, -1, -1, -1);
    store_bytes(green + i,
                __builtin_shufflevector(green_begin, c, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 18, 21, 24, 27, 30));
    const Bytes blue_begin = __builtin_shufflevector(a, b, 2, 5, 8, 11, 14, 17, 20, 23, 26, 29, -1, -1, -1, -1, -1, -1);
    store_bytes(blue + i, __builtin_shufflevector(blue_begin, c, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 19, 22, 25, 28, 31));
  }
  for (; i < count; ++i) {
    red[i] = pixels[3 * i];
    green[i] = pixels[3 * i + 1];
    blue[i] = pixels[3 * i + 2];
  }
}

inline void join_channels(const uint8_t* red, const uint8_t* green, const uint8_t* blue, int64_t count,
                          uint8_t* pixels) {
  int64_t i = 0;
  for (; i + kByteGroup <= count; i += kByteGroup) {
    const Bytes r = load_bytes(red + i), g = load_bytes(green + i), b = load_bytes(blue + i);
    uint8_t* const group = pixels + 3 * i;
    const Bytes first = __builtin_shufflevector(r, g, 0, 16, -1, 1, 17, -1, 2, 18, -1, 3, 19, -1, 4, 20, -1, 5);
    store_bytes(group, __builtin_shufflevector(first, b, 0, 1, 16, 3, 4, 17, 6, 7, 18, 9, 10, 19, 12, 13, 20, 15));
    const Bytes second = __builtin_shufflevector(r, g, 21, -1, 6, 22, -1, 7, 23, -1, 8, 24, -1, 9, 25, -1, 10, 26);
    store_bytes(group + kByteGroup,
                __builtin_shufflevector(second, b, 0, 21, 2, 3, 22, 5, 6, 23, 8, 9, 24, 11, 12, 25, 14, 15));
    const Bytes third = __builtin_shufflevector(r, g, -1, 11, 27, -1, 12, 28, -1, 13, 29, -1, 14, 30, -1, 15, 31, -1);
    store_bytes(group + 2 * kByteGroup,
                __builtin_shufflevector(third, b, 26, 1, 2, 27, 4, 5, 28, 7, 8, 29, 10, 11, 30, 13, 14, 31));
  }
  for (; i < count; ++i) {
    pixels[3 * i] = red[i];
    pixels[3 * i + 1] = green[i];
    pixels[3 * i + 2] = blue[i];
  }
}

}  // namespace ldie::editing
