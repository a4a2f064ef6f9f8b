// How threads share the attention of some rows of a step, and what each will read for it.
#pragma once

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

struct AttentionPlan {
  std::vector<AttentionTask> tasks;
  // [threads] The blocks of slots that each thread's share of the tasks reads, each block once.
  std::vector<std::vector<Prefetcher::Run>> context_runs;
};

class AttentionPlanner {
 public:
  explicit AttentionPlanner(const ThreadPool& pool) : pool_(pool) {}

  // Replaces `plan` by one for these ranges. Its memory, and the planner's own, are used again.
  void plan(const StepRows& step, const std::vector<RowRange>& ranges, int64_t num_heads, int64_t num_kv_heads,
            AttentionPlan* plan);

 private:
  void plan_tasks(const std::vector<RowRange>& ranges, int64_t num_heads, int64_t num_kv_heads, AttentionPlan* plan) const;
  void plan_contexts(const StepRows& step, AttentionPlan* plan);
  void plan_context(const StepRows& step, int64_t sequence, std::vector<Prefetcher::Run>& runs);

  const ThreadPool& pool_;
  std::vector<bool> is_planned_;  // per block of slots: among somebody's context_runs
};

}  // namespace sgl
