// Matrix products of packed weights with rows of activations.
//
// A micro-kernel computes kRowTile rows by some panels of 16 columns with all sums in registers. Per output element the
// order is: blocks of inputs ascending; within a block an exact integer dot product, then one fused multiply-add with
// the product of the two scales, then one for the minimum. Float formats add input by input. So the size of a
// micro-kernel's tile never shows in the result. 4-bit codes have a shorter way, in fixed_point.inl.

#if defined(SGL_AVX512)
constexpr int kRowTile = 6;    // 6 x 2 integer and 6 x 2 float sums: 24 of 32 registers
constexpr int kPanelTile = 2;
#elif defined(__AVXVNNI__)
constexpr int kRowTile = 3;    // a panel takes two registers: 3 x 1 integer and float sums are 12 of 16
constexpr int kPanelTile = 1;
#elif defined(SGL_AVX2)
constexpr int kRowTile = 2;    // a panel takes two registers: 2 x 1 integer and float sums are 8 of 16
constexpr int kPanelTile = 1;
#else
constexpr int kRowTile = 1;
constexpr int kPanelTile = 1;
#endif

constexpr int kPanels = kTileColumns / kLanes;

// Weights that are read for one group of rows only come straight from memory, so they are asked for this far ahead.
constexpr int kPrefetchBlocks = 4;
constexpr int kCacheLine = 64;
// Of the next tile and of what comes after the product: lines per block of inputs. A block takes some 50 ns, in which
// memory could give 12.
constexpr int kLinesAhead = 6;

constexpr RowKind row_kind(WeightFormat format) {
  switch (format) {
    case WeightFormat::kBf16: return RowKind::kBf16;
    case WeightFormat::kHalf:
    case WeightFormat::kFloat: return RowKind::kFloat;
    default: return RowKind::kQuantized;
  }
}

// What the micro-kernel needs to know of a quantised format at compile time.
template <WeightFormat kFormat>
struct Quantized;
template <int kCodeBits, bool kHasMin, bool kHalfScales, int kGroupSize>
struct QuantizedTraits {
  static constexpr bool kIsFixed = kCodeBits == 4;
  static constexpr int kHeader = kIsFixed ? kUnitsBytes : 0;  // in front of the tile
  static constexpr int kBits = kCodeBits;
  static constexpr int kMaxCode = kCodeBits == 4 ? 15 : 255;
  static constexpr bool kMin = kHasMin;
  static constexpr int kGroups = kBlock / kGroupSize;
  static constexpr int kScaleBytes = kHalfScales ? 2 : 4;
  static constexpr int kPanelCodes = kLanes * kBlock * kCodeBits / 8;
  static constexpr int kScales = kPanels * kPanelCodes;                             // offset of the scales in a block
  static constexpr int kMinima = kScales + kGroups * kTileColumns * kScaleBytes;
  static constexpr int kBlockBytes = kMinima + (kHasMin ? kTileColumns * kScaleBytes : 0);
  SGL_INLINE static F32x16 load_scales(const uint8_t* source) {
    return kHalfScales ? load_half(source) : load<F32x16>(source);
  }
};
template <>
struct Quantized<WeightFormat::kU4HalfOffset> : QuantizedTraits<4, false, true, 32> {};
template <>
struct Quantized<WeightFormat::kU4HalfMin> : QuantizedTraits<4, true, true, 32> {};
template <>
struct Quantized<WeightFormat::kU4FloatMin> : QuantizedTraits<4, true, false, 32> {};
template <>
struct Quantized<WeightFormat::kU8HalfOffset> : QuantizedTraits<8, false, true, 32> {};
template <>
struct Quantized<WeightFormat::kU8FloatMin> : QuantizedTraits<8, true, false, 32> {};
template <>
struct Quantized<WeightFormat::kU8FloatOffset16> : QuantizedTraits<8, false, false, 16> {};

SGL_INLINE int32_t four_codes(const int8_t* codes) {
  int32_t result;
  std::memcpy(&result, codes, 4);
  return result;
}

SGL_INLINE U8x64 low_halves(const U8x64& packed) {
  U8x64 result;
  SGL_EACH_REGISTER result.part[i] = packed.part[i] & 15;
  return result;
}

SGL_INLINE U8x64 high_halves(const U8x64& packed) {
  U8x64 result;
  SGL_EACH_REGISTER result.part[i] = (ByteRegister)((Word16Register)packed.part[i] >> 4) & 15;
  return result;
}

