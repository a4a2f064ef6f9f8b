// The module sglang.srt.kernels._native: what Python sees of the kernels. _native.pyi has its types.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "level.h"

namespace nb = nanobind;

#if __has_include("bindings_program.cpp")
void bind_program(nb::module_& module);
#define SGL_PROGRAM
#endif
#if __has_include("bindings_attention.cpp")
void bind_attention(nb::module_& module);
#define SGL_ATTENTION
#endif
#if __has_include("bindings_sampling.cpp")
void bind_sampling(nb::module_& module);
#define SGL_SAMPLING
#endif

namespace {

std::vector<std::string> names(const std::vector<const sgl::KernelTable*>& tables) {
  std::vector<std::string> result;
  for (const sgl::KernelTable* table : tables) result.emplace_back(table->name);
  return result;
}

}  // namespace

NB_MODULE(_native, module) {
  module.def("compiled_levels", [] { return names(sgl::compiled_levels()); });
  module.def("usable_levels", [] { return names(sgl::usable_levels()); });
#if defined(SGL_PROGRAM)
  bind_program(module);
#endif
#if defined(SGL_ATTENTION)
  bind_attention(module);
#endif
#if defined(SGL_SAMPLING)
  bind_sampling(module);
#endif
}
