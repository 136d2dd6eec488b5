// SPDX-License-Identifier: Apache-2.0
// CPU: eight mask cells at once, as the bits of a byte and as bytes of 0 or 1.
#pragma once

#include <cstdint>
#include <cstring>

namespace ldie {

// 8 bits spread over 8 bytes. Every byte first holds only its own bit; adding 127 carries it to the byte's top.
inline uint64_t spread_8_bits(uint64_t bits) {
  const uint64_t own = ((bits & 0xff) * 0x0101010101010101u) & 0x8040201008040201u;
  return ((own + 0x7f7f7f7f7f7f7f7fu) >> 7) & 0x0101010101010101u;
}

// The inverse: 8 bytes of 0 or 1 to the bits of one. The product brings byte i to bit 56 + i, without a carry.
inline uint64_t gather_8_bits(uint64_t bytes) { return (bytes * 0x0102040810204080u) >> 56; }
inline uint8_t gather_8_bits(const uint8_t* cells) {
  uint64_t bytes;
  memcpy(&bytes, cells, sizeof bytes);
  return uint8_t(gather_8_bits(bytes));
}

}  // namespace ldie
