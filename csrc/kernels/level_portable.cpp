// Runs everywhere: whatever the compiler makes of vectors of 16 lanes with the machine's basic instructions.
#define SGL_LEVEL portable
#include "level.inl"

namespace sgl {

const KernelTable* portable_table() { return &portable::kTable; }

}  // namespace sgl
