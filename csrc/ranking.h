// Tokens from the most likely down, as far as somebody wants to know.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

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

// The ranking is made in shells: tokens whose log-weight lies in [low, high) are collected, sorted and appended, then
// the next shell below. So nothing is sorted twice, and of a vocabulary only the part that matters is.
class Ranking {
 public:
  static constexpr float kNoWeight = -88.0f;  // e^-88 and below count as nothing, see exp in simd.h

  explicit Ranking(int64_t max_tokens) : ids_(max_tokens), sorter_(max_tokens) {}

  // Begin with the tokens of `weights`. values: what ranks them, of all tokens by id: their log-weights, or whatever these
  // were computed from and never fall with.
  void start(const KernelTable& kernels, const TokenWeights& weights, const float* values);

  // Appends the next shell, but nothing with a log-weight below `least`.
  void extend(float least);

  // Whether all tokens with a log-weight of at least `least` are there.
  bool reaches(float least) const { return bound_ <= least; }
  int64_t count() const { return count_; }
  uint32_t operator[](int64_t rank) const { return ids_[rank]; }

 private:
  const KernelTable* kernels_ = nullptr;
  TokenWeights weights_{};
  const float* values_ = nullptr;
  float bound_ = 0.0f;
  int64_t count_ = 0;
  AlignedArray<uint32_t> ids_;
  RankSorter sorter_;
};

}  // namespace sgl
