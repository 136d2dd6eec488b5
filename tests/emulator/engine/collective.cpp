// SPDX-License-Identifier: Apache-2.0
#include "engine/collective.h"

#include <algorithm>

namespace simt {
namespace {

using Lanes = Thread* const[kWarpSize];

std::uint64_t combine(WarpOp op, std::uint64_t a, std::uint64_t b) {
  const auto signed_a = static_cast<std::int64_t>(a), signed_b = static_cast<std::int64_t>(b);
  switch (op) {
    case WarpOp::add: return a + b;
    case WarpOp::min_signed: return static_cast<std::uint64_t>(std::min(signed_a, signed_b));
    case WarpOp::max_signed: return static_cast<std::uint64_t>(std::max(signed_a, signed_b));
    case WarpOp::min_unsigned: return std::min(a, b);
    case WarpOp::max_unsigned: return std::max(a, b);
    case WarpOp::all:
    case WarpOp::bit_and: return a & b;
    case WarpOp::any:
    case WarpOp::bit_or: return a | b;
    case WarpOp::bit_xor: return a ^ b;
    default: return 0;
  }
}

std::uint64_t reduce(const Lanes& lanes, WarpOp op) {
  const auto first = std::find_if(std::begin(lanes), std::end(lanes), [](const Thread* t) { return t != nullptr; });
  std::uint64_t total = (*first)->value;
  for (auto lane = first + 1; lane != std::end(lanes); ++lane) {
    if (*lane) total = combine(op, total, (*lane)->value);
  }
  return total;
}

// The lanes whose value satisfies the predicate, as bits.
template <class Predicate>
std::uint64_t lanes_where(const Lanes& lanes, Predicate predicate) {
  std::uint64_t bits = 0;
  for (unsigned i = 0; i < kWarpSize; ++i) {
    if (lanes[i] && predicate(lanes[i]->value)) bits |= std::uint64_t{1} << i;
  }
  return bits;
}

}  // namespace

const Thread* evaluate(Thread* const (&lanes)[kWarpSize]) {
  const WarpOp op = (*std::find_if(std::begin(lanes), std::end(lanes), [](Thread* t) { return t != nullptr; }))->op;
  std::uint64_t common = 0;
  switch (op) {
    case WarpOp::syncwarp:
    case WarpOp::shuffle:
    case WarpOp::match_any: break;
    case WarpOp::ballot: common = lanes_where(lanes, [](std::uint64_t v) { return v != 0; }); break;
    case WarpOp::match_all: {
      const std::uint64_t everyone = lanes_where(lanes, [](std::uint64_t) { return true; });
      const std::uint64_t first = lanes[__builtin_ctzll(everyone)]->value;
      common = lanes_where(lanes, [=](std::uint64_t v) { return v == first; }) == everyone ? everyone : 0;
      break;
    }
    default: common = reduce(lanes, op);
  }
  for (Thread* thread : lanes) {
    if (!thread) continue;
    thread->result = common;
    if (op == WarpOp::shuffle) {
      const Thread* source = lanes[thread->source_lane & static_cast<int>(kWarpSize - 1)];
      if (!source) return thread;
      thread->result = source->value;
    } else if (op == WarpOp::match_any) {
      thread->result = lanes_where(lanes, [=](std::uint64_t v) { return v == thread->value; });
    }
  }
  return nullptr;
}

const char* name_of(WarpOp op) {
  switch (op) {
    case WarpOp::syncwarp: return "__syncwarp";
    case WarpOp::shuffle: return "__shfl_sync";
    case WarpOp::ballot: return "__ballot_sync";
    case WarpOp::any: return "__any_sync";
    case WarpOp::all: return "__all_sync";
    case WarpOp::match_any: return "__match_any_sync";
    case WarpOp::match_all: return "__match_all_sync";
    case WarpOp::add: return "__reduce_add_sync";
    case WarpOp::min_signed:
    case WarpOp::min_unsigned: return "__reduce_min_sync";
    case WarpOp::max_signed:
    case WarpOp::max_unsigned: return "__reduce_max_sync";
    case WarpOp::bit_and: return "__reduce_and_sync";
    case WarpOp::bit_or: return "__reduce_or_sync";
    case WarpOp::bit_xor: return "__reduce_xor_sync";
  }
  return "";
}

}  // namespace simt
