// Row-wise operations: norms, conversions of rows to what products read, token embeddings.

// Of 32 values the greater magnitudes of 16 pairs, as integers: they order as floats do, with infinity and NaN above all.
SGL_INLINE I32x16 greater_magnitudes(const F32x16& a, const F32x16& b) {
  I32x16 result;
  SGL_EACH_REGISTER {
    const IntRegister x = (IntRegister)a.part[i] & 0x7fffffff, y = (IntRegister)b.part[i] & 0x7fffffff;
    result.part[i] = x > y ? x : y;
  }
  return result;
}

// Such magnitudes as floats; what is not finite becomes NaN.
SGL_INLINE F32x16 finite_or_nan(const I32x16& magnitudes) {
  F32x16 result;
  SGL_EACH_REGISTER {
    const IntRegister bits = magnitudes.part[i];
    result.part[i] = (FloatRegister)(bits >= 0x7f800000 ? IntRegister{} + 0x7fc00000 : bits);
  }
  return result;
}

// How a block is rounded: x is close to scale * round(x * inverse).
struct BlockScale {
  float scale, inverse;
};

// The best of the scales that give the largest magnitude codes from 127 down, each then fitted to its codes by least
// squares. Of all scales that give the same codes that one is best, and its error falls as (x . codes)^2 / codes^2 rises.
// Errors of neighbouring scales are hardly related: the best of 32 has a quarter less than the usual one.
SGL_INLINE BlockScale best_scale(const F32x16& low, const F32x16& high, float largest, int num_scales) {
  BlockScale best{largest / 127.0f, 127.0f / largest};
  float most = 0.0f;
  for (int i = 0; i < num_scales; ++i) {
    const float inverse = (127.0f - 0.5f * float(i)) / largest;
    const F32x16 a = to_float(round_to_int(low * splat(inverse))), b = to_float(round_to_int(high * splat(inverse)));
    const float product = sum_lanes(fma(low, a, high * b)), square = sum_lanes(fma(a, a, b * b));
    if (product * product > most * square) {
      most = product * product / square;
      best = {product / square, inverse};
    }
  }
  return best;
}

// Replaces scales and inverses of `count` blocks by the best of so many.
SGL_INLINE void choose_scales(const float* x, int64_t count, const F32x16& largest, int num_scales, float* scales,
                              float* inverses) {
  float most[kLanes];
  store(most, largest);
  for (int64_t block = 0; block < count; ++block, x += kBlock) {
    if (!(most[block] > 1e-12f && most[block] < 1e12f)) continue;
    const BlockScale best = best_scale(load<F32x16>(x), load<F32x16>(x + kLanes), most[block], num_scales);
    scales[block] = best.scale;
    inverses[block] = best.inverse;
  }
}

// Codes and scales of `count` blocks, at most 16, from the first of a pair on. A block with a value that is not finite gets
// NaN as its scale, so that nothing made of it looks like a result. A second block that is missing gets zeros as codes.
SGL_INLINE void quantize_blocks(const float* x, int64_t count, int num_scales, QuantizedPair* pairs, float* scales) {
  I32x16 magnitudes[kLanes];
  for (int64_t block = 0; block < count; ++block)
    magnitudes[block] = greater_magnitudes(load<F32x16>(x + block * kBlock), load<F32x16>(x + block * kBlock + kLanes));
  const F32x16 largest = finite_or_nan(max_of_each(magnitudes, count));
  F32x16 inverse = splat(127.0f) / largest;
  SGL_EACH_REGISTER  // a scale so small that its inverse overflows stands for zeros
  inverse.part[i] = largest.part[i] > 1e-36f ? inverse.part[i] : FloatRegister{};
  float inverses[kLanes];
  store(inverses, inverse);
  store_lanes(scales, largest / splat(127.0f), 0, int(count));
  if (num_scales > 0) choose_scales(x, count, largest, num_scales, scales, inverses);
  for (int64_t block = 0; block < count; block += 2, x += 2 * kBlock, ++pairs) {
    I32x16 codes[4];
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part) {
      codes[part] = splat(int32_t(0));
      if (part < 2 || block + 1 < count)
        codes[part] = round_to_int(load<F32x16>(x + part * kLanes) * splat(inverses[block + part / 2]));
    }
    store_int8(pairs->codes, codes);
  }
}

