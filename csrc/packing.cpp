#include "packing.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

namespace sgl {

namespace {

constexpr int kSuperBlock = 256;  // weights of a K-quant block
constexpr int kPanel = 16;        // columns side by side in a vector

struct Traits {
  int code_bits;   // 0: not quantised
  int group;       // inputs that share a scale
  int scale_bytes;
  bool has_min;
  int offset;      // of the codes
  bool has_units;  // in front of the tile
};

Traits traits_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::kU4HalfOffset: return {4, 32, 2, false, 8, true};
    case WeightFormat::kU4HalfMin: return {4, 32, 2, true, 0, true};
    case WeightFormat::kU4FloatMin: return {4, 32, 4, true, 0, true};
    case WeightFormat::kU8HalfOffset: return {8, 32, 2, false, 128, false};
    case WeightFormat::kU8FloatMin: return {8, 32, 4, true, 0, false};
    case WeightFormat::kU8FloatOffset16: return {8, 16, 4, false, 32, false};
    case WeightFormat::kBf16: return {0, 0, 2, false, 0, false};
    case WeightFormat::kHalf: return {0, 0, 2, false, 0, false};
    case WeightFormat::kFloat: return {0, 0, 4, false, 0, false};
  }
  throw std::invalid_argument("unknown weight format");
}

size_t block_bytes(const Traits& traits) {
  const int scales = kBlock / traits.group * kTileColumns * traits.scale_bytes;
  const int minima = traits.has_min ? kTileColumns * traits.scale_bytes : 0;
  return size_t(kTileColumns) * kBlock * traits.code_bits / 8 + scales + minima;
}

size_t header_bytes(const Traits& traits) { return traits.has_units ? kUnitsBytes : 0; }

// One column's part of a block, unpacked. Scales and minimum have the bytes that the tile stores.
struct ColumnBlock {
  uint8_t codes[kBlock];
  uint8_t scales[2][4];
  uint8_t minimum[4];
};

float half_to_float(const uint8_t* bytes) {
  uint16_t half;
  std::memcpy(&half, bytes, 2);
  const uint32_t magnitude = half & 0x7fff;
  const float sign = half & 0x8000 ? -1.0f : 1.0f;
  if (magnitude < 0x0400) return sign * float(magnitude) * 5.9604644775390625e-8f;
  uint32_t bits = magnitude >= 0x7c00 ? 0x7f800000 | (magnitude << 13) : (magnitude << 13) + (112u << 23);
  float value;
  std::memcpy(&value, &bits, 4);
  return sign * value;
}

void put_float(uint8_t* target, float value) { std::memcpy(target, &value, 4); }

void low_then_high_halves(const uint8_t* bytes, uint8_t* codes) {  // 16 bytes: codes 0-15 in the low halves, 16-31 in the high
  for (int i = 0; i < 16; ++i) {
    codes[i] = bytes[i] & 15;
    codes[i + 16] = bytes[i] >> 4;
  }
}

// The 6-bit scale and minimum of a sub-block of 32, packed into 12 bytes for 8 of them.
void scale_and_min(const uint8_t* packed, int index, int* scale, int* minimum) {
  if (index < 4) {
    *scale = packed[index] & 63;
    *minimum = packed[index + 4] & 63;
  } else {
    *scale = (packed[index + 4] & 15) | ((packed[index - 4] >> 6) << 4);
    *minimum = (packed[index + 4] >> 4) | ((packed[index] >> 6) << 4);
  }
}

// The block formats are those of ggml (ggml-common.h); `row` is a whole row, `block` counts 32 inputs.
void unpack(GgufType type, const uint8_t* row, int64_t block, ColumnBlock* out) {
  const int sub = int(block % (kSuperBlock / kBlock));
  const int64_t super = block / (kSuperBlock / kBlock);
  switch (type) {
    case GgufType::kQ4_0: {
      const uint8_t* source = row + block * 18;
      std::memcpy(out->scales[0], source, 2);
      low_then_high_halves(source + 2, out->codes);
      return;
    }
    case GgufType::kQ4_1: {
      const uint8_t* source = row + block * 20;
      std::memcpy(out->scales[0], source, 2);
      std::memcpy(out->minimum, source + 2, 2);
      low_then_high_halves(source + 4, out->codes);
      return;
    }
    case GgufType::kQ8_0: {
      const uint8_t* source = row + block * 34;
      std::memcpy(out->scales[0], source, 2);
      for (int i = 0; i < kBlock; ++i) out->codes[i] = uint8_t(source[2 + i] ^ 0x80);
      return;
    }
    case GgufType::kQ4_K:
    case GgufType::kQ5_K: {
      const bool five = type == GgufType::kQ5_K;
      const uint8_t* source = row + super * (five ? 176 : 144);
      int scale, minimum;
      scale_and_min(source + 4, sub, &scale, &minimum);
      put_float(out->scales[0], half_to_float(source) * float(scale));
      put_float(out->minimum, -(half_to_float(source + 2) * float(minimum)));
      const uint8_t* low = source + 16 + (five ? 32 : 0) + sub / 2 * 32;
      for (int i = 0; i < kBlock; ++i) {
        out->codes[i] = sub % 2 ? low[i] >> 4 : low[i] & 15;
        if (five) out->codes[i] |= ((source[16 + i] >> sub) & 1) << 4;
      }
      return;
    }
    case GgufType::kQ6_K: {
      const uint8_t* source = row + super * 210;
      const uint8_t* low = source + sub / 4 * 64 + sub % 2 * 32;
      const uint8_t* high = source + 128 + sub / 4 * 32;
      for (int i = 0; i < kBlock; ++i) {
        const int four = sub % 4 < 2 ? low[i] & 15 : low[i] >> 4;
        out->codes[i] = uint8_t(four | (((high[i] >> (2 * (sub % 4))) & 3) << 4));
      }
      for (int half = 0; half < 2; ++half) {
        const float scale = float(int8_t(source[192 + 2 * sub + half]));
        put_float(out->scales[half], half_to_float(source + 208) * scale);
      }
      return;
    }
    default:
      throw std::invalid_argument("not a quantised type");
  }
}

