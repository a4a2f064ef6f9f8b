#include "step.h"

#include <algorithm>

namespace sgl::exercise {

std::vector<SlotsByPosition> scatter(const std::vector<int64_t>& lengths, int64_t num_slots, Random& random) {
  constexpr int64_t kFragments[] = {1, 2, 7, 16, 1000};
  const int64_t fragment = random.one_of(kFragments);
  SlotsByPosition order;
  for (const int64_t piece : random.permutation((num_slots + fragment - 1) / fragment))
    for (int64_t slot = piece * fragment; slot < std::min((piece + 1) * fragment, num_slots); ++slot) order.push_back(slot);
  std::vector<SlotsByPosition> slots;
  auto next = order.begin();
  for (const int64_t length : lengths) {
    slots.emplace_back(next, next + length);
    next += length;
  }
  return slots;
}

Step::Step(const std::vector<SlotsByPosition>& slots, const std::vector<int64_t>& begin, const std::vector<int64_t>& end) {
  int64_t first_token = 0;
  for (size_t sequence = 0; sequence < slots.size(); ++sequence) {
    if (begin[sequence] < end[sequence]) {
      first_row_.push_back(num_rows());
      row_count_.push_back(end[sequence] - begin[sequence]);
      add_runs(slots[sequence], end[sequence]);
    }
    for (int64_t position = begin[sequence]; position < end[sequence]; ++position) {
      positions_.push_back(position);
      slots_.push_back(slots[sequence][size_t(position)]);
      tokens_.push_back(first_token + position);
    }
    first_token += int64_t(slots[sequence].size());
  }
}

void Step::add_runs(const SlotsByPosition& slots, int64_t count) {
  for (int64_t position = 0; position < count; ++position) {
    const int64_t slot = slots[size_t(position)];
    if (position > 0 && slot == slots[size_t(position - 1)] + 1) {
      ++run_length_.back();
    } else {
      run_start_.push_back(slot);
      run_length_.push_back(1);
    }
  }
  run_begin_.push_back(int64_t(run_start_.size()));
}

StepRows Step::view() const {
  return {num_rows(),        positions_.data(), slots_.data(),     num_sequences(),    first_row_.data(),
          row_count_.data(), run_begin_.data(), run_start_.data(), run_length_.data()};
}

std::vector<float> gather(const Step& step, const std::vector<float>& by_token, int64_t size) {
  std::vector<float> by_row;
  for (int64_t row = 0; row < step.num_rows(); ++row) {
    const auto start = by_token.begin() + step.token(row) * size;
    by_row.insert(by_row.end(), start, start + size);
  }
  return by_row;
}

void scatter(const Step& step, const std::vector<float>& by_row, int64_t size, std::vector<float>* by_token) {
  for (int64_t row = 0; row < step.num_rows(); ++row)
    std::copy_n(by_row.begin() + row * size, size, by_token->begin() + step.token(row) * size);
}

}  // namespace sgl::exercise
