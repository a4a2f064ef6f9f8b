// How threads share the attention of some rows of a step, and what each will read for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "kernels/table.h"
#include "thread_pool.h"

namespace sgl {

// Rows [first, first + count) of a step, all of one sequence.
struct RowRange {
  int64_t sequence, first, count;
};

std::vector<RowRange> all_rows(const StepRows& step);
// rows: [count] ascending.
std::vector<RowRange> rows_in_ranges(const StepRows& step, const int64_t* rows, int64_t count);

// A task, and if it is a part the number of the whole; else -1.
struct PlannedTask {
  AttentionTask task;
  int32_t whole;
};

struct AttentionPlan {
  std::vector<PlannedTask> tasks;
  std::vector<int32_t> num_parts;                 // of each task that comes in parts
  std::vector<std::atomic<int32_t>> num_done;     // of its parts in one layer; zero between layers
  int64_t num_partials = 0;
  // [threads] The blocks of slots that each thread's share of the tasks reads, each block once.
  std::vector<std::vector<Prefetcher::Run>> context_runs;

  // Whether the part of the task that was just done is the last of this layer. What the others wrote is visible then.
  bool is_last_part(size_t whole) {
    if (num_done[whole].fetch_add(1, std::memory_order_acq_rel) + 1 < num_parts[whole]) return false;
    num_done[whole].store(0, std::memory_order_relaxed);
    return true;
  }
};

class AttentionPlanner {
 public:
  explicit AttentionPlanner(const ThreadPool& pool) : pool_(pool) {}

  // Replaces `plan` by one for these ranges. Its memory, and the planner's own, are used again.
  void plan(const StepRows& step, const std::vector<RowRange>& ranges, int64_t num_heads, int64_t num_kv_heads,
            AttentionPlan* plan);

 private:
  void plan_tasks(const std::vector<RowRange>& ranges, int64_t num_heads, int64_t num_kv_heads, AttentionPlan* plan) const;
  void split_tasks(const StepRows& step, AttentionPlan* plan);
  void plan_contexts(const StepRows& step, AttentionPlan* plan);
  void plan_context(const StepRows& step, const AttentionTask& task, std::vector<Prefetcher::Run>& runs);

  const ThreadPool& pool_;
  std::vector<PlannedTask> whole_tasks_;
  std::vector<bool> is_planned_;  // per block of slots: among somebody's context_runs
};

}  // namespace sgl
