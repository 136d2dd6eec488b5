// SPDX-License-Identifier: Apache-2.0
// The tensor side of polygons: what all ops that take them check.
#pragma once

#include "core/argument_tensors.h"
#include "core/tensors.h"
#include "masks/polygon_set.h"

namespace ldie::masks {

// Contiguous tensors that outlive the PolygonSet over them.
class PolygonTensors {
 public:
  PolygonTensors(const char* op, const Tensor& coords, const Tensor& part_offsets, const Tensor& instance_offsets)
      : coords_(as_contiguous(coords)),
        part_offsets_(as_contiguous(part_offsets)),
        instance_offsets_(as_contiguous(instance_offsets)) {
    check_dtype(op, "coords", coords, ScalarType::Double);
    check_shape(op, "coords", coords, {kAnySize, 2}, "[P, 2]");
    check_same_device(op, "part_offsets", part_offsets, "coords", coords);
    check_same_device(op, "instance_offsets", instance_offsets, "coords", coords);
    check_offsets(op, part_offsets, coords.size(0), "part_offsets", "points");
    check_offsets(op, instance_offsets, part_offsets.size(0) - 1, "instance_offsets", "parts");
  }

  int64_t instances() const { return instance_offsets_.size(0) - 1; }

  PolygonSet set() const {
    PolygonSet set;
    set.coords = data<double>(coords_);
    set.part_offsets = data<int64_t>(part_offsets_);
    set.instance_offsets = data<int64_t>(instance_offsets_);
    set.points = coords_.size(0);
    set.parts = part_offsets_.size(0) - 1;
    set.instances = instances();
    return set;
  }

 private:
  Tensor coords_, part_offsets_, instance_offsets_;
};

}  // namespace ldie::masks