uint32_t word(const uint8_t* codes) {
  uint32_t result;
  std::memcpy(&result, codes, 4);
  return result;
}

// The exponent, as a float32 stores it, of the unit that a column's scales and minima are multiplied in: the least of which
// no scale is more than 2^15 - 1 times as large, and nothing that the code kCodeCentre stands for kMostCentre times that. 255,
// whose unit is infinite, if one of them is not finite.
class UnitExponent {
 public:
  explicit UnitExponent(const Traits& traits) : traits_(traits) {}

  void take(const ColumnBlock& block) {
    const float scale = value(block.scales[0]), minimum = traits_.has_min ? value(block.minimum) : 0.0f;
    const float centre = std::fabs(minimum + float(kCodeCentre - traits_.offset) * scale) / kMostCentre;
    is_finite_ = is_finite_ && std::isfinite(scale) && std::isfinite(minimum);
    largest_ = std::max({largest_, std::fabs(scale), centre});
  }

  uint8_t stored() const {
    if (!is_finite_) return 255;
    if (largest_ == 0.0f) return kBias;
    int exponent;
    std::frexp(largest_, &exponent);
    exponent -= 15;
    if (std::nearbyint(std::ldexp(largest_, -exponent)) > 32767.0f) ++exponent;
    return uint8_t(exponent + kBias);
  }

 private:
  static constexpr int kBias = 127;

  float value(const uint8_t* bytes) const {
    if (traits_.scale_bytes == 2) return half_to_float(bytes);
    float result;
    std::memcpy(&result, bytes, 4);
    return result;
  }

  const Traits& traits_;
  float largest_ = 0.0f;
  bool is_finite_ = true;
};

// Scatter one column's block into the block of its tile. `lane`: the column within the tile.
void put_block(const Traits& traits, const ColumnBlock& column, int lane, uint8_t* target) {
  const int panel = lane / kPanel, place = 4 * (lane % kPanel);
  const size_t panel_bytes = size_t(kPanel) * kBlock * traits.code_bits / 8;
  uint8_t* codes = target + panel * panel_bytes + place;
  if (traits.code_bits == 4) {
    for (int pair = 0; pair < kBlock / 8; ++pair) {
      const uint32_t both = word(column.codes + 8 * pair) | (word(column.codes + 8 * pair + 4) << 4);
      std::memcpy(codes + 64 * pair, &both, 4);
    }
  } else {
    for (int group = 0; group < kBlock / 4; ++group) std::memcpy(codes + 64 * group, column.codes + 4 * group, 4);
  }
  uint8_t* scales = target + 2 * panel_bytes;
  const size_t stride = size_t(kTileColumns) * traits.scale_bytes;
  for (int half = 0; half < kBlock / traits.group; ++half, scales += stride)
    std::memcpy(scales + lane * traits.scale_bytes, column.scales[half], traits.scale_bytes);
  if (traits.has_min) std::memcpy(scales + lane * traits.scale_bytes, column.minimum, traits.scale_bytes);
}

void put_float_row(WeightFormat format, const uint8_t* row, int64_t inputs, int lane, uint8_t* tile) {
  for (int64_t k = 0; k < inputs; ++k) {
    if (format == WeightFormat::kFloat)
      std::memcpy(tile + (k * kTileColumns + lane) * 4, row + 4 * k, 4);
    else if (format == WeightFormat::kHalf)
      std::memcpy(tile + (k * kTileColumns + lane) * 2, row + 2 * k, 2);
    else
      std::memcpy(tile + (k / 2 * kTileColumns + lane) * 4 + k % 2 * 2, row + 2 * k, 2);
  }
}

}  // namespace

