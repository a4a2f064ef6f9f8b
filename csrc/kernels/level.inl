// All kernels of one dispatch level, and its table. Included once by each level_*.cpp, which defines SGL_LEVEL and is
// compiled with the level's flags.
//
// Whatever is defined here with a name outside of the level's namespace may end up as the one copy that all levels run,
// instructions that the machine lacks included. So kernels use no templates of the standard library that the compiler
// could emit out of line.
#if !defined(SGL_LEVEL)
#error "define SGL_LEVEL"
#endif

#include "simd.h"
#include "table.h"

namespace sgl {
namespace SGL_LEVEL {

#if __has_include("elementwise.inl") && __has_include("matmul.inl")
#include "matmul.inl"
#include "elementwise.inl"
#define SGL_MATMUL
#endif
#if __has_include("attention.inl")
#include "attention.inl"
#define SGL_ATTENTION
#endif
#if __has_include("sampling.inl")
#include "sampling.inl"
#define SGL_SAMPLING
#endif

#define SGL_TEXT(name) #name
#define SGL_NAME(level) SGL_TEXT(level)

constexpr KernelTable make_table() {
  KernelTable table{};
  table.name = SGL_NAME(SGL_LEVEL);
#if defined(SGL_MATMUL)
  table.convert = convert;
  table.rms_norm = rms_norm;
  table.silu_and_mul = silu_and_mul;
  table.add = add;
  table.embed = embed;
  table.row_kind = row_kind;
  table.matmul = matmul;
#endif
#if defined(SGL_ATTENTION)
  table.rotate_and_store = rotate_and_store;
  table.attention_scratch_bytes = attention_scratch_bytes;
  table.attend = attend;
#endif
#if defined(SGL_SAMPLING)
  table.highest_logit = highest_logit;
  table.copy_allowed_logits = copy_allowed_logits;
  table.weigh_logits = weigh_logits;
  table.gather_tokens = gather_tokens;
#endif
  return table;
}

constexpr KernelTable kTable = make_table();

}  // namespace SGL_LEVEL
}  // namespace sgl
