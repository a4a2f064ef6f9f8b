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
#include "simd_many.h"
#include "table.h"

namespace sgl {
namespace SGL_LEVEL {

#include "matmul.inl"
#include "elementwise.inl"
#include "attention.inl"
#include "sampling.inl"
#include "highest.inl"

#define SGL_TEXT(word) #word
#define SGL_TEXT_OF(macro) SGL_TEXT(macro)

constexpr KernelTable make_table() {
  KernelTable table{};
  table.name = SGL_TEXT_OF(SGL_LEVEL);
  table.convert = convert;
  table.rms_norm = rms_norm;
  table.silu_and_mul = silu_and_mul;
  table.add = add;
  table.embed = embed;
  table.row_kind = row_kind;
  table.matmul = matmul;
  table.rotate_and_store = rotate_and_store;
  table.attention_scratch_bytes = attention_scratch_bytes;
  table.attend = attend;
  table.join_parts = join_parts;
  table.highest_logit = highest_logit;
  table.copy_allowed_logits = copy_allowed_logits;
  table.weigh_logits = weigh_logits;
  table.gather_tokens = gather_tokens;
  table.share_blocks = share_blocks;
  table.estimate_logits = estimate_logits;
  table.refine_logits = refine_logits;
  return table;
}

constexpr KernelTable kTable = make_table();

}  // namespace SGL_LEVEL
}  // namespace sgl
