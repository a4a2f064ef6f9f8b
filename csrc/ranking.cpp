#include "ranking.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace sgl {

namespace {

constexpr int64_t kFewTokens = 192;  // up to here a comparison sort is faster
constexpr int kDigits = 4, kDigitValues = 256;

// An integer that rises as the value falls; -0 and 0 are equal.
inline uint32_t falling_key(float value) {
  value += 0.0f;
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits & 0x80000000u ? bits : 0x7fffffffu - bits;
}

// By the upper 32 bits, digit by digit from the lowest; equal ones keep their order. Returns where the result is: `keys`
// or `spare`.
uint64_t* radix_sort(uint64_t* keys, uint64_t* spare, int64_t count) {
  uint32_t counts[kDigits][kDigitValues] = {};
  for (int64_t i = 0; i < count; ++i)
    for (int digit = 0; digit < kDigits; ++digit) ++counts[digit][keys[i] >> (32 + 8 * digit) & 255];
  for (int digit = 0; digit < kDigits; ++digit) {
    const int shift = 32 + 8 * digit;
    if (counts[digit][keys[0] >> shift & 255] == count) continue;  // they all have this digit in common
    uint32_t place = 0;
    for (uint32_t& counted : counts[digit]) {
      const uint32_t begin = place;
      place += counted;
      counted = begin;
    }
    for (int64_t i = 0; i < count; ++i) spare[counts[digit][keys[i] >> shift & 255]++] = keys[i];
    std::swap(keys, spare);
  }
  return keys;
}

}  // namespace

void RankSorter::sort(uint32_t* ids, int64_t count, const float* values) {
  if (count < 2) return;
  uint64_t* keys = keys_.data();
  for (int64_t i = 0; i < count; ++i) keys[i] = uint64_t(falling_key(values[ids[i]])) << 32 | ids[i];
  if (count <= kFewTokens)
    std::sort(keys, keys + count);
  else
    keys = radix_sort(keys, spare_.data(), count);
  for (int64_t i = 0; i < count; ++i) ids[i] = uint32_t(keys[i]);
}

void Ranking::start(const KernelTable& kernels, const TokenWeights& weights, const float* values) {
  kernels_ = &kernels;
  weights_ = weights;
  values_ = values;
  bound_ = INFINITY;
  shells_.clear();
}

void Ranking::extend(float least) {
  // Log-weights are at most 0. Below kNoWeight a shell has no sensible thickness, and all the rest is one.
  const float next = std::min(bound_, 0.0f) - kThickness;
  const float low = std::max(next < kNoWeight ? -INFINITY : next, least);
  const int64_t begin = count();
  const GatheredTokens added = kernels_->gather_tokens(weights_, low, bound_, ids_.data() + begin);
  shells_.push_back({begin, begin + added.count, weight(), weight() + added.weight, false});
  bound_ = low;
}

void Ranking::cut_last(int64_t count, double weight_through) {
  shells_.back().end = shells_.back().begin + count;
  shells_.back().weight_through = weight_through;
}

void Ranking::sort(int64_t index) {
  Shell& shell = shells_[size_t(index)];
  if (!shell.is_sorted) sorter_.sort(ids_.data() + shell.begin, shell.end - shell.begin, values_);
  shell.is_sorted = true;
}

}  // namespace sgl