// What the codes of a segment's blocks add up to, in order, with room for whole vectors; zeros for blocks that are missing.
struct CodeSums {
  int32_t halves[2 * kSegmentBlocks];  // of 16 codes
  int32_t sums[kSegmentBlocks];
  float magnitudes[kSegmentBlocks];
};

SGL_INLINE void sum_codes(const QuantizedPair* pairs, int64_t num_blocks, CodeSums* out) {
  for (int64_t first = 0; first < num_blocks; first += kLanes) {
    I32x16 halves[2], magnitudes[2];
    for (int part = 0; part < 2; ++part) {
      I32x16 fours[4], four_magnitudes[4];
      const int64_t pair = first / 2 + 4 * part;
      for (int i = 0; i < 4; ++i) {
        fours[i] = four_magnitudes[i] = splat(int32_t(0));
        if (2 * (pair + i) >= num_blocks) continue;
        const FourSums sums = sum_fours(pairs[pair + i].codes);
        fours[i] = sums.sums;
        four_magnitudes[i] = sums.magnitudes;
      }
      halves[part] = sum_quarters(fours);
      magnitudes[part] = sum_quarters(four_magnitudes);
      store(out->halves + 2 * first + part * kLanes, halves[part]);
    }
    store(out->sums + first, sum_neighbours(halves[0], halves[1]));
    store(out->magnitudes + first, to_float(sum_neighbours(magnitudes[0], magnitudes[1])));
  }
}

// What a dot product begins with where its block's codes add up to 0: of a pair's first block, and of its second.
constexpr int32_t kPairStarts[kLanes] = {0, kSecondStart, 0, kSecondStart, 0, kSecondStart, 0, kSecondStart,
                                         0, kSecondStart, 0, kSecondStart, 0, kSecondStart, 0, kSecondStart};

struct FixedUnit {
  float unit;
  bool is_uneven;
};

// A block with such codes was rounded to steps of its scale; in others all codes but few are zeros.
constexpr float kLeastMagnitudes = 8.0f * kBlock;
// Rounding the scales of a segment adds about the square root of (sum of magnitudes^2) / (500 * sum of scales^2) times what
// rounding to codes lost, where the scales are those of blocks with many codes. A fifth of it is too much.
constexpr float kUneven = 20.0f;

// The scales of a segment's blocks in fixed point, and their unit. They are as fine as they can be if sums of products
// are to fit 32 bits: a scale is below 2^15, and a block changes such a sum by at most 12 times its scale times the
// magnitudes of its codes (8 the codes' part, 4 the centres'), and 2^11 more; so scales times magnitudes add up to less than
// 2^31 / 12. And a scale times the sum of its block's codes is to be below 2^25.
SGL_INLINE FixedUnit fix_scales(const float* block_scales, const CodeSums& codes, int64_t count, QuantizedPair* pairs) {
  constexpr float kMost = 178956970.0f - 262144.0f;  // less those 2^11 and what rounding adds, for kSegmentBlocks
  constexpr float kMostSum = 33554432.0f - 4096.0f;  // less what rounding adds
  F32x16 most = splat(0.0f), most_sum = splat(0.0f), weight = splat(0.0f);
  for (int64_t i = 0; i < count; i += kLanes) most = max(load_some(block_scales + i, count - i), most);
  const float largest = max_lanes(most);
  const float inverse = largest > 4e-39f ? 1.0f / largest : 0.0f;  // codes of smaller scales are zeros
  for (int64_t i = 0; i < count; i += kLanes) {
    const F32x16 share = load_some(block_scales + i, count - i) * splat(inverse);
    weight = fma(share, load<F32x16>(codes.magnitudes + i), weight);
    most_sum = max(abs(share * to_float(load<I32x16>(codes.sums + i))), most_sum);
  }
  const float all = sum_lanes(weight);
  if (all != all) return {NAN, false};  // as one of the scales
  const float by_all = kMost / all, by_sum = kMostSum / max_lanes(most_sum);
  const float finest = by_all < by_sum ? by_all : by_sum, steps = finest < 32767.0f ? finest : 32767.0f;
  F32x16 uneven = splat(0.0f);
  for (int64_t i = 0; i < count; i += kLanes) {
    const F32x16 exact = load_some(block_scales + i, count - i) * splat(inverse) * splat(steps);
    const F32x16 magnitude = load<F32x16>(codes.magnitudes + i);
    F32x16 even;
    SGL_EACH_REGISTER even.part[i] = magnitude.part[i] < kLeastMagnitudes ? FloatRegister{} : exact.part[i];
    uneven = fma(magnitude, magnitude, fma(even * splat(-kUneven), even, uneven));
    const I32x16 scale = round_to_int(exact), sum = load<I32x16>(codes.sums + i);
    const I32x16 start = load<I32x16>(kPairStarts) - splat(int32_t(kCodeCentre)) * sum;
    store_pairs(&pairs[i / 2].starts, sizeof(QuantizedPair), (smaller(kLanes, count - i) + 1) / 2, start, scale,
                shift_down_10(scale * sum + splat(int32_t(512))));
  }
  return {largest / steps * 32768.0f, sum_lanes(uneven) > 0.0f && inverse > 0.0f};
}

