#include "kv_cache.h"

#include <stdexcept>

namespace sgl {

namespace {

constexpr int64_t kDimMultiple = 16;
constexpr int64_t kMaxDim = 256;  // what the kernels have room for

int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

int64_t code_bytes(KvDtype dtype) { return dtype == KvDtype::kBf16 ? 2 : 1; }

}  // namespace

int64_t slot_block_bytes(const KvLayer& layer) {
  return 2 * layer.num_kv_heads * kSlotBlock * layer.padded_dim * code_bytes(layer.dtype);
}

KvCache::KvCache(int64_t num_layers, int64_t num_kv_heads, int64_t head_dim, int64_t num_slots, KvDtype dtype)
    : num_slots_(num_slots) {
  if (num_layers < 1 || num_kv_heads < 1 || head_dim < 2 || head_dim % 2 != 0 || head_dim > kMaxDim || num_slots < 1)
    throw std::invalid_argument("a cache needs layers, heads, slots and an even head size of at most 256");
  const int64_t padded_dim = round_up(head_dim, kDimMultiple), slots = round_up(num_slots, kSlotBlock);
  const int64_t codes = 2 * num_kv_heads * slots * padded_dim * code_bytes(dtype);
  const int64_t scales = dtype == KvDtype::kInt8 ? num_kv_heads * slots * int64_t(sizeof(float)) : 0;
  for (int64_t index = 0; index < num_layers; ++index) {
    memory_.emplace_back(size_t(codes + 2 * scales), Pages::Size::kSmall);
    uint8_t* start = memory_.back().data();
    KvLayer layer{dtype, num_kv_heads, head_dim, padded_dim, slots, start, nullptr, nullptr};
    if (dtype == KvDtype::kInt8) {
      layer.key_scales = reinterpret_cast<float*>(start + codes);
      layer.value_scales = reinterpret_cast<float*>(start + codes + scales);
    }
    layers_.push_back(layer);
  }
}

int64_t KvCache::bytes_per_slot(int64_t num_layers, int64_t num_kv_heads, int64_t head_dim, KvDtype dtype) {
  const int64_t scale = dtype == KvDtype::kInt8 ? int64_t(sizeof(float)) : 0;
  return 2 * num_layers * num_kv_heads * (round_up(head_dim, kDimMultiple) * code_bytes(dtype) + scale);
}

}  // namespace sgl
