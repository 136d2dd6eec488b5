// SPDX-License-Identifier: Apache-2.0
// CUDA C++ for a host compiler: what a .cu file finds instead of cuda_runtime.h when the emulator runs it.
#pragma once

#include "simt/atomics.h"
#include "simt/engine.h"
#include "simt/intrinsics.h"
#include "simt/language.h"
#include "simt/types.h"
#include "simt/warp.h"
