// From weights as a checkpoint stores them to the tiles that matrix products read.
//
// A tile is 32 output columns by all inputs. Quantised formats store it block by block (32 inputs), each block
//   codes of columns 0-15, codes of columns 16-31, scales of all columns, then minima of all columns if the format has any.
// Four inputs of a column lie in four consecutive bytes, 16 columns side by side: one 512-bit vector. 4-bit codes keep two
// such groups in a vector, the first in the low halves of the bytes. Scales per 16 inputs are two sets of 32. A tile of
// 4-bit codes begins with a byte for each column, the exponent of a float32 in which its scales are counted (see
// fixed_point.inl), and 32 bytes of nothing, so that codes stay aligned.
// Float formats store [inputs][32 columns], bfloat16 [inputs / 2][32 columns][2].
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/table.h"
#include "memory.h"

namespace sgl {

// The types of GGUF that are represented exactly, numbered as in the file format.
enum class GgufType : int { kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ8_0 = 8, kQ4_K = 12, kQ5_K = 13, kQ6_K = 14, kBF16 = 30 };

// Throws std::invalid_argument for another type.
WeightFormat format_of(GgufType type);

size_t row_bytes(GgufType type, int64_t inputs);  // of a checkpoint's row

size_t tile_bytes(WeightFormat format, int64_t inputs);

// One weight matrix in tiles; columns that nothing was put in are zero.
class WeightStorage {
 public:
  // Throws std::invalid_argument if the format needs a multiple of its block and `inputs` is none.
  WeightStorage(WeightFormat format, int64_t inputs, int64_t columns);
  WeightStorage(const WeightStorage&) = delete;
  WeightStorage& operator=(const WeightStorage&) = delete;

  // Put rows of a checkpoint's matrix, [num_rows, inputs] stored as `type` in `num_bytes` bytes, at columns from
  // `first_column` on. They go in panels of 16 columns, `panel_stride` panels apart: 1 puts them side by side, 2 leaves
  // room for another matrix between them. Throws std::invalid_argument if type, bytes or columns do not fit. Several
  // threads may put different columns at once.
  void put(GgufType type, const uint8_t* rows, size_t num_bytes, int64_t num_rows, int64_t first_column,
           int64_t panel_stride = 1);

  const PackedWeight& view() const { return view_; }

 private:
  PackedWeight view_;
  std::shared_ptr<uint8_t> memory_;
};

}  // namespace sgl
