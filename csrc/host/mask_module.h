// SPDX-License-Identifier: Apache-2.0
// The native half of ldie_ext.coco.mask.
#pragma once

#include <pybind11/pybind11.h>

namespace ldie::host {

void register_masks(pybind11::module_& module);

}  // namespace ldie::host
