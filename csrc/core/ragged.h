// SPDX-License-Identifier: Apache-2.0
// Ragged batches over a flat tensor: image b owns rows offsets[b] .. offsets[b + 1].
#pragma once

#include <cstdint>

#include "core/hd.h"

namespace ldie {

struct RowRange {
  int64_t begin, end;
};

// Clamped to [0, rows): offsets on a GPU cannot be validated without a synchronisation, and must never send a kernel
// out of bounds.
LDIE_HD RowRange row_range(const int64_t* offsets, int64_t image, int64_t rows) {
  int64_t begin = offsets[image], end = offsets[image + 1];
  begin = begin < 0 ? 0 : begin > rows ? rows : begin;
  end = end < begin ? begin : end > rows ? rows : end;
  return {begin, end};
}

}  // namespace ldie
