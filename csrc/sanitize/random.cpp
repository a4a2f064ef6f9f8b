#include "random.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace sgl::exercise {

namespace {

// Of each type its block and where in a block its halves (scales, minima) are.
struct Block {
  GgufType type;
  int64_t inputs;
  int64_t halves[2];
  int64_t num_halves;
};

constexpr Block kBlocks[] = {
    {GgufType::kQ4_0, 32, {0}, 1},       {GgufType::kQ4_1, 32, {0, 2}, 2}, {GgufType::kQ8_0, 32, {0}, 1},
    {GgufType::kQ4_K, 256, {0, 2}, 2},   {GgufType::kQ5_K, 256, {0, 2}, 2}, {GgufType::kQ6_K, 256, {208}, 1},
};

constexpr GgufType kTypes[] = {GgufType::kF32,  GgufType::kF16,  GgufType::kBF16, GgufType::kQ4_0, GgufType::kQ4_1,
                               GgufType::kQ8_0, GgufType::kQ4_K, GgufType::kQ5_K, GgufType::kQ6_K};

const Block* block_of(GgufType type) {
  const Block* found = std::find_if(std::begin(kBlocks), std::end(kBlocks),
                                    [&](const Block& block) { return block.type == type; });
  return found == std::end(kBlocks) ? nullptr : found;
}

}  // namespace

int64_t inputs_per_block(GgufType type) {
  const Block* block = block_of(type);
  return block == nullptr ? 1 : block->inputs;
}

std::vector<float> Random::normals(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal();
  return values;
}

std::vector<int64_t> Random::permutation(int64_t count) {
  std::vector<int64_t> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), 0);
  std::shuffle(values.begin(), values.end(), engine_);
  return values;
}

GgufType Random::gguf_type() { return one_of(kTypes); }

std::vector<uint8_t> Random::checkpoint_rows(GgufType type, int64_t rows, int64_t inputs) {
  const size_t stride = row_bytes(type, inputs);
  std::vector<uint8_t> bytes(size_t(rows) * stride);
  if (type == GgufType::kF32) {
    const std::vector<float> values = normals(rows * inputs);
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
  }
  for (uint8_t& byte : bytes) byte = uint8_t(integer(0, 255));
  const auto put_half = [&](size_t at, int low, int high) {  // any half or bfloat16 between two, of either sign
    const int64_t magnitude = integer(low, high);
    const auto bits = uint16_t(magnitude | (chance(0.5) ? 0x8000 : 0));
    std::memcpy(bytes.data() + at, &bits, 2);
  };
  const Block* block = block_of(type);
  if (block == nullptr) {
    for (size_t at = 0; at < bytes.size(); at += 2) put_half(at, 0x3000, 0x3fff);
    return bytes;
  }
  const size_t block_bytes = row_bytes(type, block->inputs);
  for (size_t at = 0; at < bytes.size(); at += block_bytes)
    for (int64_t half = 0; half < block->num_halves; ++half) put_half(at + size_t(block->halves[half]), 0x1000, 0x2fff);
  return bytes;
}

}  // namespace sgl::exercise
