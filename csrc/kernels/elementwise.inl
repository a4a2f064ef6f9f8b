// Row-wise operations: norms, conversions of rows to what products read, token embeddings.

// Largest magnitude of 32 values as a float; NaN if one of them is NaN or infinite. Magnitudes order as integers.
SGL_INLINE float largest_magnitude(const F32x16& a, const F32x16& b) {
  I32x16 bits;
  SGL_EACH_REGISTER {
    const IntRegister x = (IntRegister)a.part[i] & 0x7fffffff, y = (IntRegister)b.part[i] & 0x7fffffff;
    bits.part[i] = x > y ? x : y;
  }
  const int32_t largest = max_lanes(bits);
  if (largest >= 0x7f800000) return NAN;
  float result;
  std::memcpy(&result, &largest, 4);
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

// A block with a value that is not finite gets NaN as its scale, so that nothing made of it looks like a result.
// `at`: the block among the blocks of all rows.
SGL_INLINE void quantize_block(const float* x, const QuantizedRows& target, int64_t at, int8_t* codes, int num_scales) {
  const F32x16 low = load<F32x16>(x), high = load<F32x16>(x + kLanes);
  const float largest = largest_magnitude(low, high);
  // A scale so small that its inverse overflows stands for zeros.
  BlockScale how{largest / 127.0f, largest > 1e-36f ? 127.0f / largest : 0.0f};
  if (num_scales > 0 && largest > 1e-12f && largest < 1e12f) how = best_scale(low, high, largest, num_scales);
  store_int8(codes, round_to_int(low * splat(how.inverse)));
  store_int8(codes + kLanes, round_to_int(high * splat(how.inverse)));
  const int32_t sums[2] = {sum_int8(codes), sum_int8(codes + kLanes)};
  target.scales[at] = how.scale;
  target.sums[at] = how.scale * float(sums[0] + sums[1]);
  target.halves[2 * at] = sums[0];
  target.halves[2 * at + 1] = sums[1];
}

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
SGL_INLINE FixedUnit fix_scales(const float* block_scales, const int32_t* halves, int64_t count, QuantizedPair* pairs) {
  constexpr float kMost = 178956970.0f - 262144.0f;  // less those 2^11 and what rounding adds, for kSegmentBlocks
  constexpr float kMostSum = 33554432.0f - 4096.0f;  // less what rounding adds
  constexpr int kRoom = kSegmentBlocks + kLanes;     // the last pair's second block may be missing; whole vectors
  float magnitudes[kRoom], are_many[kRoom];
  int32_t sums[kRoom], scales[kRoom], fixed_sums[kRoom];
  for (int64_t block = 0; block < count; ++block) {
    const int8_t* codes = pairs[block / 2].codes + block % 2 * kBlock;
    magnitudes[block] = float(sum_magnitudes(codes) + sum_magnitudes(codes + kLanes));
    are_many[block] = magnitudes[block] < kLeastMagnitudes ? 0.0f : 1.0f;
    sums[block] = halves[2 * block] + halves[2 * block + 1];
  }
  for (int i = 0; i < kLanes; ++i) {
    magnitudes[count + i] = are_many[count + i] = 0.0f;
    sums[count + i] = 0;
  }
  F32x16 most = splat(0.0f), most_sum = splat(0.0f), weight = splat(0.0f);
  for (int64_t i = 0; i < count; i += kLanes) most = max(load_some(block_scales + i, count - i), most);
  const float largest = max_lanes(most);
  const float inverse = largest > 4e-39f ? 1.0f / largest : 0.0f;  // codes of smaller scales are zeros
  for (int64_t i = 0; i < count; i += kLanes) {
    const F32x16 share = load_some(block_scales + i, count - i) * splat(inverse);
    weight = fma(share, load<F32x16>(magnitudes + i), weight);
    most_sum = max(abs(share * to_float(load<I32x16>(sums + i))), most_sum);
  }
  const float all = sum_lanes(weight);
  if (all != all) return {NAN, false};  // as one of the scales
  const float by_all = kMost / all, by_sum = kMostSum / max_lanes(most_sum);
  const float finest = by_all < by_sum ? by_all : by_sum, steps = finest < 32767.0f ? finest : 32767.0f;
  F32x16 uneven = splat(0.0f);
  for (int64_t i = 0; i <= count; i += kLanes) {
    const F32x16 exact = load_some(block_scales + i, count - i) * splat(inverse) * splat(steps);
    const F32x16 even = exact * load<F32x16>(are_many + i), magnitude = load<F32x16>(magnitudes + i);
    uneven = fma(magnitude, magnitude, fma(even * splat(-kUneven), even, uneven));
    const I32x16 scale = round_to_int(exact);
    store(scales + i, scale);
    store(fixed_sums + i, shift_down_10(scale * load<I32x16>(sums + i) + splat(int32_t(512))));
  }
  for (int64_t block = 0; block < count; block += 2, ++pairs) {
    pairs->starts[0] = kSecondStart - kCodeCentre * sums[block + 1];
    pairs->starts[1] = -kCodeCentre * sums[block];
    pairs->scales[0] = int16_t(scales[block + 1]);
    pairs->scales[1] = int16_t(scales[block]);
    pairs->sums[0] = int16_t(fixed_sums[block + 1]);
    pairs->sums[1] = int16_t(fixed_sums[block]);
  }
  return {largest / steps * 32768.0f, sum_lanes(uneven) > 0.0f && inverse > 0.0f};
}

// What a whole row is needed for, after the last put_values.
SGL_INLINE void complete_row(const Rows& target, int64_t row) {
  if (target.kind != RowKind::kQuantized) return;
  const QuantizedRows& rows = target.quantized;
  const int64_t blocks = target.size / kBlock, segments = num_segments(target.size);
  const float* scales = rows.scales + row * blocks;
  const int32_t* halves = rows.halves + row * blocks * 2;
  QuantizedPair* pairs = rows.pairs + row * num_pairs(target.size);
  bool is_uneven = false;
  for (int64_t segment = 0; segment < segments; ++segment) {
    const int64_t from = segment * kSegmentBlocks, left = blocks - from;
    const FixedUnit fixed = fix_scales(scales + from, halves + 2 * from,
                                       left < kSegmentBlocks ? left : kSegmentBlocks, pairs + from / 2);
    rows.units[row * segments + segment] = fixed.unit;
    is_uneven = is_uneven || fixed.is_uneven;
  }
  rows.is_uneven[row] = is_uneven;
}

// Puts values [start, start + count) of a row; `start` is a multiple of 32, `count` too or the rest of the row.
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
      for (int64_t block = start / kBlock; block < (start + count) / kBlock; ++block) {
        int8_t* codes = target.quantized.pairs[row * num_pairs(target.size) + block / 2].codes + block % 2 * kBlock;
        quantize_block(x + block * kBlock - start, target.quantized, row * (target.size / kBlock) + block, codes,
                       target.num_scales);
      }
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
