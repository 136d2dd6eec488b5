// SPDX-License-Identifier: Apache-2.0
// From a place in the compiled kernels to file:line.
#pragma once

#include <cstdint>
#include <string>

namespace simt::race {

// A return address as 32 bits, relative to this library.
std::int32_t relative(const void* program_counter);
std::string source_line(std::int32_t relative_program_counter);

}  // namespace simt::race
