#include "level.h"

#include <stdexcept>

namespace sgl {

namespace {

// The compiler's builtin also asks whether the operating system saves the registers. Every processor with AVX2 and FMA
// has F16C; not every compiler can ask for it.
#if defined(SGL_BUILD_AVX2) || defined(SGL_BUILD_AVX_VNNI)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif

#if defined(SGL_BUILD_AVX512)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16") &&
         __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

struct CompiledLevel {
  const KernelTable* table;
  bool is_usable;
};

std::vector<CompiledLevel> all_levels() {
  std::vector<CompiledLevel> levels;
#if defined(SGL_BUILD_AVX512)
  levels.push_back({avx512_table(), has_avx512()});
#endif
#if defined(SGL_BUILD_AVX_VNNI)
  levels.push_back({avx_vnni_table(), has_avx2() && __builtin_cpu_supports("avxvnni")});
#endif
#if defined(SGL_BUILD_AVX2)
  levels.push_back({avx2_table(), has_avx2()});
#endif
  levels.push_back({portable_table(), true});
  return levels;
}

}  // namespace

std::vector<const KernelTable*> compiled_levels() {
  std::vector<const KernelTable*> tables;
  for (const CompiledLevel& level : all_levels()) tables.push_back(level.table);
  return tables;
}

std::vector<const KernelTable*> usable_levels() {
  std::vector<const KernelTable*> tables;
  for (const CompiledLevel& level : all_levels())
    if (level.is_usable) tables.push_back(level.table);
  return tables;
}

const KernelTable& level(const std::string& name) {
  std::string names;
  for (const KernelTable* table : usable_levels()) {
    if (name == table->name) return *table;
    names += std::string(names.empty() ? "" : ", ") + table->name;
  }
  throw std::invalid_argument("level '" + name + "' cannot be used here; usable: " + names);
}

}  // namespace sgl
