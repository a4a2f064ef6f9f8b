// What the driver exercises. Each function does random work once, in buffers that are exactly as long as they need to be
// and hold NaN where results go, and throws std::runtime_error if a result is missing or differs in its bits from the
// same work done in other pieces.
#pragma once

#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/table.h"
#include "random.h"

namespace sgl::exercise {

void products(const KernelTable& kernels, Random& random);
void rows(const KernelTable& kernels, Random& random);
void attention(const KernelTable& kernels, Random& random);
void sampling(const KernelTable& kernels, Random& random);
void thread_pool(Random& random);
void program(const KernelTable& kernels, Random& random);
void highest(const KernelTable& kernels, Random& random);

// `count` values with all bits set: NaN as float, as fp16 and as bfloat16.
template <class T>
std::vector<T> poisoned(int64_t count) {
  std::vector<T> values(static_cast<size_t>(count));
  if (count > 0) std::memset(values.data(), 0xff, values.size() * sizeof(T));
  return values;
}

inline void require(bool condition, const std::string& message) {
  if (!condition) throw std::runtime_error(message);
}

inline void require_written(const std::vector<float>& values, const std::string& what) {
  for (const float value : values)
    if (value != value) throw std::runtime_error(what + ": a result is missing");
}

template <class T>
void require_same_bits(const std::vector<T>& a, const std::vector<T>& b, const std::string& what) {
  const bool are_same = a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
  require(are_same, what + " changed results");
}

// The memory of Rows, each array exactly as long as it must be.
class RowBuffer {
 public:
  RowBuffer(RowKind kind, int64_t count, int64_t size);
  const Rows& view() const { return view_; }
  // All bytes of all arrays.
  std::vector<uint8_t> bytes() const;

 private:
  std::vector<float> floats_, units_, scales_, sums_;
  std::vector<uint16_t> bf16_;
  std::vector<QuantizedPair> pairs_;
  std::vector<uint8_t> is_uneven_;
  std::vector<int32_t> halves_;
  Rows view_{};
};

}  // namespace sgl::exercise
