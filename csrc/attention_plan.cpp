#include "attention_plan.h"

#include <algorithm>
#include <limits>

namespace sgl {

namespace {

constexpr int64_t kFewRows = 16;        // rows of a prompt that attend together where larger groups would be too few
constexpr int64_t kTasksPerThread = 8;  // how finely work is dealt out
constexpr int64_t kMostPartials = 1 << 17;  // results of parts that are kept at a time: some tens of megabytes

int64_t num_groups(const RowRange& range, int64_t rows) { return (range.count + rows - 1) / rows; }

int64_t num_groups(const std::vector<RowRange>& ranges, int64_t rows) {
  int64_t groups = 0;
  for (const RowRange& range : ranges) groups += num_groups(range, rows);
  return groups;
}

int64_t num_blocks(const StepRows& step, const AttentionTask& task) {
  return step.positions[task.row_end - 1] / kContextBlock + 1;
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
  if (pool_.num_threads() > 1) split_tasks(step, plan);
  plan_contexts(step, plan);
}

// A prompt's rows go in groups, its later ones, which take longer, first. Larger groups read keys and values less often;
// smaller ones keep all threads at work, and where even the smallest are few, each query head is a task of its own.
void AttentionPlanner::plan_tasks(const std::vector<RowRange>& ranges, int64_t num_heads, int64_t num_kv_heads,
                                  AttentionPlan* plan) const {
  plan->tasks.clear();
  plan->num_parts.clear();
  plan->num_partials = 0;
  const int64_t group = num_heads / num_kv_heads, threads = pool_.num_threads();
  int64_t rows = std::max(kAttentionQueries / group, kFewRows);
  while (rows > kFewRows && num_groups(ranges, rows) * num_kv_heads < kTasksPerThread * threads)
    rows = std::max(rows / 2, kFewRows);
  const int64_t heads_per_task = num_groups(ranges, rows) * num_kv_heads < threads ? 1 : group;
  for (const RowRange& range : ranges) {
    const int64_t groups = num_groups(range, rows);
    for (int64_t part = groups; part-- > 0;)
      for (int64_t head = 0; head < num_heads; head += heads_per_task) {
        AttentionTask task{};
        task.sequence = int32_t(range.sequence);
        task.row_begin = int32_t(range.first + range.count * part / groups);
        task.row_end = int32_t(range.first + range.count * (part + 1) / groups);
        task.kv_head = int32_t(head / group);
        task.head_begin = int32_t(head);
        task.head_end = int32_t(head + heads_per_task);
        plan->tasks.push_back({task, -1});
      }
  }
}

// Few rows with a long context, of one or a few streams, are attended to in parts of the context, or some threads would
// wait for others; but in whole where the results of the parts would take too much room. Tasks of the same rows are
// neighbours, and so become those of the same part: a slot's keys and values of all heads lie together.
void AttentionPlanner::split_tasks(const StepRows& step, AttentionPlan* plan) {
  int64_t work = 0;
  for (const PlannedTask& planned : plan->tasks) work += num_blocks(step, planned.task) * planned.task.num_queries();
  const int64_t share = std::max<int64_t>(1, work / (kTasksPerThread * pool_.num_threads()));
  whole_tasks_.swap(plan->tasks);
  plan->tasks.clear();
  for (size_t first = 0, end; first < whole_tasks_.size(); first = end) {
    const AttentionTask& task = whole_tasks_[first].task;
    for (end = first + 1; end < whole_tasks_.size() && whole_tasks_[end].task.row_begin == task.row_begin;) ++end;
    const int64_t blocks = num_blocks(step, task), queries = task.num_queries();
    const int64_t partials = int64_t(end - first) * queries * blocks;
    const bool may_split = task.row_end - task.row_begin <= kFewRows && plan->num_partials + partials <= kMostPartials;
    const int64_t parts = may_split ? std::min(blocks, (blocks * queries + share - 1) / share) : 1;
    for (int64_t part = 0; part < parts; ++part)
      for (size_t index = first; index < end; ++index) {
        PlannedTask planned = whole_tasks_[index];
        if (parts > 1) {
          planned.whole = int32_t(plan->num_parts.size() + index - first);
          planned.task.block_begin = int32_t(blocks * part / parts);
          planned.task.block_end = int32_t(blocks * (part + 1) / parts);
          planned.task.num_blocks = int32_t(blocks);
          planned.task.first_partial = int32_t(plan->num_partials + int64_t(index - first) * queries * blocks);
        }
        plan->tasks.push_back(planned);
      }
    if (parts > 1) {
      plan->num_parts.insert(plan->num_parts.end(), end - first, int32_t(parts));
      plan->num_partials += partials;
    }
  }
  if (plan->num_done.size() < plan->num_parts.size())
    plan->num_done = std::vector<std::atomic<int32_t>>(2 * plan->num_parts.size());
}

// The last to be read are the first to be fetched, so that the first to be read are still in the thread's own cache.
void AttentionPlanner::plan_contexts(const StepRows& step, AttentionPlan* plan) {
  is_planned_.clear();
  plan->context_runs.resize(size_t(pool_.num_threads()));
  const int64_t num_tasks = int64_t(plan->tasks.size());
  for (int thread = 0; thread < pool_.num_threads(); ++thread) {
    std::vector<Prefetcher::Run>& runs = plan->context_runs[size_t(thread)];
    runs.clear();
    const AttentionTask* planned = nullptr;
    for (int64_t index = pool_.share(thread + 1, num_tasks); index-- > pool_.share(thread, num_tasks);) {
      const AttentionTask& task = plan->tasks[size_t(index)].task;
      if (planned == nullptr || task.sequence != planned->sequence || task.block_begin != planned->block_begin)
        plan_context(step, task, runs);
      planned = &task;
    }
  }
}

void AttentionPlanner::plan_context(const StepRows& step, const AttentionTask& task, std::vector<Prefetcher::Run>& runs) {
  const bool is_part = task.num_blocks > 0;
  int64_t before = is_part ? task.block_begin * kContextBlock : 0;  // positions to leave out, and to read then
  int64_t left = is_part ? (task.block_end - task.block_begin) * kContextBlock : std::numeric_limits<int64_t>::max();
  for (int64_t run = step.run_begin[task.sequence]; run < step.run_begin[task.sequence + 1] && left > 0; ++run) {
    const int64_t skipped = std::min(before, step.run_length[run]);
    const int64_t count = std::min(left, step.run_length[run] - skipped);
    before -= skipped;
    if (count == 0) continue;
    left -= count;
    const int64_t begin = step.run_start[run] + skipped, last = (begin + count - 1) / kSlotBlock;
    if (int64_t(is_planned_.size()) <= last) is_planned_.resize(size_t(last) + 1);
    for (int64_t block = begin / kSlotBlock; block <= last; ++block) {
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