// What a whole row is needed for, after the last put_values.
SGL_INLINE void complete_row(const Rows& target, int64_t row) {
  if (target.kind != RowKind::kQuantized) return;
  const QuantizedRows& rows = target.quantized;
  const int64_t blocks = target.size / kBlock, segments = num_segments(target.size);
  QuantizedPair* pairs = rows.pairs + row * num_pairs(target.size);
  bool is_uneven = false;
  for (int64_t segment = 0; segment < segments; ++segment) {
    const int64_t from = segment * kSegmentBlocks, at = row * blocks + from;
    const int64_t count = smaller(kSegmentBlocks, blocks - from);
    CodeSums codes;
    sum_codes(pairs + from / 2, count, &codes);
    std::memcpy(rows.halves + 2 * at, codes.halves, size_t(2 * count) * sizeof(int32_t));
    for (int64_t block = 0; block < count; ++block) rows.sums[at + block] = rows.scales[at + block] * float(codes.sums[block]);
    const FixedUnit fixed = fix_scales(rows.scales + at, codes, count, pairs + from / 2);
    rows.units[row * segments + segment] = fixed.unit;
    is_uneven = is_uneven || fixed.is_uneven;
  }
  rows.is_uneven[row] = is_uneven;
}

// Puts values [start, start + count) of a row; `start` is a multiple of 64, `count` too or the rest of the row.
SGL_INLINE void put_values(const float* x, const Rows& target, int64_t row, int64_t start, int64_t count) {
  switch (target.kind) {
    case RowKind::kFloat:
      std::memcpy(target.floats + row * target.size + start, x, size_t(count) * sizeof(float));
      return;
    case RowKind::kBf16: {
      uint16_t* out = target.bf16 + row * ((target.size + 1) / 2 * 2) + start;
      int64_t i = 0;
      for (; i + kLanes <= count; i += kLanes) store_bf16(out + i, load<F32x16>(x + i));
      for (; i < count; ++i) out[i] = float_to_bf16(x[i]);
      if (count % 2) out[count] = 0;
      return;
    }
    case RowKind::kQuantized:
      QuantizedPair* pairs = target.quantized.pairs + row * num_pairs(target.size) + start / (2 * kBlock);
      float* scales = target.quantized.scales + (row * target.size + start) / kBlock;
      for (int64_t done = 0; done < count / kBlock; done += kLanes)
        quantize_blocks(x + done * kBlock, smaller(kLanes, count / kBlock - done), target.num_scales, pairs + done / 2,
                        scales + done);
  }
}

void convert(const float* source, int64_t source_stride, const Rows& target, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    put_values(source + row * source_stride, target, row, 0, target.size);
    complete_row(target, row);
  }
}

// The sum of squares goes lane by lane (index mod 16), then over the lanes in a fixed tree.
float sum_of_squares(const float* x, int64_t size) {
  F32x16 total = splat(0.0f);
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    const F32x16 values = load<F32x16>(x + i);
    total = fma(values, values, total);
  }
  if (i < size) {
    const F32x16 values = load_some(x + i, size - i);
    total = fma(values, values, total);
  }
  return sum_lanes(total);
}

void rms_norm(const float* source, int64_t source_stride, const float* weight, float eps, const Rows& target,
              int64_t begin, int64_t end) {
  constexpr int64_t kPiece = 512;  // a multiple of every block
  const int64_t size = target.size;
  float normed[kPiece];
  for (int64_t row = begin; row < end; ++row) {
    const float* x = source + row * source_stride;
    const float factor = 1.0f / std::sqrt(sum_of_squares(x, size) / float(size) + eps);
    for (int64_t start = 0; start < size; start += kPiece) {
      const int64_t count = size - start < kPiece ? size - start : kPiece;
      for (int64_t i = 0; i < count; ++i) normed[i] = x[start + i] * factor * weight[start + i];
      put_values(normed, target, row, start, count);
    }
    complete_row(target, row);
  }
}

