// The highest logit of a row without all of its logits.
//
// The product of a single row with the head takes as long as reading the head. So only the high halves of its codes are
// read first. They leave every logit between two bounds. The low halves are read for the columns that may have the highest
// logit by these, and narrow the bounds down to what rounding leaves open. Of the few columns left then, mostly one, the
// product itself decides.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/table.h"
#include "memory.h"
#include "packing.h"
#include "thread_pool.h"

namespace sgl {

// A head and, beside the tiles that products read, the halves of its codes apart.
class SplitHead {
 public:
  static bool is_possible(const WeightStorage& weight);  // of Q8_0, and no more columns than a float counts

  // Throws std::invalid_argument if it is not possible.
  SplitHead(std::shared_ptr<const WeightStorage> weight, ThreadPool& pool);
  SplitHead(const SplitHead&) = delete;
  SplitHead& operator=(const SplitHead&) = delete;

  const HeadHalves& halves() const { return halves_; }
  const PackedWeight& whole() const { return weight_->view(); }

 private:
  void split_tile(int64_t tile);

  std::shared_ptr<const WeightStorage> weight_;
  HeadHalves halves_{};
  Pages high_, low_;
};

// Searches for several rows at a time, in phases: each for all rows and groups before the next, parts of one in any order
// and by any threads. What is found does not depend on how it is cut.
class HighestSearch {
 public:
  HighestSearch(const KernelTable& kernels, std::shared_ptr<const SplitHead> head);

  int64_t num_groups() const { return num_groups_; }
  const PackedWeight& high() const { return head_->halves().high; }

  void reserve(int64_t num_rows);
  void begin(const Rows& input, int64_t row_begin, int64_t row_end);
  void estimate(int64_t num_rows, int64_t group_begin, int64_t group_end);
  void refine(int64_t num_rows, int64_t group_begin, int64_t group_end);

  // The column with the highest logit, the first of equals, as `KernelTable::matmul` computes them; -1 if some may not be
  // finite.
  int64_t highest(const Rows& input, int64_t row) const;

 private:
  struct Row {
    std::vector<BlockShares> shares;
    std::vector<float> scales, low_centres, estimates, uppers;
    std::vector<int8_t> low_order;
    std::vector<LogitGuess> guesses;
    std::vector<LogitBounds> bounds;
    LogitSearch search{};
  };

  Row make_row() const;
  HighestLogit highest_of_tile(const Rows& input, int64_t row, int64_t tile) const;

  const KernelTable& kernels_;
  std::shared_ptr<const SplitHead> head_;
  int64_t num_groups_;
  std::vector<Row> rows_;
};

}  // namespace sgl
