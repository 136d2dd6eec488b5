// SPDX-License-Identifier: Apache-2.0
// Run lengths of dense masks, a byte a pixel, any but 0 counting as one.
#pragma once

#include <cstdint>
#include <vector>

namespace ldie::host {

// Of `cells` pixels that lie one after the other, zeros first; the first run may be 0 long.
std::vector<uint32_t> scan_columns(const uint8_t* mask, int64_t cells);

// The same for a mask that lies row by row, rows `stride` bytes apart.
std::vector<uint32_t> scan_rows(const uint8_t* mask, int64_t height, int64_t width, int64_t stride);

}  // namespace ldie::host
