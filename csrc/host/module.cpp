// SPDX-License-Identifier: Apache-2.0
// ldie_ext._host: native code that needs neither torch nor a GPU, for data-loader workers and evaluation scripts.
#include <pybind11/pybind11.h>

#include "host/mask_module.h"

namespace py = pybind11;

namespace {

// How the libraries beside this module were built, for `python -m ldie_ext.info`.
py::dict build_info() {
  py::dict info;
  info["compiler"] = "g++ " __VERSION__;
  info["build_type"] = LDIE_BUILD_TYPE;
  info["cpu_capabilities"] = LDIE_CPU_CAPABILITIES;
  info["torch"] = LDIE_BUILT_TORCH;
  info["cuda"] = LDIE_BUILT_CUDA;
  info["cuda_architectures"] = LDIE_BUILT_ARCHITECTURES;
  return info;
}

}  // namespace

PYBIND11_MODULE(_host, module) {
  module.doc() = "Native helpers of ldie_ext that work on NumPy arrays and bytes.";
  module.def("build_info", &build_info, "How this installation was built.");
  ldie::host::register_masks(module);
}
