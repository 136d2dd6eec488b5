// SPDX-License-Identifier: Apache-2.0
#include "pyramid/pyramid_spawn.h"

#include <cmath>
#include <optional>
#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"
#include "core/wide_tensors.h"

namespace ldie::pyramid {
namespace {

constexpr const char* kOp = "pyramid_spawn";

void check_inputs(const Tensor& coverage_, const Tensor& alive, const std::optional<Tensor>& guide_) {
  const Argument coverage =
      Argument(kOp, "coverage", coverage_).floating().shape({kAnySize, kAnySize, kAnySize}, "[B, h, w]");
  check_map_size(kOp, coverage.size(1), coverage.size(2));
  coverage.fewer_than_2_31(coverage.size(1) * coverage.size(2), "cells an image");
  Argument(kOp, "alive", alive)
      .dtype(ScalarType::Bool)
      .shape({coverage.size(0), kAnySize}, "[B, A], one row per image")
      .device_of(coverage);
  if (!guide_) return;
  const Argument guide =
      Argument(kOp, "guide", *guide_)
          .floating()
          .shape({coverage.size(0), kAnySize, coverage.size(1), coverage.size(2)}, "[B, K, h, w], K maps per coverage")
          .device_of(coverage);
  if (guide.size(1) < 1) guide.fail("must have a class");
}

std::tuple<Tensor, Tensor, Tensor> pyramid_spawn_op(const Tensor& coverage_, const Tensor& alive_,
                                                    const std::optional<Tensor>& guide_, int64_t capacity,
                                                    int64_t max_alive, double threshold, int64_t min_spawn,
                                                    double step) {
  check_inputs(coverage_, alive_, guide_);
  check_positive(kOp, "capacity", capacity);
  if (max_alive < 0) check_failed(kOp, "max_alive must be at least 0, got ", max_alive);
  if (std::isnan(threshold)) check_failed(kOp, "threshold must be a number, got NaN");
  if (min_spawn < 0) check_failed(kOp, "min_spawn must be at least 0, got ", min_spawn);
  check_step(kOp, step);
  const Tensor coverage = as_contiguous(coverage_), alive = as_contiguous(alive_);
  std::optional<Tensor> guide;
  if (guide_) guide = as_dtype(*guide_, acc_dtype(coverage));
  const int64_t batch = coverage.size(0);
  Tensor cells = make_empty(coverage, {batch, capacity}, ScalarType::Long);
  Tensor counts = make_empty(coverage, {batch}, ScalarType::Long);
  Tensor places = make_empty(coverage, {batch, capacity, 2}, ScalarType::Float);

  launch_floating(coverage, [&]<typename T>(Context& context) {
    using A = acc_t<T>;
    pyramid_spawn<T>({.coverage = data<T>(coverage),
                      .guide = guide ? data<A>(*guide) : nullptr,
                      .classes = guide ? guide->size(1) : 0,
                      .births = {.alive = data<uint8_t>(alive),
                                 .batch = batch,
                                 .area = coverage.size(1) * coverage.size(2),
                                 .width = coverage.size(2),
                                 .slots = alive.size(1),
                                 .capacity = capacity,
                                 .max_alive = max_alive,
                                 .min_spawn = min_spawn,
                                 .threshold = A(threshold),
                                 .step = step,
                                 .cells = mutable_data<int64_t>(cells),
                                 .counts = mutable_data<int64_t>(counts),
                                 .places = mutable_data<float>(places)}},
                     context);
  });
  return {cells, counts, places};
}

LDIE_OP(pyramid_spawn, pyramid_spawn_op,
        "(Tensor coverage, Tensor alive, Tensor? guide, SymInt capacity, SymInt max_alive, float threshold, "
        "SymInt min_spawn, float step) -> (Tensor, Tensor, Tensor)");

}  // namespace
}  // namespace ldie::pyramid
