// SPDX-License-Identifier: Apache-2.0
#include "pyramid/pyramid_spawn.h"

#include <cmath>
#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::pyramid {
namespace {

constexpr const char* kOp = "pyramid_spawn";

void check_inputs(const Tensor& coverage_, const Tensor& alive) {
  const Argument coverage =
      Argument(kOp, "coverage", coverage_).floating().shape({kAnySize, kAnySize, kAnySize}, "[B, h, w]");
  check_map_size(kOp, coverage.size(1), coverage.size(2));
  coverage.fewer_than_2_31(coverage.size(1) * coverage.size(2), "cells an image");
  Argument(kOp, "alive", alive)
      .dtype(ScalarType::Bool)
      .shape({coverage.size(0), kAnySize}, "[B, A], one row per image")
      .device_of(coverage);
}

std::tuple<Tensor, Tensor> pyramid_spawn_op(const Tensor& coverage_, const Tensor& alive_, int64_t capacity,
                                            int64_t max_alive, double threshold, int64_t min_spawn) {
  check_inputs(coverage_, alive_);
  check_positive(kOp, "capacity", capacity);
  if (max_alive < 0) check_failed(kOp, "max_alive must be at least 0, got ", max_alive);
  if (std::isnan(threshold)) check_failed(kOp, "threshold must be a number, got NaN");
  if (min_spawn < 0) check_failed(kOp, "min_spawn must be at least 0, got ", min_spawn);
  const Tensor coverage = as_contiguous(coverage_), alive = as_contiguous(alive_);
  const int64_t batch = coverage.size(0);
  Tensor cells = make_empty(coverage, {batch, capacity}, ScalarType::Long);
  Tensor counts = make_empty(coverage, {batch}, ScalarType::Long);

  launch_floating(coverage, [&]<typename T>(Context& context) {
    pyramid_spawn<T>({.coverage = data<T>(coverage),
                      .alive = data<uint8_t>(alive),
                      .batch = batch,
                      .area = coverage.size(1) * coverage.size(2),
                      .slots = alive.size(1),
                      .capacity = capacity,
                      .max_alive = max_alive,
                      .min_spawn = min_spawn,
                      .threshold = acc_t<T>(threshold),
                      .cells = mutable_data<int64_t>(cells),
                      .counts = mutable_data<int64_t>(counts)},
                     context);
  });
  return {cells, counts};
}

LDIE_OP(pyramid_spawn, pyramid_spawn_op,
        "(Tensor coverage, Tensor alive, SymInt capacity, SymInt max_alive, float threshold, SymInt min_spawn) -> "
        "(Tensor, Tensor)");

}  // namespace
}  // namespace ldie::pyramid
