// Random data and shapes.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "packing.h"

namespace sgl::exercise {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  int64_t integer(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine_); }
  bool chance(double probability) { return std::bernoulli_distribution(probability)(engine_); }
  double uniform(double low, double high) { return std::uniform_real_distribution<double>(low, high)(engine_); }
  float normal() { return std::normal_distribution<float>()(engine_); }

  template <class T, size_t kCount>
  T one_of(const T (&values)[kCount]) {
    return values[integer(0, kCount - 1)];
  }

  std::vector<float> normals(int64_t count);

  // 0 to count - 1 in random order.
  std::vector<int64_t> permutation(int64_t count);

  // A random type of weights.
  GgufType gguf_type();
  // Rows of a checkpoint's matrix: random codes, and scales of modest size. `inputs` fits the type.
  std::vector<uint8_t> checkpoint_rows(GgufType type, int64_t rows, int64_t inputs);

 private:
  std::mt19937_64 engine_;
};

// Inputs that share a scale in this type: what a row's length is a multiple of.
int64_t inputs_per_block(GgufType type);

}  // namespace sgl::exercise
