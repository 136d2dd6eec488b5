// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "ragged/integers.h"

namespace ldie::ragged {

void integers(const Integers& args, Context&) { std::copy_n(args.values, args.count, args.out); }

}  // namespace ldie::ragged
