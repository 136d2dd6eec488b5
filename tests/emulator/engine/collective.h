// SPDX-License-Identifier: Apache-2.0
// The results of warp collectives.
#pragma once

#include "engine/thread.h"

namespace simt {

// lanes[i] takes part as lane i, or is null. All wait in the same op. Gives every thread its result; returns the
// thread that reads a lane that does not take part, or null when all is well.
const Thread* evaluate(Thread* const (&lanes)[kWarpSize]);

const char* name_of(WarpOp op);

}  // namespace simt
