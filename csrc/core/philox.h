// SPDX-License-Identifier: Apache-2.0
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3; SC 2011): random numbers as a
// function of a key and a counter. Whoever asks for the n-th gets the same, on any device and in any order.
#pragma once

#include <cstdint>

#include "core/hd.h"

namespace ldie {

struct RandomWords {
  uint32_t word[4];
};

LDIE_HD RandomWords philox(uint64_t counter, uint64_t key) {
  constexpr uint32_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
  constexpr uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
  constexpr int kRounds = 10;
  RandomWords x{{uint32_t(counter), uint32_t(counter >> 32), 0, 0}};
  uint32_t key0 = uint32_t(key), key1 = uint32_t(key >> 32);
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = uint64_t(kMultiplier0) * x.word[0], product1 = uint64_t(kMultiplier1) * x.word[2];
    x = {{uint32_t(product1 >> 32) ^ x.word[1] ^ key0, uint32_t(product1), uint32_t(product0 >> 32) ^ x.word[3] ^ key1,
          uint32_t(product0)}};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return x;
}

}  // namespace ldie
