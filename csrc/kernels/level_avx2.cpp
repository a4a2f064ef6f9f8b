// AVX2, FMA and F16C: x86 processors from about 2013 on.
#if defined(SGL_BUILD_AVX2)

#define SGL_LEVEL avx2
#include "level.inl"

#if !defined(SGL_AVX2)
#error "not compiled with the flags of its level"
#endif

namespace sgl {

const KernelTable* avx2_table() { return &avx2::kTable; }

}  // namespace sgl

#endif
