// A model's step as a list of instructions, replayed in one parallel region.
#pragma once

#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "kernels/table.h"
#include "kv_cache.h"
#include "memory.h"
#include "packing.h"
#include "thread_pool.h"

namespace sgl {

using Weight = std::shared_ptr<const WeightStorage>;
using Vector = std::shared_ptr<const std::vector<float>>;

// Built once, instruction by instruction, over numbered buffers of rows; then run for every step. A buffer has one row
// per row of the step. Building checks sizes and throws std::invalid_argument; running checks its inputs likewise,
// before anything is computed. Not thread-safe; `run` uses all threads of the pool.
class Program {
 public:
  Program(const KernelTable& kernels, std::shared_ptr<ThreadPool> pool);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // A new buffer of rows of `size` values.
  int buffer(RowKind kind, int64_t size);
  // The kind of rows that products with this weight read.
  RowKind input_kind(const WeightStorage& weight) const { return kernels_.row_kind(weight.view().format); }

  void embed(Weight weight, int output);
  void gather(int output);  // rows `Inputs::gathered_rows` of `Inputs::gathered`
  void rms_norm(int input, Vector weight, float eps, int output);
  void convert(int input, int64_t first_column, int output);
  void silu_and_mul(int input, int output);
  void add(int input, int output);  // output += input
  void matmul(int input, Weight weight, Vector bias, Epilogue epilogue, int output, int64_t first_column);
  // qkv: queries, keys and values side by side. cos_sin: [positions, head_dim].
  void attention(int qkv, int64_t num_heads, float query_scale, Vector cos_sin, std::shared_ptr<const KvCache> cache,
                 int64_t layer, int output);

  struct Inputs {
    StepRows rows{};
    const int64_t* token_ids = nullptr;      // [rows], if the program embeds
    const float* gathered = nullptr;         // [gathered_count, gathered_size], if it gathers
    const int64_t* gathered_rows = nullptr;  // [rows]
    int64_t gathered_count = 0, gathered_size = 0;
  };
  void run(const Inputs& inputs);

  // Rows of a float buffer as the last run left them, valid until the next run.
  const float* values(int buffer) const;
  int64_t size(int buffer) const { return buffers_.at(size_t(buffer)).rows.size; }
  int64_t num_rows() const { return num_rows_; }
  int64_t num_instructions() const { return int64_t(instructions_.size()); }

 private:
  struct Buffer {
    Rows rows;
    Pages memory;
  };
  struct Embed {
    Weight weight;
    int output;
  };
  struct Gather {
    int output;
  };
  struct RmsNorm {
    int input;
    Vector weight;
    float eps;
    int output;
  };
  struct Convert {
    int input;
    int64_t first_column;
    int output;
  };
  struct SiluAndMul {
    int input, output;
  };
  struct Add {
    int input, output;
  };
  struct Matmul {
    int input;
    Weight weight;
    Vector bias;
    Epilogue epilogue;
    int output;
    int64_t first_column;
  };
  struct Attention {
    int qkv;
    int64_t num_heads;
    float query_scale;
    Vector cos_sin;
    std::shared_ptr<const KvCache> cache;
    int64_t layer;
    int queries;  // a bfloat16 buffer
    int output;
  };
  using Instruction = std::variant<Embed, Gather, RmsNorm, Convert, SiluAndMul, Add, Matmul, Attention>;

  // What a thread has fetched before it needs it.
  struct alignas(64) Upcoming {
    Prefetcher weights;   // of the next product, where reading them takes the time: while others are waited for
    Prefetcher contexts;  // keys and values of the next attention: while multiplying, and while others are waited for
    std::vector<Prefetcher::Run> context_runs;  // blocks of slots, of the thread's share of a layer's attention
    Prefetcher::Run weight_run{0, 0};
    const PackedWeight* weight = nullptr;  // that `weights` is aimed at
    const KvLayer* layer = nullptr;        // that `contexts` is aimed at
  };

  const Rows& rows(int buffer) const { return buffers_[size_t(buffer)].rows; }
  void check_buffer(int buffer) const;
  void check_float(int buffer, int64_t least_size) const;
  void check(const Inputs& inputs) const;
  void check_attention(const Attention& instruction, const StepRows& step) const;
  void reserve(int64_t num_rows);
  void plan_attention(const StepRows& step);
  void plan_contexts(const StepRows& step);
  void plan_context(const StepRows& step, int64_t sequence, std::vector<Prefetcher::Run>& runs);
  void find_upcoming();

  // In the region, by all threads.
  void execute(const Embed& instruction, const Inputs& inputs, int thread);
  void execute(const Gather& instruction, const Inputs& inputs, int thread);
  void execute(const RmsNorm& instruction, const Inputs& inputs, int thread);
  void execute(const Convert& instruction, const Inputs& inputs, int thread);
  void execute(const SiluAndMul& instruction, const Inputs& inputs, int thread);
  void execute(const Add& instruction, const Inputs& inputs, int thread);
  void execute(const Matmul& instruction, const Inputs& inputs, int thread);
  void execute(const Attention& instruction, const Inputs& inputs, int thread);
  template <class Body>
  void for_parts(int thread, int64_t count, int64_t grain, Body&& body);
  template <class Body>
  void for_rows(int thread, Body&& body);
  void look_ahead(size_t instruction, int thread);
  void aim_at_weight(const PackedWeight* weight, int thread);

  const KernelTable& kernels_;
  std::shared_ptr<ThreadPool> pool_;
  std::vector<Buffer> buffers_;
  std::vector<Instruction> instructions_;
  std::vector<AttentionTask> tasks_;  // of the step being run, the same for all layers
  std::vector<Pages> scratch_;      // one per thread
  std::vector<Upcoming> upcoming_;  // one per thread
  std::vector<const PackedWeight*> next_weights_;  // per instruction: of the next product after it
  std::vector<const KvLayer*> next_layers_;        // per instruction: of the next attention after it
  std::vector<bool> is_planned_;                   // per block of slots: among somebody's context_runs
  int64_t num_kv_heads_ = 0, num_heads_ = 0;
  int64_t num_rows_ = 0;  // of the last run
  int64_t capacity_ = 0;  // rows that the buffers hold
};

}  // namespace sgl
