#include "highest.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace sgl {

namespace {

constexpr int64_t kMostColumns = int64_t(1) << 24;
constexpr int64_t kVectorBytes = 64;  // of codes: four bytes of each of 16 columns; or of `low` for four blocks
constexpr int64_t kScaleBytes = 2;
constexpr int64_t kCodes = kTileColumns * kBlock, kScales = kTileColumns * kScaleBytes;  // bytes of a block of a tile

int64_t rounded_up(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

int64_t tiles_of(const PackedWeight& weight) { return rounded_up(weight.columns, kTileColumns) / kTileColumns; }

int64_t padded_blocks(const PackedWeight& weight) { return rounded_up(weight.inputs / kBlock, 16); }

int64_t low_code_bytes(int64_t inputs) { return rounded_up(inputs / kBlock, 4) * (kBlock / 2); }

}  // namespace

bool SplitHead::is_possible(const WeightStorage& weight) {
  return weight.view().format == WeightFormat::kU8HalfOffset && weight.view().columns <= kMostColumns;
}

SplitHead::SplitHead(std::shared_ptr<const WeightStorage> weight, ThreadPool& pool) : weight_(std::move(weight)) {
  if (!is_possible(*weight_)) throw std::invalid_argument("only a head of Q8_0 with at most 2^24 columns can be split");
  const int64_t inputs = whole().inputs, tiles = tiles_of(whole());
  halves_.high = PackedWeight{WeightFormat::kU4HalfOffset, 8, inputs, whole().columns, nullptr,
                              size_t(inputs / kBlock * (kCodes / 2 + kScales))};
  halves_.column_bytes = size_t(rounded_up(low_code_bytes(inputs) + padded_blocks(whole()) * kScaleBytes, kVectorBytes));
  high_ = Pages(size_t(tiles) * halves_.high.tile_bytes, Pages::Size::kHuge);
  low_ = Pages(size_t(whole().columns) * halves_.column_bytes, Pages::Size::kHuge);
  halves_.high.tiles = high_.data();
  halves_.low = low_.data();
  pool.run([&](int thread) {
    const auto split = [&](int64_t begin, int64_t end) {
      for (int64_t tile = begin; tile < end; ++tile) split_tile(tile);
    };
    return pool.for_each(thread, tiles, 1, split, no_idle_work);
  });
}

// A vector of 8-bit codes holds four inputs of 16 columns, one of 4-bit codes those of two such vectors.
void SplitHead::split_tile(int64_t tile) {
  const PackedWeight& weight = whole();
  const uint8_t* source = weight.tiles + size_t(tile) * weight.tile_bytes;
  uint8_t* high = high_.data() + size_t(tile) * halves_.high.tile_bytes;
  const int64_t first = tile * kTileColumns, count = std::min<int64_t>(kTileColumns, weight.columns - first);
  for (int64_t block = 0; block < weight.inputs / kBlock; ++block) {
    for (int64_t at = 0; at < kCodes / 2; at += kVectorBytes)
      for (int64_t i = at; i < at + kVectorBytes; ++i)
        high[i] = uint8_t(source[i + at] >> 4 | (source[i + at + kVectorBytes] & 0xf0));
    std::memcpy(high + kCodes / 2, source + kCodes, kScales);
    for (int64_t lane = 0; lane < count; ++lane) {
      const uint8_t* codes = source + lane / 16 * (kCodes / 2) + lane % 16 * 4;
      uint8_t* column = low_.data() + size_t(first + lane) * halves_.column_bytes;
      uint8_t* low = column + block * (kBlock / 2);
      for (int64_t i = 0; i < kBlock / 2; ++i) {
        const uint8_t* both = codes + i / 4 * kVectorBytes + i % 4;
        low[i] = uint8_t((both[0] & 15) | both[4 * kVectorBytes] << 4);
      }
      std::memcpy(column + low_code_bytes(weight.inputs) + block * kScaleBytes, source + kCodes + lane * kScaleBytes,
                  kScaleBytes);
    }
    source += kCodes + kScales;
    high += kCodes / 2 + kScales;
  }
}

HighestSearch::HighestSearch(const KernelTable& kernels, std::shared_ptr<const SplitHead> head)
    : kernels_(kernels),
      head_(std::move(head)),
      num_groups_(rounded_up(head_->whole().columns, kSearchGroup) / kSearchGroup) {}

void HighestSearch::reserve(int64_t num_rows) {
  while (int64_t(rows_.size()) < num_rows) rows_.push_back(make_row());
}

HighestSearch::Row HighestSearch::make_row() const {
  const auto blocks = size_t(padded_blocks(head_->whole()));
  const auto groups = size_t(num_groups_);
  Row row;
  row.shares.resize(blocks);
  row.scales.resize(blocks);
  row.low_centres.resize(blocks);
  row.low_order.resize(blocks * kBlock);
  row.estimates.resize(groups * kSearchGroup);
  row.uppers.resize(groups * kSearchGroup);
  row.guesses.resize(groups);
  row.bounds.resize(groups);
  return row;
}

void HighestSearch::begin(const Rows& input, int64_t row_begin, int64_t row_end) {
  for (int64_t index = row_begin; index < row_end; ++index) {
    Row& row = rows_[size_t(index)];
    LogitSearch& search = row.search;
    search.head = &head_->halves();
    search.pairs = input.quantized.pairs + index * num_pairs(input.size);
    search.row_scales = input.quantized.scales + index * (input.size / kBlock);
    search.shares = row.shares.data();
    search.scales = row.scales.data();
    search.low_centres = row.low_centres.data();
    search.low_order = row.low_order.data();
    search.estimates = row.estimates.data();
    search.uppers = row.uppers.data();
    search.guesses = row.guesses.data();
    search.bounds = row.bounds.data();
    kernels_.share_blocks(search);
  }
}

// Each group for all rows, while its weights are in the nearest caches.
void HighestSearch::estimate(int64_t num_rows, int64_t group_begin, int64_t group_end) {
  for (int64_t group = group_begin; group < group_end; ++group)
    for (int64_t row = 0; row < num_rows; ++row) kernels_.estimate_logits(rows_[size_t(row)].search, group, group + 1);
}

void HighestSearch::refine(int64_t num_rows, int64_t group_begin, int64_t group_end) {
  for (int64_t row = 0; row < num_rows; ++row) kernels_.refine_logits(rows_[size_t(row)].search, group_begin, group_end);
}

int64_t HighestSearch::highest(const Rows& input, int64_t index) const {
  const Row& row = rows_[size_t(index)];
  float known = -INFINITY;
  for (const LogitGuess& guess : row.guesses)
    if (guess.column < 0) return -1;
  for (const LogitBounds& bounds : row.bounds) known = std::max(known, bounds.lower);
  HighestLogit highest{-1, -INFINITY};
  for (int64_t first = 0; first < head_->whole().columns; first += kTileColumns) {
    if (row.bounds[size_t(first / kSearchGroup)].upper < known) continue;
    const float* uppers = &row.uppers[size_t(first)];
    if (*std::max_element(uppers, uppers + kTileColumns) < known) continue;
    const HighestLogit in_tile = highest_of_tile(input, index, first / kTileColumns);
    if (highest.token_id < 0 || in_tile.value > highest.value) highest = {first + in_tile.token_id, in_tile.value};
  }
  return highest.token_id;
}

HighestLogit HighestSearch::highest_of_tile(const Rows& input, int64_t row, int64_t tile) const {
  PackedWeight weight = head_->whole();
  weight.tiles += size_t(tile) * weight.tile_bytes;
  weight.columns = std::min<int64_t>(kTileColumns, weight.columns - tile * kTileColumns);
  float logits[kTileColumns];
  Prefetcher ahead;
  // Products of 8-bit codes need no scratch.
  kernels_.matmul({input, &weight, nullptr, Epilogue::kStore, logits, 0, &ahead, nullptr}, 0, 1, row, row + 1);
  return kernels_.highest_logit(logits, weight.columns);
}

}  // namespace sgl
