// A model's step as a list of instructions, replayed in one parallel region.
#pragma once

#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "attention_plan.h"
#include "highest.h"
#include "kernels/table.h"
#include "kv_cache.h"
#include "memory.h"
#include "packing.h"
#include "thread_pool.h"

namespace sgl {

using Weight = std::shared_ptr<const WeightStorage>;
using Vector = std::shared_ptr<const std::vector<float>>;

// Built once, instruction by instruction, over numbered buffers of rows; then run for every step. A buffer has one row
// per row of the step, after `narrow` one per row that is read. Building checks sizes and throws std::invalid_argument;
// running checks its inputs likewise, before anything is computed. Not thread-safe; `run` uses all threads of the pool.
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
  // Of each row the column in which the product with a head is highest, as `HighestSearch` finds it. output: one column.
  void highest(int input, std::shared_ptr<const SplitHead> head, int output);
  // qkv: queries, keys and values side by side. cos_sin: [positions, head_dim].
  void attention(int qkv, int64_t num_heads, float query_scale, Vector cos_sin, std::shared_ptr<const KvCache> cache,
                 int64_t layer, int output);
  // From here on only the rows `Inputs::read_rows` are computed: every row's keys and values are stored by now, and rows
  // meet nowhere else. The attention right before it attends for these rows alone. buffers: what later instructions read
  // of earlier ones, float. At most once in a program.
  void narrow(std::vector<int> buffers);

  struct Inputs {
    StepRows rows{};
    const int64_t* token_ids = nullptr;      // [rows], if the program embeds
    const float* gathered = nullptr;         // [gathered_count, gathered_size], if it gathers
    const int64_t* gathered_rows = nullptr;  // [rows]
    int64_t gathered_count = 0, gathered_size = 0;
    const int64_t* read_rows = nullptr;  // [num_read] ascending, if the program narrows
    int64_t num_read = 0;
  };
  void run(const Inputs& inputs);

  // Rows of a float buffer as the last run left them, valid until the next run.
  const float* values(int buffer) const;
  int64_t size(int buffer) const { return buffers_.at(size_t(buffer)).rows.size; }
  int64_t num_rows() const { return num_results_; }  // of the last run's results
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
  struct Highest {
    int input;
    std::shared_ptr<HighestSearch> search;
    int output;
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
    bool is_narrow = false;  // attends for the rows that are read
  };
  struct Narrow {
    std::vector<int> buffers;
  };
  using Instruction = std::variant<Embed, Gather, RmsNorm, Convert, SiluAndMul, Add, Matmul, Highest, Attention, Narrow>;

  // What a thread does of a run, instruction by instruction.
  struct Turn {
    const Inputs& inputs;
    int thread;
    int64_t num_rows;  // that the instruction computes
  };

  // What a thread has fetched before it needs it.
  struct alignas(64) Upcoming {
    Prefetcher weights;   // of the next product, where reading them takes the time: while others are waited for
    Prefetcher contexts;  // keys and values of the next attention: while multiplying, and while others are waited for
    Prefetcher::Run weight_run{0, 0};
    const PackedWeight* weight = nullptr;  // that `weights` is aimed at
    const Attention* attention = nullptr;  // that `contexts` is aimed at
  };

  const Rows& rows(int buffer) const { return buffers_[size_t(buffer)].rows; }
  void check_buffer(int buffer) const;
  void check_float(int buffer, int64_t least_size) const;
  void check(const Inputs& inputs) const;
  void check_attention(const Attention& instruction, const StepRows& step) const;
  void check_read_rows(const Inputs& inputs) const;
  void need_scratch(size_t bytes);  // of every thread
  void reserve(int64_t num_rows);
  void plan_attention(const Inputs& inputs);
  AttentionPlan& plan(const Attention& attention) { return attention.is_narrow ? narrow_plan_ : plan_; }
  void find_upcoming();

  // In the region: whether the thread is still in it. If not, it must touch nothing more.
  bool execute(const Embed& instruction, const Turn& turn);
  bool execute(const Gather& instruction, const Turn& turn);
  bool execute(const RmsNorm& instruction, const Turn& turn);
  bool execute(const Convert& instruction, const Turn& turn);
  bool execute(const SiluAndMul& instruction, const Turn& turn);
  bool execute(const Add& instruction, const Turn& turn);
  bool execute(const Matmul& instruction, const Turn& turn);
  bool execute(const Highest& instruction, const Turn& turn);
  bool execute(const Attention& instruction, const Turn& turn);
  bool execute(const Narrow& instruction, const Turn& turn);
  template <class Body>
  [[nodiscard]] bool for_parts(int thread, int64_t count, int64_t grain, Body&& body);
  template <class Body>
  [[nodiscard]] bool for_rows(const Turn& turn, Body&& body);
  void look_ahead(size_t instruction, const Turn& turn);
  void aim_at_weight(const PackedWeight* weight, int thread);

  const KernelTable& kernels_;
  std::shared_ptr<ThreadPool> pool_;
  std::vector<Buffer> buffers_;
  std::vector<Instruction> instructions_;
  AttentionPlanner planner_;
  AttentionPlan plan_, narrow_plan_;  // of the step being run, the same for all layers; and of the narrow one
  Pages partials_;                    // of attention in parts
  size_t partial_bytes_ = 0;          // that one result takes
  std::vector<Pages> scratch_;        // one per thread
  std::vector<Upcoming> upcoming_;    // one per thread
  std::vector<const PackedWeight*> next_weights_;  // per instruction: of the next product after it
  std::vector<const Attention*> next_attentions_;  // per instruction: the next one after it
  int64_t num_kv_heads_ = 0, num_heads_ = 0;
  int64_t narrow_at_ = -1;   // the instruction that narrows
  int64_t num_results_ = 0;  // rows that the last run left
  int64_t capacity_ = 0;     // rows that the buffers hold
};

}  // namespace sgl
