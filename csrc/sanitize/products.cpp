#include <algorithm>
#include <cstdlib>
#include <memory>

#include "exercise.h"

namespace sgl::exercise {

namespace {

// A weight in memory of exactly its size, where WeightStorage rounds up to pages.
struct ExactWeight {
  std::vector<uint8_t> tiles;
  PackedWeight view;

  explicit ExactWeight(const WeightStorage& storage) : view(storage.view()) {
    const int64_t count = (view.columns + kTileColumns - 1) / kTileColumns;
    tiles.assign(view.tiles, view.tiles + size_t(count) * view.tile_bytes);
    view.tiles = tiles.data();
  }
};

struct Product {
  const KernelTable& kernels;
  const PackedWeight& weight;
  const Rows& input;
  int64_t rows;
  int64_t columns;  // of the output
  Epilogue epilogue;
  const float* bias;

  // In pieces of at most so many tiles and rows.
  std::vector<float> compute(const std::vector<float>& before, int64_t tile_step, int64_t row_step) const {
    std::vector<float> output = before;
    Prefetcher ahead;
    const std::unique_ptr<void, decltype(&std::free)> scratch(
        std::aligned_alloc(64, matmul_scratch_bytes(weight.inputs)), &std::free);
    const MatmulArgs args{input, &weight, bias, epilogue, output.data(), columns, &ahead, scratch.get()};
    const int64_t tiles = (weight.columns + kTileColumns - 1) / kTileColumns;
    for (int64_t tile = 0; tile < tiles; tile += tile_step)
      for (int64_t row = 0; row < rows; row += row_step)
        kernels.matmul(args, tile, std::min(tile + tile_step, tiles), row, std::min(row + row_step, rows));
    return output;
  }
};

}  // namespace

void products(const KernelTable& kernels, Random& random) {
  const GgufType type = random.gguf_type();
  const int64_t inputs = inputs_per_block(type) * random.integer(1, inputs_per_block(type) == 1 ? 100 : random.chance(0.1) ? 70 : 3);
  constexpr Epilogue kEpilogues[] = {Epilogue::kStore, Epilogue::kAdd, Epilogue::kSiluAndMul};
  const Epilogue epilogue = random.one_of(kEpilogues);
  const bool is_gated = epilogue == Epilogue::kSiluAndMul;
  const int64_t tiles = random.integer(1, 4);
  const int64_t columns = is_gated ? tiles * kTileColumns / 2 : tiles * kTileColumns - random.integer(0, 31);
  const int64_t count = random.integer(1, 14);

  WeightStorage storage(format_of(type), inputs, is_gated ? 2 * columns : columns);
  const std::vector<uint8_t> checkpoint = random.checkpoint_rows(type, columns, inputs);
  storage.put(type, checkpoint.data(), checkpoint.size(), columns, 0, is_gated ? 2 : 1);
  if (is_gated) storage.put(type, checkpoint.data(), checkpoint.size(), columns, 16, 2);
  const ExactWeight weight(storage);

  const RowBuffer input(kernels.row_kind(weight.view.format), count, inputs);
  const std::vector<float> values = random.normals(count * inputs);
  kernels.convert(values.data(), inputs, input.view(), 0, count);
  const bool has_bias = !is_gated && random.chance(0.5);
  const std::vector<float> bias = random.normals(has_bias ? columns : 0);
  const Product product{kernels, weight.view, input.view(), count, columns, epilogue, has_bias ? bias.data() : nullptr};
  const std::vector<float> before =
      epilogue == Epilogue::kAdd ? random.normals(count * columns) : poisoned<float>(count * columns);
  const std::vector<float> whole = product.compute(before, 1000, 1000);
  require_written(whole, "a product");
  require_same_bits(whole, product.compute(before, 1, random.integer(1, 7)), "computing a product in pieces");
}

}  // namespace sgl::exercise
