// SPDX-License-Identifier: Apache-2.0
// COCO run-length encoding: a mask read column by column as alternating run lengths, zeros first, written as a string
// of printable characters.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ldie {

// Run lengths of `cells` mask values (zero or not), zeros first; the first may be 0.
std::vector<uint32_t> run_lengths(const uint8_t* mask, int64_t cells);

// COCO's string form: each count (from the fourth on, its difference to the count two before it) in groups of 5 bits,
// low group first, bit 5 set while more follow, plus 48.
std::string encode_counts(const std::vector<uint32_t>& counts);

// The inverse. Throws std::invalid_argument when the string is malformed or its runs do not add up to `cells`.
std::vector<uint32_t> decode_counts(std::string_view text, int64_t cells);

void register_rle(pybind11::module_& module);

}  // namespace ldie
