// AVX-512 with dot products of bytes (VNNI) and of bfloat16: Zen 4 and later, Sapphire Rapids and later.
#if defined(SGL_BUILD_AVX512)

#define SGL_LEVEL avx512
#include "level.inl"

#if !defined(SGL_AVX512)
#error "not compiled with the flags of its level"
#endif

namespace sgl {

const KernelTable* avx512_table() { return &avx512::kTable; }

}  // namespace sgl

#endif