// sums += codes * four inputs of each row, `at` from where its codes begin. An input is spread once for all panels.
template <int kMaxCode, int kRows, int kUsedPanels>
SGL_INLINE void dot_four(const U8x64* codes, const QuantizedPair* const* x, int at, I32x16 (*sums)[kUsedPanels]) {
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row) {
    const int32_t values = four_codes(x[row]->codes + at);
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel)
      sums[row][panel] = dot<kMaxCode>(sums[row][panel], codes[panel], values);
  }
}

// Adds the dot products of the inputs [16 * kFrom, 16 * kTo) of a block to `sums`. `at`: of the block in the rows' pairs.
template <class Format, int kRows, int kUsedPanels, int kFrom, int kTo>
SGL_INLINE void dot_block(const uint8_t* codes, const QuantizedPair* const* x, int at, I32x16 (*sums)[kUsedPanels]) {
  constexpr int kVectors = Format::kBits == 4 ? 2 : 4;  // of codes for 16 inputs
#pragma GCC unroll 8
  for (int vector = kVectors * kFrom; vector < kVectors * kTo; ++vector) {
    U8x64 bytes[kUsedPanels], part[kUsedPanels];
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel)
      bytes[panel] = load<U8x64>(codes + panel * Format::kPanelCodes + 64 * vector);
    if (Format::kBits == 8) {
      dot_four<Format::kMaxCode, kRows, kUsedPanels>(bytes, x, at + 4 * vector, sums);
      continue;
    }
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel) part[panel] = low_halves(bytes[panel]);
    dot_four<Format::kMaxCode, kRows, kUsedPanels>(part, x, at + 8 * vector, sums);
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel) part[panel] = high_halves(bytes[panel]);
    dot_four<Format::kMaxCode, kRows, kUsedPanels>(part, x, at + 8 * vector + 4, sums);
  }
}

template <class Format, int kRows, int kUsedPanels>
SGL_INLINE void quantized_micro_kernel(const PackedWeight& weight, const uint8_t* tile, int first_panel,
                                       const QuantizedRows& rows, int64_t first_row, bool is_streamed,
                                       Prefetcher& ahead, F32x16 (*out)[kPanels]) {
  const int64_t inputs = weight.inputs, blocks = inputs / kBlock;
  const int32_t offset = weight.offset;
  const QuantizedPair* x[kRows];
  const float *scales[kRows], *sums_of[kRows];
  const int32_t* halves[kRows];
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row) {
    x[row] = rows.pairs + (first_row + row) * num_pairs(inputs);
    scales[row] = rows.scales + (first_row + row) * blocks;
    sums_of[row] = rows.sums + (first_row + row) * blocks;
    halves[row] = rows.halves + (first_row + row) * blocks * 2;
  }
  F32x16 total[kRows][kUsedPanels];
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel) total[row][panel] = splat(0.0f);

  const uint8_t* bytes = tile + Format::kHeader;
  for (int64_t block = 0; block < blocks; ++block, bytes += Format::kBlockBytes) {
    const uint8_t* codes = bytes + first_panel * Format::kPanelCodes;
    const uint8_t* block_scales = bytes + Format::kScales + first_panel * kLanes * Format::kScaleBytes;
    if (is_streamed)
      for (int line = 0; line < Format::kBlockBytes; line += kCacheLine)
        __builtin_prefetch(bytes + kPrefetchBlocks * Format::kBlockBytes + line);
    ahead.fetch(kLinesAhead);
    const int at = int(block % 2) * kBlock;
#pragma GCC unroll 2
    for (int group = 0; group < Format::kGroups; ++group) {
      I32x16 sums[kRows][kUsedPanels];
#pragma GCC unroll 6
      for (int row = 0; row < kRows; ++row) {
        I32x16 start = splat(int32_t(0));
        if (!Format::kMin) {
          const int32_t* half = halves[row] + 2 * block;
          start = splat(-offset * (Format::kGroups == 2 ? half[group] : half[0] + half[1]));
        }
#pragma GCC unroll 2
        for (int panel = 0; panel < kUsedPanels; ++panel) sums[row][panel] = start;
      }
      if (Format::kGroups == 1)
        dot_block<Format, kRows, kUsedPanels, 0, 2>(codes, x, at, sums);
      else if (group == 0)
        dot_block<Format, kRows, kUsedPanels, 0, 1>(codes, x, at, sums);
      else
        dot_block<Format, kRows, kUsedPanels, 1, 2>(codes, x, at, sums);
#pragma GCC unroll 2
      for (int panel = 0; panel < kUsedPanels; ++panel) {
        const uint8_t* at = block_scales + (group * kTileColumns + panel * kLanes) * Format::kScaleBytes;
        const F32x16 scale = Format::load_scales(at);
#pragma GCC unroll 6
        for (int row = 0; row < kRows; ++row)
          total[row][panel] = fma(to_float(sums[row][panel]), scale * splat(scales[row][block]), total[row][panel]);
        if (Format::kMin) {
          const F32x16 minimum = Format::load_scales(at + Format::kMinima - Format::kScales);
#pragma GCC unroll 6
          for (int row = 0; row < kRows; ++row)
            total[row][panel] = fma(minimum, splat(sums_of[row][block]), total[row][panel]);
        }
      }
    }
#pragma GCC unroll 6
    for (int row = 0; row < kRows; ++row) x[row] += block % 2;
  }
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel) out[row][first_panel + panel] = total[row][panel];
}

