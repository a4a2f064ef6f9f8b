#include "kv_cache.h"

#include <stdexcept>

namespace sgl {

namespace {

constexpr int64_t kDimMultiple = 16;
constexpr int64_t kMaxDim = 256;  // what the kernels have room for

int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

int64_t padded(int64_t head_dim) { return round_up(head_dim, kDimMultiple); }

// Of the keys or the values of one head and 16 slots.
int64_t tile_bytes(int64_t head_dim, KvDtype dtype) {
  const int64_t dim = padded(head_dim), groups = (dim + kScaledDims - 1) / kScaledDims;
  return kSlotBlock * (dtype == KvDtype::kBf16 ? 2 * dim : dim + 2 * groups);
}

}  // namespace

int64_t slot_block_bytes(const KvLayer& layer) { return 2 * layer.num_kv_heads * layer.tile_bytes; }

KvCache::KvCache(int64_t num_layers, int64_t num_kv_heads, int64_t head_dim, int64_t num_slots, KvDtype dtype)
    : num_slots_(num_slots) {
  if (num_layers < 1 || num_kv_heads < 1 || head_dim < 2 || head_dim % 2 != 0 || head_dim > kMaxDim || num_slots < 1)
    throw std::invalid_argument("a cache needs layers, heads, slots and an even head size of at most 256");
  const int64_t slots = round_up(num_slots, kSlotBlock);
  KvLayer layer{dtype, num_kv_heads, head_dim, padded(head_dim), slots, tile_bytes(head_dim, dtype), nullptr};
  for (int64_t index = 0; index < num_layers; ++index) {
    memory_.emplace_back(size_t(slots / kSlotBlock * slot_block_bytes(layer)), Pages::Size::kSmall);
    layer.blocks = memory_.back().data();
    layers_.push_back(layer);
  }
}

int64_t KvCache::bytes_per_slot(int64_t num_layers, int64_t num_kv_heads, int64_t head_dim, KvDtype dtype) {
  return 2 * num_layers * num_kv_heads * tile_bytes(head_dim, dtype) / kSlotBlock;
}

}  // namespace sgl
