// The module sglang.srt.kernels._native: what Python sees of the kernels. _native.pyi has its types.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "level.h"

namespace nb = nanobind;

void bind_program(nb::module_& module);   // bindings_program.cpp
void bind_sampling(nb::module_& module);  // bindings_sampling.cpp

namespace {

std::vector<std::string> names(const std::vector<const sgl::KernelTable*>& tables) {
  std::vector<std::string> result;
  for (const sgl::KernelTable* table : tables) result.emplace_back(table->name);
  return result;
}

}  // namespace

NB_MODULE(_native, module) {
  nb::set_leak_warnings(false);  // an engine's objects live until its process ends
  module.def("compiled_levels", [] { return names(sgl::compiled_levels()); });
  module.def("usable_levels", [] { return names(sgl::usable_levels()); });
  bind_program(module);
  bind_sampling(module);
}
