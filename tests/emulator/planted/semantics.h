// SPDX-License-Identifier: Apache-2.0
// Kernels that show what CUDA's built-ins mean; Python compares their results with the definitions.
#pragma once

#include <string>

namespace semantics {

// Runs the kernel of this name on `data`, whose type and size the kernel and its test agree on.
void run(const std::string& name, void* data, int argument);

}  // namespace semantics