// silu(gate) * up for products whose gate and up projections could not share tiles. source: [rows, 2 * size].
void silu_and_mul(const float* source, int64_t source_stride, const Rows& target, int64_t begin, int64_t end) {
  constexpr int64_t kPiece = 512;
  float values[kPiece];
  for (int64_t row = begin; row < end; ++row) {
    const float *gate = source + row * source_stride, *up = gate + target.size;
    for (int64_t start = 0; start < target.size; start += kPiece) {
      const int64_t count = target.size - start < kPiece ? target.size - start : kPiece;
      for (int64_t i = 0; i < count; i += kLanes) {
        const F32x16 product = silu(load_some(gate + start + i, count - i)) * load_some(up + start + i, count - i);
        store_some(values + i, product, count - i);
      }
      put_values(values, target, row, start, count);
    }
    complete_row(target, row);
  }
}

// target += source, [rows, size] both.
void add(const float* source, float* target, int64_t size, int64_t begin, int64_t end) {
  for (int64_t i = begin * size; i < end * size; ++i) target[i] += source[i];
}

template <class Format>
SGL_INLINE void unpack_column(const PackedWeight& weight, int64_t column, float* output) {
  const int64_t lane = column % kTileColumns, panel = lane / kLanes, place = 4 * (lane % kLanes);
  const uint8_t* bytes = weight.tiles + size_t(column / kTileColumns) * weight.tile_bytes + Format::kHeader;
  for (int64_t block = 0; block < weight.inputs / kBlock; ++block, bytes += Format::kBlockBytes) {
    const uint8_t* codes = bytes + panel * Format::kPanelCodes + place;
    const auto value_at = [&](int64_t index) {
      const uint8_t* at = bytes + Format::kScales + index * Format::kScaleBytes;
      if (Format::kScaleBytes == 4) return load<float>(at);
      return half_to_float(load<uint16_t>(at));
    };
    const float minimum = Format::kMin ? value_at(kTileColumns + lane) : 0.0f;
    for (int i = 0; i < kBlock; ++i) {
      const int group = i / 4;
      const int code = Format::kBits == 8 ? codes[64 * group + i % 4]
                       : group % 2        ? codes[64 * (group / 2) + i % 4] >> 4
                                          : codes[64 * (group / 2) + i % 4] & 15;
      const float scale = value_at(i / (kBlock / Format::kGroups) * kTileColumns + lane);
      output[block * kBlock + i] = float(code - weight.offset) * scale + minimum;
    }
  }
}

void unpack_float_column(const PackedWeight& weight, int64_t column, float* output) {
  const int64_t lane = column % kTileColumns;
  const uint8_t* tile = weight.tiles + size_t(column / kTileColumns) * weight.tile_bytes;
  for (int64_t k = 0; k < weight.inputs; ++k) {
    if (weight.format == WeightFormat::kFloat)
      output[k] = load<float>(tile + (k * kTileColumns + lane) * 4);
    else if (weight.format == WeightFormat::kHalf)
      output[k] = half_to_float(load<uint16_t>(tile + (k * kTileColumns + lane) * 2));
    else
      output[k] = bf16_to_float(load<uint16_t>(tile + (k / 2 * kTileColumns + lane) * 4 + k % 2 * 2));
  }
}

// Column `column` of a weight as float32: a row of the checkpoint's matrix.
void unpack_any_column(const PackedWeight& weight, int64_t column, float* output) {
  switch (weight.format) {
#define SGL_FORMAT(format) \
  case WeightFormat::format: return unpack_column<Quantized<WeightFormat::format>>(weight, column, output);
    SGL_FORMAT(kU4HalfOffset)
    SGL_FORMAT(kU4HalfMin)
    SGL_FORMAT(kU4FloatMin)
    SGL_FORMAT(kU8HalfOffset)
    SGL_FORMAT(kU8FloatMin)
    SGL_FORMAT(kU8FloatOffset16)
#undef SGL_FORMAT
    default: return unpack_float_column(weight, column, output);
  }
}

void embed(const PackedWeight& weight, const int64_t* token_ids, float* output, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) unpack_any_column(weight, token_ids[row], output + row * weight.inputs);
}
