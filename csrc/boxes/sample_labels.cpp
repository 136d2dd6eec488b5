// SPDX-License-Identifier: Apache-2.0
#include "boxes/sample_labels.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::boxes {
namespace {

std::tuple<Tensor, Tensor, Tensor> sample_labels_op(const Tensor& matches_, const Tensor& seeds_, int64_t num_samples,
                                                    int64_t max_positives) {
  constexpr const char* op = "sample_labels";
  constexpr int64_t kMostCandidates = (int64_t(1) << 31) - 1;
  check_dtype(op, "matches", matches_, ScalarType::Long);
  check_shape(op, "matches", matches_, {kAnySize, kAnySize}, "[B, A]");
  const int64_t batch = matches_.size(0), count = matches_.size(1);
  check_dtype(op, "seeds", seeds_, ScalarType::Long);
  check_shape(op, "seeds", seeds_, {batch}, "[B], one per image");
  check_same_device(op, "seeds", seeds_, "matches", matches_);
  check_positive(op, "num_samples", num_samples);
  if (max_positives < 0 || max_positives > num_samples) {
    check_failed(op, "max_positives must be between 0 and num_samples, got ", max_positives);
  }
  if (count > kMostCandidates) check_failed(op, "matches must have fewer than 2^31 columns, got ", describe(matches_));

  const Tensor matches = as_contiguous(matches_), seeds = as_contiguous(seeds_);
  Tensor index = make_empty(matches, {batch, num_samples});
  Tensor positive = make_empty(matches, {batch, num_samples}, ScalarType::Bool);
  Tensor counts = make_empty(matches, {batch, 2});
  TensorContext context(matches);
  SampleLabels args;
  args.matches = data<int64_t>(matches);
  args.seeds = data<int64_t>(seeds);
  args.batch = batch;
  args.count = count;
  args.num_samples = num_samples;
  args.max_positives = max_positives;
  args.index = mutable_data<int64_t>(index);
  args.positive = mutable_data<uint8_t>(positive);
  args.counts = mutable_data<int64_t>(counts);
  sample_labels(args, context);
  return {index, positive, counts};
}

LDIE_SCHEMA(
    "sample_labels(Tensor matches, Tensor seeds, SymInt num_samples, SymInt max_positives) -> "
    "(Tensor, Tensor, Tensor)");
LDIE_REGISTER("sample_labels", sample_labels_op)

}  // namespace
}  // namespace ldie::boxes
