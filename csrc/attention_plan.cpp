#include "attention_plan.h"

#include <algorithm>

namespace sgl {

namespace {

constexpr int64_t kFewRows = 16;        // rows of a prompt that attend together where larger groups would be too few
constexpr int64_t kTasksPerThread = 8;  // how finely work is dealt out

int64_t num_groups(const RowRange& range, int64_t rows) { return (range.count + rows - 1) / rows; }

int64_t num_groups(const std::vector<RowRange>& ranges, int64_t rows) {
  int64_t groups = 0;
  for (const RowRange& range : ranges) groups += num_groups(range, rows);
  return groups;
}

}  // namespace

std::vector<RowRange> all_rows(const StepRows& step) {
  std::vector<RowRange> ranges;
  for (int64_t sequence = 0; sequence < step.num_sequences; ++sequence)
    ranges.push_back({sequence, step.first_row[sequence], step.row_count[sequence]});
  return ranges;
}

std::vector<RowRange> rows_in_ranges(const StepRows& step, const int64_t* rows, int64_t count) {
  std::vector<RowRange> ranges;
  int64_t sequence = 0;
  for (int64_t i = 0; i < count; ++i) {
    while (rows[i] >= step.first_row[sequence] + step.row_count[sequence]) ++sequence;
    if (!ranges.empty() && ranges.back().sequence == sequence && ranges.back().first + ranges.back().count == rows[i])
      ++ranges.back().count;
    else
      ranges.push_back({sequence, rows[i], 1});
  }
  return ranges;
}

void AttentionPlanner::plan(const StepRows& step, const std::vector<RowRange>& ranges, int64_t num_heads,
                            int64_t num_kv_heads, AttentionPlan* plan) {
  plan_tasks(ranges, num_heads, num_kv_heads, plan);
  plan_contexts(step, plan);
}

// A prompt's rows go in groups, its later ones, which take longer, first. Larger groups read keys and values less often;
// smaller ones keep all threads at work, and where even the smallest are few, each query head is a task of its own.
void AttentionPlanner::plan_tasks(const std::vector<RowRange>& ranges, int64_t num_heads, int64_t num_kv_heads,
                                  AttentionPlan* plan) const {
  plan->tasks.clear();
  const int64_t group = num_heads / num_kv_heads, threads = pool_.num_threads();
  int64_t rows = std::max(kAttentionQueries / group, kFewRows);
  while (rows > kFewRows && num_groups(ranges, rows) * num_kv_heads < kTasksPerThread * threads)
    rows = std::max(rows / 2, kFewRows);
  const int64_t heads_per_task = num_groups(ranges, rows) * num_kv_heads < threads ? 1 : group;
  for (const RowRange& range : ranges) {
    const int64_t groups = num_groups(range, rows);
    for (int64_t part = groups; part-- > 0;)
      for (int64_t head = 0; head < num_heads; head += heads_per_task)
        plan->tasks.push_back(AttentionTask{int32_t(range.sequence), int32_t(range.first + range.count * part / groups),
                                            int32_t(range.first + range.count * (part + 1) / groups),
                                            int32_t(head / group), int32_t(head), int32_t(head + heads_per_task)});
  }
}

// The last to be read are the first to be fetched, so that the first to be read are still in the thread's own cache.
void AttentionPlanner::plan_contexts(const StepRows& step, AttentionPlan* plan) {
  is_planned_.clear();
  plan->context_runs.resize(size_t(pool_.num_threads()));
  const int64_t num_tasks = int64_t(plan->tasks.size());
  for (int thread = 0; thread < pool_.num_threads(); ++thread) {
    std::vector<Prefetcher::Run>& runs = plan->context_runs[size_t(thread)];
    runs.clear();
    int64_t planned = -1;
    for (int64_t task = pool_.share(thread + 1, num_tasks); task-- > pool_.share(thread, num_tasks);) {
      const int64_t sequence = plan->tasks[size_t(task)].sequence;
      if (sequence != planned) plan_context(step, sequence, runs);
      planned = sequence;
    }
  }
}

void AttentionPlanner::plan_context(const StepRows& step, int64_t sequence, std::vector<Prefetcher::Run>& runs) {
  for (int64_t run = step.run_begin[sequence]; run < step.run_begin[sequence + 1]; ++run) {
    const int64_t last = (step.run_start[run] + step.run_length[run] - 1) / kSlotBlock;
    if (int64_t(is_planned_.size()) <= last) is_planned_.resize(size_t(last) + 1);
    for (int64_t block = step.run_start[run] / kSlotBlock; block <= last; ++block) {
      if (is_planned_[size_t(block)]) continue;
      is_planned_[size_t(block)] = true;
      if (!runs.empty() && runs.back().first + runs.back().count == block)
        ++runs.back().count;
      else
        runs.push_back({block, 1});
    }
  }
}

}  // namespace sgl