#include "fixed_point.inl"

template <int kRows, int kUsedPanels>
SGL_INLINE void bf16_micro_kernel(const PackedWeight& weight, const uint8_t* tile, int first_panel, const uint16_t* rows,
                                  int64_t first_row, F32x16 (*out)[kPanels]) {
  const int64_t pairs = (weight.inputs + 1) / 2;
  const uint16_t* x = rows + first_row * 2 * pairs;
  F32x16 total[kRows][kUsedPanels];
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel) total[row][panel] = splat(0.0f);
  const uint8_t* bytes = tile + first_panel * 64;
  for (int64_t pair = 0; pair < pairs; ++pair, bytes += 2 * 64) {
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel) {
      const Bf16x32 w = load<Bf16x32>(bytes + 64 * panel);
#pragma GCC unroll 6
      for (int row = 0; row < kRows; ++row) {
        int32_t both;
        std::memcpy(&both, x + row * 2 * pairs + 2 * pair, 4);
        total[row][panel] = dot(total[row][panel], w, splat_pair(both));
      }
    }
  }
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel) out[row][first_panel + panel] = total[row][panel];
}

template <bool kHalf, int kRows, int kUsedPanels>
SGL_INLINE void float_micro_kernel(const PackedWeight& weight, const uint8_t* tile, int first_panel, const float* rows,
                                   int64_t first_row, F32x16 (*out)[kPanels]) {
  constexpr int kBytes = kHalf ? 2 : 4;
  const float* x = rows + first_row * weight.inputs;
  F32x16 total[kRows][kUsedPanels];
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel) total[row][panel] = splat(0.0f);
  const uint8_t* bytes = tile + first_panel * kLanes * kBytes;
  for (int64_t k = 0; k < weight.inputs; ++k, bytes += kTileColumns * kBytes) {
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel) {
      const uint8_t* at = bytes + panel * kLanes * kBytes;
      const F32x16 w = kHalf ? load_half(at) : load<F32x16>(at);
#pragma GCC unroll 6
      for (int row = 0; row < kRows; ++row)
        total[row][panel] = fma(w, splat(x[row * weight.inputs + k]), total[row][panel]);
    }
  }
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel) out[row][first_panel + panel] = total[row][panel];
}

template <WeightFormat kFormat, int kRows, int kUsedPanels>
SGL_INLINE void micro_kernel(const MatmulArgs& args, const uint8_t* tile, int first_panel, int64_t first_row,
                             bool is_streamed, F32x16 (*out)[kPanels]) {
  (void)is_streamed;  // float formats leave it to the processor
  const PackedWeight& weight = *args.weight;
  if constexpr (kFormat == WeightFormat::kBf16)
    bf16_micro_kernel<kRows, kUsedPanels>(weight, tile, first_panel, args.input.bf16, first_row, out);
  else if constexpr (kFormat == WeightFormat::kHalf || kFormat == WeightFormat::kFloat)
    float_micro_kernel<kFormat == WeightFormat::kHalf, kRows, kUsedPanels>(weight, tile, first_panel, args.input.floats,
                                                                           first_row, out);
  else if constexpr (Quantized<kFormat>::kIsFixed)
    if (is_streamed)
      fixed_micro_kernel<Quantized<kFormat>, true, kRows, kUsedPanels>(args, tile, first_panel, first_row, out);
    else
      fixed_micro_kernel<Quantized<kFormat>, false, kRows, kUsedPanels>(args, tile, first_panel, first_row, out);
  else
    quantized_micro_kernel<Quantized<kFormat>, kRows, kUsedPanels>(weight, tile, first_panel, args.input.quantized,
                                                                   first_row, is_streamed, *args.ahead, out);
}

