// SPDX-License-Identifier: Apache-2.0
// The element types that a launcher is there for, void launcher(const Arguments<T>&, Context&): what
// launch_floating() and its like choose from.
#pragma once

#include "core/context.h"
#include "core/half.h"

#define LDIE_INSTANTIATE_FOR(launcher, Arguments, ...) \
  template void launcher(const Arguments<__VA_ARGS__>&, ::ldie::Context&)

#define LDIE_INSTANTIATE_WIDE(launcher, Arguments)  \
  LDIE_INSTANTIATE_FOR(launcher, Arguments, float); \
  LDIE_INSTANTIATE_FOR(launcher, Arguments, double)

#define LDIE_INSTANTIATE(launcher, Arguments)              \
  LDIE_INSTANTIATE_WIDE(launcher, Arguments);              \
  LDIE_INSTANTIATE_FOR(launcher, Arguments, ::ldie::Half); \
  LDIE_INSTANTIATE_FOR(launcher, Arguments, ::ldie::BFloat16)

// Of two tensors: of one type, or the second in the type that the first, of 16 bits, is computed in.
#define LDIE_INSTANTIATE_PAIRS(launcher, Arguments)                              \
  LDIE_INSTANTIATE_FOR(launcher, Arguments, float, float);                       \
  LDIE_INSTANTIATE_FOR(launcher, Arguments, double, double);                     \
  LDIE_INSTANTIATE_FOR(launcher, Arguments, ::ldie::Half, ::ldie::Half);         \
  LDIE_INSTANTIATE_FOR(launcher, Arguments, ::ldie::Half, float);                \
  LDIE_INSTANTIATE_FOR(launcher, Arguments, ::ldie::BFloat16, ::ldie::BFloat16); \
  LDIE_INSTANTIATE_FOR(launcher, Arguments, ::ldie::BFloat16, float)
