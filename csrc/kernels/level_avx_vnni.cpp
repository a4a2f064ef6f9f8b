// AVX2 with dot products of bytes and words (AVX-VNNI): Alder Lake and later, which lack AVX-512, and Zen 5.
#if defined(SGL_BUILD_AVX_VNNI)

#define SGL_LEVEL avx_vnni
#include "level.inl"

#if !defined(SGL_AVX2) || !defined(__AVXVNNI__)
#error "not compiled with the flags of its level"
#endif

namespace sgl {

const KernelTable* avx_vnni_table() { return &avx_vnni::kTable; }

}  // namespace sgl

#endif