SGL_INLINE F32x16 silu(const F32x16& x) {
  // x / (1 + e^-x); below -87 the exponential would overflow, and the result is 0 to float precision
  const F32x16 exponent = min(splat(0.0f) - x, splat(87.0f));
  return x / (splat(1.0f) + exp(exponent));
}

// Write `count` values of a vector, all 16 in the usual case.
SGL_INLINE void store_some(float* target, const F32x16& value, int64_t count) {
  if (count >= kLanes) {
    store(target, value);
  } else if (count > 0) {
    float lanes[kLanes];
    store(lanes, value);
    std::memcpy(target, lanes, size_t(count) * sizeof(float));
  }
}

SGL_INLINE F32x16 load_some(const float* source, int64_t count) {
  if (count >= kLanes) return load<F32x16>(source);
#if defined(SGL_AVX512)
  F32x16 result;
  result.part[0] = (FloatRegister)_mm512_maskz_loadu_ps(__mmask16((1u << (count > 0 ? count : 0)) - 1), source);
  return result;
#else
  float lanes[kLanes] = {};
  if (count > 0) std::memcpy(lanes, source, size_t(count) * sizeof(float));
  return load<F32x16>(lanes);
#endif
}

SGL_INLINE void finish_row(const MatmulArgs& args, int64_t tile, int64_t row, F32x16* values) {
  const int64_t columns = args.weight->columns, column = tile * kTileColumns;
  if (args.bias != nullptr)
    for (int panel = 0; panel < kPanels; ++panel)
      values[panel] = values[panel] + load_some(args.bias + column + panel * kLanes, columns - column - panel * kLanes);
  float* out = args.output + row * args.output_stride;
  if (args.epilogue == Epilogue::kSiluAndMul) {
    store_some(out + column / 2, silu(values[0]) * values[1], columns / 2 - column / 2);
    return;
  }
  for (int panel = 0; panel < kPanels; ++panel) {
    const int64_t at = column + panel * kLanes;
    if (args.epilogue == Epilogue::kAdd) values[panel] = values[panel] + load_some(out + at, columns - at);
    store_some(out + at, values[panel], columns - at);
  }
}

// The same for rows of a tile that is full and has no bias.
template <Epilogue kEpilogue, int kRows>
SGL_INLINE void finish_full_rows(float* out, int64_t stride, const F32x16 (*values)[kPanels]) {
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row, out += stride) {
    if (kEpilogue == Epilogue::kSiluAndMul) {
      store(out, silu(values[row][0]) * values[row][1]);
      continue;
    }
#pragma GCC unroll 2
    for (int panel = 0; panel < kPanels; ++panel) {
      float* at = out + panel * kLanes;
      store(at, kEpilogue == Epilogue::kAdd ? values[row][panel] + load<F32x16>(at) : values[row][panel]);
    }
  }
}

template <int kRows>
SGL_INLINE void finish_rows(const MatmulArgs& args, int64_t tile, int64_t first_row, F32x16 (*values)[kPanels]) {
  const int64_t column = tile * kTileColumns;
  if (args.bias != nullptr || column + kTileColumns > args.weight->columns) {
    for (int row = 0; row < kRows; ++row) finish_row(args, tile, first_row + row, values[row]);
    return;
  }
  float* out = args.output + first_row * args.output_stride + column;
  switch (args.epilogue) {
    case Epilogue::kStore: return finish_full_rows<Epilogue::kStore, kRows>(out, args.output_stride, values);
    case Epilogue::kAdd: return finish_full_rows<Epilogue::kAdd, kRows>(out, args.output_stride, values);
    case Epilogue::kSiluAndMul:
      return finish_full_rows<Epilogue::kSiluAndMul, kRows>(out - column / 2, args.output_stride, values);
  }
}

// Asks for the lines that finish_rows is about to write. Another instruction wrote them last, so they are seldom in the
// nearest cache, and a store that waits for its line soon makes the next products wait.
template <int kRows>
SGL_INLINE void fetch_outputs(const MatmulArgs& args, int64_t tile, int64_t first_row) {
  const bool is_half = args.epilogue == Epilogue::kSiluAndMul;
  const float* out = args.output + first_row * args.output_stride + tile * kTileColumns / (is_half ? 2 : 1);
  for (int row = 0; row < kRows; ++row, out += args.output_stride) {
    __builtin_prefetch(out, 1);
    if (!is_half) __builtin_prefetch(out + kLanes, 1);
  }
}