WeightFormat format_of(GgufType type) {
  switch (type) {
    case GgufType::kF32: return WeightFormat::kFloat;
    case GgufType::kF16: return WeightFormat::kHalf;
    case GgufType::kBF16: return WeightFormat::kBf16;
    case GgufType::kQ4_0: return WeightFormat::kU4HalfOffset;
    case GgufType::kQ4_1: return WeightFormat::kU4HalfMin;
    case GgufType::kQ8_0: return WeightFormat::kU8HalfOffset;
    case GgufType::kQ4_K: return WeightFormat::kU4FloatMin;
    case GgufType::kQ5_K: return WeightFormat::kU8FloatMin;
    case GgufType::kQ6_K: return WeightFormat::kU8FloatOffset16;
  }
  throw std::invalid_argument("no packed format for GGUF type " + std::to_string(int(type)));
}

size_t row_bytes(GgufType type, int64_t inputs) {
  switch (type) {
    case GgufType::kF32: return 4 * inputs;
    case GgufType::kF16:
    case GgufType::kBF16: return 2 * inputs;
    case GgufType::kQ4_0: return inputs / kBlock * 18;
    case GgufType::kQ4_1: return inputs / kBlock * 20;
    case GgufType::kQ8_0: return inputs / kBlock * 34;
    case GgufType::kQ4_K: return inputs / kSuperBlock * 144;
    case GgufType::kQ5_K: return inputs / kSuperBlock * 176;
    case GgufType::kQ6_K: return inputs / kSuperBlock * 210;
  }
  throw std::invalid_argument("no packed format for GGUF type " + std::to_string(int(type)));
}

size_t tile_bytes(WeightFormat format, int64_t inputs) {
  const Traits traits = traits_of(format);
  if (traits.code_bits == 0) return size_t(format == WeightFormat::kBf16 ? (inputs + 1) / 2 * 2 : inputs) * kTileColumns * traits.scale_bytes;
  return header_bytes(traits) + size_t(inputs / kBlock) * block_bytes(traits);
}

WeightStorage::WeightStorage(WeightFormat format, int64_t inputs, int64_t columns) {
  const Traits traits = traits_of(format);
  if (inputs < 1 || columns < 1) throw std::invalid_argument("a weight has at least one input and one column");
  if (traits.code_bits != 0 && inputs % kBlock != 0)
    throw std::invalid_argument("a quantised weight needs a multiple of 32 inputs, not " + std::to_string(inputs));
  const size_t bytes = tile_bytes(format, inputs);
  static Arena arena;
  memory_ = arena.allocate(bytes * size_t((columns + kTileColumns - 1) / kTileColumns));
  view_ = PackedWeight{format, traits.offset, inputs, columns, memory_.get(), bytes};
}

void WeightStorage::put(GgufType type, const uint8_t* rows, size_t num_bytes, int64_t num_rows, int64_t first_column,
                        int64_t panel_stride) {
  if (format_of(type) != view_.format) throw std::invalid_argument("the rows have another format than the weight");
  if ((type == GgufType::kQ4_K || type == GgufType::kQ5_K || type == GgufType::kQ6_K) &&
      view_.inputs % kSuperBlock != 0)
    throw std::invalid_argument("K-quants need a multiple of 256 inputs, not " + std::to_string(view_.inputs));
  if (num_bytes != size_t(num_rows) * row_bytes(type, view_.inputs))
    throw std::invalid_argument("the rows have " + std::to_string(num_bytes) + " bytes, not " +
                                std::to_string(size_t(num_rows) * row_bytes(type, view_.inputs)));
  if (panel_stride != 1 && panel_stride != 2)
    throw std::invalid_argument("panels have a stride of 1 or 2, not " + std::to_string(panel_stride));
  // The last panel of each of two matrices may be partly padding, and so end after the last column.
  const int64_t end = panel_stride == 1 ? view_.columns : (view_.columns + kTileColumns - 1) / kTileColumns * kTileColumns;
  const int64_t last_row = num_rows > 0 ? num_rows - 1 : 0;
  const int64_t last_offset = last_row / kPanel * panel_stride * kPanel + last_row % kPanel;
  if (first_column < 0 || first_column >= end - last_offset)
    throw std::invalid_argument(std::to_string(num_rows) + " columns from " + std::to_string(first_column) +
                                " on are outside the weight");
  const Traits traits = traits_of(view_.format);
  const size_t stride = row_bytes(type, view_.inputs);
  for (int64_t row = 0; row < num_rows; ++row) {
    const int64_t column = first_column + row / kPanel * panel_stride * kPanel + row % kPanel;
    uint8_t* tile = memory_.get() + size_t(column / kTileColumns) * view_.tile_bytes;
    const int lane = int(column % kTileColumns);
    if (traits.code_bits == 0) {
      put_float_row(view_.format, rows + row * stride, view_.inputs, lane, tile);
      continue;
    }
    ColumnBlock unpacked;
    UnitExponent unit(traits);
    for (int64_t block = 0; block < view_.inputs / kBlock; ++block) {
      unpack(type, rows + row * stride, block, &unpacked);
      put_block(traits, unpacked, lane, tile + header_bytes(traits) + size_t(block) * block_bytes(traits));
      if (traits.has_units) unit.take(unpacked);
    }
    if (traits.has_units) tile[lane] = unit.stored();
  }
}

}  // namespace sgl
