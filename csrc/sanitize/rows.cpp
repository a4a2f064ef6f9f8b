#include <algorithm>

#include "exercise.h"

namespace sgl::exercise {

namespace {

constexpr RowKind kKinds[] = {RowKind::kFloat, RowKind::kBf16, RowKind::kQuantized};

void append(std::vector<uint8_t>* bytes, const void* data, size_t count) {
  const auto* start = static_cast<const uint8_t*>(data);
  bytes->insert(bytes->end(), start, start + count);
}

// Whatever `work` does to rows [begin, end) of a target it does in one piece and row by row.
template <class Work>
void require_same_by_row(RowKind kind, int64_t count, int64_t size, const char* what, Work&& work) {
  const RowBuffer whole(kind, count, size), pieces(kind, count, size);
  work(whole.view(), 0, count);
  for (int64_t row = count - 1; row >= 0; --row) work(pieces.view(), row, row + 1);
  require_same_bits(whole.bytes(), pieces.bytes(), what);
}

}  // namespace

RowBuffer::RowBuffer(RowKind kind, int64_t count, int64_t size) {
  view_.kind = kind;
  view_.size = size;
  switch (kind) {
    case RowKind::kFloat:
      floats_ = poisoned<float>(count * size);
      view_.floats = floats_.data();
      return;
    case RowKind::kBf16:
      bf16_ = poisoned<uint16_t>(count * ((size + 1) / 2 * 2));
      view_.bf16 = bf16_.data();
      return;
    case RowKind::kQuantized:
      pairs_ = poisoned<QuantizedPair>(count * num_pairs(size));
      units_ = poisoned<float>(count * num_segments(size));
      is_uneven_ = poisoned<uint8_t>(count);
      scales_ = poisoned<float>(count * size / kBlock);
      sums_ = poisoned<float>(count * size / kBlock);
      halves_ = poisoned<int32_t>(count * size / kBlock * 2);
      view_.quantized = {pairs_.data(), units_.data(), is_uneven_.data(), scales_.data(), sums_.data(), halves_.data()};
  }
}

std::vector<uint8_t> RowBuffer::bytes() const {
  std::vector<uint8_t> all;
  append(&all, floats_.data(), floats_.size() * sizeof(float));
  append(&all, bf16_.data(), bf16_.size() * sizeof(uint16_t));
  append(&all, pairs_.data(), pairs_.size() * sizeof(QuantizedPair));
  append(&all, units_.data(), units_.size() * sizeof(float));
  append(&all, is_uneven_.data(), is_uneven_.size());
  append(&all, scales_.data(), scales_.size() * sizeof(float));
  append(&all, sums_.data(), sums_.size() * sizeof(float));
  append(&all, halves_.data(), halves_.size() * sizeof(int32_t));
  return all;
}

void rows(const KernelTable& kernels, Random& random) {
  const RowKind kind = random.one_of(kKinds);
  const int64_t count = random.integer(1, 5);
  const int64_t size = kind == RowKind::kQuantized ? kBlock * random.integer(1, 80) : random.integer(1, 1200);
  const std::vector<float> source = random.normals(count * size), weight = random.normals(size);
  require_same_by_row(kind, count, size, "converting rows one by one", [&](const Rows& target, int64_t begin, int64_t end) {
    kernels.convert(source.data(), size, target, begin, end);
  });
  require_same_by_row(kind, count, size, "norms one by one", [&](const Rows& target, int64_t begin, int64_t end) {
    kernels.rms_norm(source.data(), size, weight.data(), 1e-5f, target, begin, end);
  });
  const std::vector<float> pairs = random.normals(count * 2 * size);
  require_same_by_row(kind, count, size, "gating rows one by one", [&](const Rows& target, int64_t begin, int64_t end) {
    kernels.silu_and_mul(pairs.data(), 2 * size, target, begin, end);
  });
  require_same_by_row(RowKind::kFloat, count, size, "adding rows one by one",
                      [&](const Rows& target, int64_t begin, int64_t end) {
                        std::copy(source.begin() + begin * size, source.begin() + end * size, target.floats + begin * size);
                        kernels.add(source.data(), target.floats, size, begin, end);
                      });
}

}  // namespace sgl::exercise