// Rows whose scales are too uneven for fixed point once more.
template <class Format>
__attribute__((noinline)) void row_in_floats(const MatmulArgs& args, const uint8_t* tile, int64_t row, F32x16* values) {
  F32x16 result[1][kPanels];
  for (int panel = 0; panel < kPanels; panel += kPanelTile)
    quantized_micro_kernel<Format, 1, kPanelTile>(*args.weight, tile, panel, args.input.quantized, row, false, *args.ahead,
                                                  result);
  for (int panel = 0; panel < kPanels; ++panel) values[panel] = result[0][panel];
}

template <WeightFormat kFormat, int kRows>
SGL_INLINE void rows_by_tile(const MatmulArgs& args, int64_t tile, int64_t first_row, bool is_streamed) {
  const uint8_t* bytes = args.weight->tiles + size_t(tile) * args.weight->tile_bytes;
  fetch_outputs<kRows>(args, tile, first_row);
  F32x16 values[kRows][kPanels];
#pragma GCC unroll 2
  for (int panel = 0; panel < kPanels; panel += kPanelTile)
    micro_kernel<kFormat, kRows, kPanelTile>(args, bytes, panel, first_row, is_streamed, values);
  if constexpr (row_kind(kFormat) == RowKind::kQuantized)
    if constexpr (Quantized<kFormat>::kIsFixed)
      for (int row = 0; row < kRows; ++row)
        if (args.input.quantized.is_uneven[first_row + row])
          row_in_floats<Quantized<kFormat>>(args, bytes, first_row + row, values[row]);
  finish_rows<kRows>(args, tile, first_row, values);
}

// As rows_by_tile, for 1 to kRows rows.
template <WeightFormat kFormat, int kRows>
SGL_INLINE void up_to_rows_by_tile(const MatmulArgs& args, int64_t tile, int64_t first_row, int64_t count,
                                   bool is_streamed) {
  if (count == kRows) {
    rows_by_tile<kFormat, kRows>(args, tile, first_row, is_streamed);
  } else if constexpr (kRows > 1) {
    up_to_rows_by_tile<kFormat, kRows - 1>(args, tile, first_row, count, is_streamed);
  }
}

// Before several groups of rows go through a tile.
template <WeightFormat kFormat>
SGL_INLINE void prepare_tile(const MatmulArgs& args, int64_t tile) {
  if constexpr (row_kind(kFormat) == RowKind::kQuantized)
    if constexpr (Quantized<kFormat>::kIsFixed)
      fix_tile<Quantized<kFormat>>(*args.weight, args.weight->tiles + size_t(tile) * args.weight->tile_bytes,
                                   static_cast<PairScales*>(args.scratch));
}

// Rows go in groups as even as possible: 8 as 4 + 4 keep more sums in flight than 6 + 2.
template <WeightFormat kFormat>
void matmul_format(const MatmulArgs& args, int64_t tile_begin, int64_t tile_end, int64_t row_begin, int64_t row_end) {
  const int64_t rows = row_end - row_begin, groups = (rows + kRowTile - 1) / kRowTile;
  for (int64_t tile = tile_begin; tile < tile_end; ++tile) {
    if (groups > 1) {
      args.ahead->demand(args.weight->tiles + size_t(tile + 1) * args.weight->tile_bytes, args.weight->tile_bytes);
      prepare_tile<kFormat>(args, tile);
    }
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t from = row_begin + group * rows / groups, to = row_begin + (group + 1) * rows / groups;
      up_to_rows_by_tile<kFormat, kRowTile>(args, tile, from, to - from, groups == 1);
    }
  }
}

void matmul(const MatmulArgs& args, int64_t tile_begin, int64_t tile_end, int64_t row_begin, int64_t row_end) {
  switch (args.weight->format) {
#define SGL_FORMAT(format) \
  case WeightFormat::format: return matmul_format<WeightFormat::format>(args, tile_begin, tile_end, row_begin, row_end);
    SGL_FORMAT(kU4HalfOffset)
    SGL_FORMAT(kU4HalfMin)
    SGL_FORMAT(kU4FloatMin)
    SGL_FORMAT(kU8HalfOffset)
    SGL_FORMAT(kU8FloatMin)
    SGL_FORMAT(kU8FloatOffset16)
    SGL_FORMAT(kBf16)
    SGL_FORMAT(kHalf)
    SGL_FORMAT(kFloat)
#undef SGL_FORMAT
  }
}

