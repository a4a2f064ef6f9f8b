#include <algorithm>
#include <numeric>

#include "exercise.h"
#include "ranking.h"
#include "step.h"

namespace sgl::exercise {

namespace {

struct Heads {
  int64_t queries, keys, dim;

  int64_t qkv() const { return (queries + 2 * keys) * dim; }
  int64_t padded_dim() const { return (dim + kLaneDims - 1) / kLaneDims * kLaneDims; }

 private:
  static constexpr int64_t kLaneDims = 16;
};

// A layer's cache, every array exactly as long as it must be. Slots hold garbage before something is stored in them.
class Cache {
 public:
  Cache(KvDtype dtype, const Heads& heads, int64_t num_slots) {
    const int64_t dim = heads.padded_dim(), groups = (dim + kScaledDims - 1) / kScaledDims;
    const int64_t tile_bytes = kSlotBlock * (dtype == KvDtype::kBf16 ? 2 * dim : dim + 2 * groups);
    const int64_t size = 2 * heads.keys * (num_slots / kSlotBlock) * tile_bytes;
    const bool is_padded = heads.dim != heads.padded_dim();  // the padding is zero
    blocks_ = is_padded ? std::vector<uint8_t>(size_t(size)) : poisoned<uint8_t>(size);
    view_ = {dtype, heads.keys, heads.dim, dim, num_slots, tile_bytes, blocks_.data()};
  }
  const KvLayer& view() const { return view_; }

 private:
  std::vector<uint8_t> blocks_;
  KvLayer view_;
};

std::vector<float> cosines_and_sines(int64_t positions, int64_t dim, Random& random) {
  std::vector<float> table(size_t(positions * dim));
  for (float& value : table) value = float(random.uniform(-1, 1));
  return table;
}

class Attention {
 public:
  Attention(const KernelTable& kernels, const Heads& heads, const std::vector<float>& cos_sin, Random& random)
      : kernels_(kernels), heads_(heads), cos_sin_(cos_sin), random_(random) {}

  // What one step leaves: [rows, heads * dim].
  std::vector<float> compute(const Step& step, const Cache& cache, const std::vector<float>& qkv) {
    std::vector<uint16_t> queries = poisoned<uint16_t>(step.num_rows() * heads_.queries * heads_.padded_dim());
    const RotaryArgs rotary{qkv.data(), heads_.qkv(), heads_.queries, cos_sin_.data(), 0.3f, queries.data()};
    kernels_.rotate_and_store(rotary, cache.view(), step.view(), 0, step.num_rows());
    std::vector<float> output = poisoned<float>(step.num_rows() * heads_.queries * heads_.dim);
    const AlignedArray<uint8_t> scratch(int64_t(kernels_.attention_scratch_bytes(cache.view())));
    for (const AttentionTask& task : tasks(step)) {
      const int64_t blocks = step.view().positions[task.row_end - 1] / kContextBlock + 1;
      const AlignedArray<float> partials(task.num_queries() * blocks * partial_size(cache.view().padded_dim));
      const AttentionArgs args{queries.data(), heads_.queries, output.data(), partials.data()};
      const auto attend = [&](const AttentionTask& part) {
        kernels_.attend(args, cache.view(), step.view(), part, scratch.data());
      };
      if (random_.integer(0, 1) == 0) {
        attend(task);
        continue;
      }
      AttentionTask part = task;
      part.num_blocks = int32_t(blocks);
      for (part.block_begin = 0; part.block_begin < blocks; part.block_begin = part.block_end) {
        part.block_end = int32_t(random_.integer(part.block_begin + 1, blocks));
        attend(part);
      }
      kernels_.join_parts(args, cache.view(), step.view(), part, scratch.data());
    }
    return output;
  }

 private:
  std::vector<AttentionTask> tasks(const Step& step) {
    const int64_t group = heads_.queries / heads_.keys;
    std::vector<AttentionTask> result;
    for (int64_t sequence = 0; sequence < step.num_sequences(); ++sequence) {
      const int64_t last = step.first_row(sequence) + step.row_count(sequence);
      for (int64_t row = step.first_row(sequence), end; row < last; row = end) {
        end = std::min(last, row + random_.integer(1, 60));
        for (int64_t head = 0, next; head < heads_.queries; head = next) {
          next = std::min((head / group + 1) * group, head + random_.integer(1, group));
          result.push_back({int32_t(sequence), int32_t(row), int32_t(end), int32_t(head / group), int32_t(head),
                            int32_t(next), 0, 0, 0, 0});
        }
      }
    }
    return result;
  }

  const KernelTable& kernels_;
  const Heads heads_;
  const std::vector<float>& cos_sin_;
  Random& random_;
};

}  // namespace

void attention(const KernelTable& kernels, Random& random) {
  constexpr int64_t kDims[] = {6, 16, 64, 80, 128};
  constexpr KvDtype kDtypes[] = {KvDtype::kBf16, KvDtype::kInt8};
  const int64_t num_kv_heads = random.integer(1, 2);
  const Heads heads{num_kv_heads * random.integer(1, 4), num_kv_heads, random.one_of(kDims)};
  const KvDtype dtype = random.one_of(kDtypes);
  constexpr int64_t kNumSlots = 1280, kLongest = 600;
  const std::vector<int64_t> lengths{random.integer(1, kLongest), random.integer(1, kLongest)};
  std::vector<int64_t> split;
  for (const int64_t length : lengths) split.push_back(random.integer(0, length));
  const int64_t num_tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t(0));
  const std::vector<int64_t> start(lengths.size(), 0);
  const std::vector<float> qkv = random.normals(num_tokens * heads.qkv());
  const std::vector<float> cos_sin = cosines_and_sines(kLongest, heads.dim, random);
  Attention attention(kernels, heads, cos_sin, random);

  // Every sequence in the given chunks, in slots and pieces of their own.
  const auto compute = [&](const std::vector<std::vector<int64_t>>& chunk_ends) {
    const Cache cache(dtype, heads, kNumSlots);
    const std::vector<SlotsByPosition> slots = scatter(lengths, kNumSlots, random);
    std::vector<float> output = poisoned<float>(num_tokens * heads.queries * heads.dim);
    std::vector<int64_t> begin = start;
    for (const std::vector<int64_t>& end : chunk_ends) {
      const Step step(slots, begin, end);
      scatter(step, attention.compute(step, cache, gather(step, qkv, heads.qkv())), heads.queries * heads.dim, &output);
      begin = end;
    }
    return output;
  };
  const std::vector<float> whole = compute({lengths});
  require_written(whole, "attention");
  require_same_bits(whole, compute({split, lengths}), "attention in chunks");
}

}  // namespace sgl::exercise
