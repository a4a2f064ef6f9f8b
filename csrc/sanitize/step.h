// Sequences in a cache, and the steps that compute them.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/table.h"
#include "random.h"

namespace sgl::exercise {

using SlotsByPosition = std::vector<int64_t>;

// Slots for sequences of these lengths, scattered over the cache in fragments of random size.
std::vector<SlotsByPosition> scatter(const std::vector<int64_t>& lengths, int64_t num_slots, Random& random);

// A step that computes positions [begin, end) of every sequence; those with begin == end are not in it.
class Step {
 public:
  Step(const std::vector<SlotsByPosition>& slots, const std::vector<int64_t>& begin, const std::vector<int64_t>& end);

  StepRows view() const;
  int64_t num_rows() const { return int64_t(positions_.size()); }
  int64_t num_sequences() const { return int64_t(first_row_.size()); }
  int64_t first_row(int64_t sequence) const { return first_row_[size_t(sequence)]; }
  int64_t row_count(int64_t sequence) const { return row_count_[size_t(sequence)]; }
  // Where the row's values are kept between steps: rows of all sequences at all positions, one sequence after the other.
  int64_t token(int64_t row) const { return tokens_[size_t(row)]; }

 private:
  void add_runs(const SlotsByPosition& slots, int64_t count);

  std::vector<int64_t> positions_, slots_, tokens_, first_row_, row_count_, run_begin_{0}, run_start_, run_length_;
};

// The values of the step's tokens, `size` for each, in the order of its rows; and back.
std::vector<float> gather(const Step& step, const std::vector<float>& by_token, int64_t size);
void scatter(const Step& step, const std::vector<float>& by_row, int64_t size, std::vector<float>* by_token);

}  // namespace sgl::exercise
