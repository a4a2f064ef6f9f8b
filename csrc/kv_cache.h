// The memory behind the slots: keys and values of every layer.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/table.h"
#include "memory.h"

namespace sgl {

// Of the keys and values of 16 slots, which lie together.
int64_t slot_block_bytes(const KvLayer& layer);

// Room for `num_slots` tokens. Pages cost no memory until a slot in them is written.
class KvCache {
 public:
  KvCache(int64_t num_layers, int64_t num_kv_heads, int64_t head_dim, int64_t num_slots, KvDtype dtype);
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  const KvLayer& layer(int64_t index) const { return layers_[size_t(index)]; }
  int64_t num_layers() const { return int64_t(layers_.size()); }
  int64_t num_slots() const { return num_slots_; }

  static int64_t bytes_per_slot(int64_t num_layers, int64_t num_kv_heads, int64_t head_dim, KvDtype dtype);

 private:
  int64_t num_slots_;
  std::vector<Pages> memory_;
  std::vector<KvLayer> layers_;
};

}  // namespace sgl
