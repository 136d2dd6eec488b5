// SPDX-License-Identifier: Apache-2.0
// The words of error messages.
#pragma once

#include <source_location>
#include <span>
#include <string>

#include "engine/thread.h"

namespace simt {

std::string text(uint3 index);  // (x,y,z)
std::string text(dim3 extent);
std::string text(const std::source_location& where);  // file:line
// "12 threads, first (3,0,0): in __syncwarp with mask 0x0000ffff at file:line", one line for each such group
std::string describe_waiting(std::span<const Thread> threads);

}  // namespace simt
