// Tokens from the most likely down, as far as somebody wants to know.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "kernels/table.h"

namespace sgl {

// Uninitialised, aligned to cache lines, costing no memory until touched.
template <class T>
class AlignedArray {
 public:
  explicit AlignedArray(int64_t size)
      : data_(static_cast<T*>(::operator new(size_t(size) * sizeof(T), std::align_val_t(kAlignment)))) {}
  T* data() const { return data_.get(); }
  T& operator[](int64_t index) const { return data_.get()[index]; }

 private:
  static constexpr size_t kAlignment = 64;
  struct Delete {
    void operator()(T* data) const { ::operator delete(data, std::align_val_t(kAlignment)); }
  };
  std::unique_ptr<T, Delete> data_;
};

// Sorts token ids by falling value, of equal values by rising id. It takes time proportional to the number of tokens
// whatever their values.
class RankSorter {
 public:
  explicit RankSorter(int64_t max_tokens) : keys_(max_tokens), spare_(max_tokens) {}

  // ids: rising when called, ranked after. values: of all tokens, by id, none NaN.
  void sort(uint32_t* ids, int64_t count, const float* values);

 private:
  AlignedArray<uint64_t> keys_, spare_;
};

// Tokens whose log-weights lie between two bounds.
struct Shell {
  int64_t begin, end;      // ranks
  double weight_before;    // of all shells above
  double weight_through;   // and of this one
  bool is_sorted;
};

// The ranking is made in shells from the most likely tokens down. A shell is collected as a whole and sorted only if
// somebody wants to know the order inside it. So of a vocabulary only the part that matters is looked at, and of that
// part little is sorted.
class Ranking {
 public:
  static constexpr float kNoWeight = -88.0f;  // log-weights below it are of tokens without weight, see exp in simd.h

  // max_tokens: with the padding.
  explicit Ranking(int64_t max_tokens) : ids_(max_tokens + kGatherSlack), sorter_(max_tokens) {
    shells_.reserve(kMaxShells);
  }

  // Begin with the tokens of `weights`. values: what ranks them, of all tokens by id: their log-weights, or whatever
  // these were computed from and never fall with.
  void start(const KernelTable& kernels, const TokenWeights& weights, const float* values);

  // Appends the next shell, but nothing with a log-weight below `least`.
  void extend(float least);

  // Of the last shell keep this many tokens, which have this weight with all that come before.
  void cut_last(int64_t count, double weight_through);

  void sort(int64_t shell);

  // Whether all tokens with a log-weight of at least `least` are there.
  bool reaches(float least) const { return bound_ <= least; }
  int64_t count() const { return shells_.empty() ? 0 : shells_.back().end; }
  double weight() const { return shells_.empty() ? 0.0 : shells_.back().weight_through; }
  int64_t num_shells() const { return int64_t(shells_.size()); }
  const Shell& shell(int64_t index) const { return shells_[size_t(index)]; }
  uint32_t operator[](int64_t rank) const { return ids_[rank]; }

 private:
  static constexpr float kThickness = 1.0f;  // of a shell, in log-weight
  static constexpr size_t kMaxShells = size_t(-kNoWeight / kThickness) + 2;

  const KernelTable* kernels_ = nullptr;
  TokenWeights weights_{};
  const float* values_ = nullptr;
  float bound_ = 0.0f;
  std::vector<Shell> shells_;
  AlignedArray<uint32_t> ids_;
  RankSorter sorter_;
};

}  // namespace sgl
