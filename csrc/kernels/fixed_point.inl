// Products of 4-bit codes, in fixed point.
//
// Counted from kCodeCentre a block's dot product fits 16 bits, so those of two blocks share a lane; one instruction
// multiplies both by the products of their scales, 16 bits as well, and adds them up, another adds what two centre
// codes stand for. With the one that multiplies scales these are 3 instructions for two blocks, where floats take 6.
// A weight's scales are rounded to 2^-15 of the largest of their column, a row's as QuantizedPair says: that changes
// results by some hundredths of what rounding the row to codes does. All sums are of whole numbers. Where one input is
// far above the others of its segment, as those of a down projection can be for a prompt's first token, their blocks have
// few steps left; such a row is uneven, and computed in floats.

// 16 columns' scales of a pair of blocks, and what their centre codes stand for, in the columns' units; of these kCentreSteps
// times as large.
struct PairScales {
  I16x32 scales, centres;
};

template <class Format>
SGL_INLINE void fix_block(const uint8_t* scales, const F32x16& per_unit, I32x16* scale, I32x16* centre) {
  const F32x16 value = Format::load_scales(scales);
  *scale = round_to_int(value * per_unit);
  if (!Format::kMin) return;
  const F32x16 minimum = Format::load_scales(scales + Format::kMinima - Format::kScales);
  const F32x16 middle = fma(value, splat(float(kCodeCentre)), minimum);
  *centre = round_to_int(middle * (per_unit * splat(1.0f / kCentreSteps)));
}

template <class Format>
SGL_INLINE PairScales fix_pair(const uint8_t* scales, bool has_second, const F32x16& per_unit) {
  I32x16 scale[2], centre[2];
  scale[1] = centre[0] = centre[1] = splat(int32_t(0));
  fix_block<Format>(scales, per_unit, &scale[0], &centre[0]);
  if (has_second) fix_block<Format>(scales + Format::kBlockBytes, per_unit, &scale[1], &centre[1]);
  return {pack_int16(scale[0], scale[1]), pack_int16(centre[0], centre[1])};
}

// 2^(127 - exponent) for the exponents of 16 columns; of an infinite unit, whatever.
SGL_INLINE F32x16 load_inverse_powers(const uint8_t* exponents) {
  uint8_t inverse[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) inverse[lane] = uint8_t(254 - exponents[lane]);
  return load_powers(inverse);
}

// Where a tile goes through several groups of rows its scales are fixed once: [pairs][panels], in the thread's scratch.
template <class Format>
void fix_tile(const PackedWeight& weight, const uint8_t* tile, PairScales* fixed) {
  const int64_t blocks = weight.inputs / kBlock;
  for (int panel = 0; panel < kPanels; ++panel) {
    const F32x16 per_unit = load_inverse_powers(tile + panel * kLanes);
    const uint8_t* scales = tile + Format::kHeader + Format::kScales + panel * kLanes * Format::kScaleBytes;
    for (int64_t block = 0; block < blocks; block += 2, scales += 2 * Format::kBlockBytes)
      fixed[block / 2 * kPanels + panel] = fix_pair<Format>(scales, block + 1 < blocks, per_unit);
  }
}

// A segment of some rows and of panels of a tile: pairs of blocks one after the other, the last perhaps without its second
// block, from where rows, weight and fixed scales point.
struct PairRun {
  int64_t num_blocks;
  const QuantizedPair* rows;
  int64_t row_stride;
  const float* units;        // of the rows
  int64_t unit_stride;
  const uint8_t* weight;     // the blocks of the tile, from the codes of the first panel on
  const uint8_t* scales;     // the same from its scales on
  const uint8_t* exponents;  // of its columns' units
  const PairScales* ready;   // what fix_tile made of them, if it was called
  Prefetcher* ahead;
  bool is_first;             // of the segments
};

// total += a pair of blocks.
template <class Format, bool kHasSecond, int kRows, int kUsedPanels>
SGL_INLINE void add_pair(const uint8_t* codes, const PairScales* fixed, const QuantizedPair* const* x,
                         I32x16 (*total)[kUsedPanels]) {
  I32x16 sums[kRows][kUsedPanels];
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel) sums[row][panel] = splat(x[row]->starts[1]);
  dot_block<Format, kRows, kUsedPanels, 0, 2>(codes, x, 0, sums);
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row) {
    const I32x16 start = splat(x[row]->starts[0]);
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel) sums[row][panel] = shift_up_16(sums[row][panel]) + start;
  }
  if (kHasSecond) dot_block<Format, kRows, kUsedPanels, 0, 2>(codes + Format::kBlockBytes, x, kBlock, sums);
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row) {
    const I16x32 scales = splat_int16_pair(x[row]->scales), code_sums = splat_int16_pair(x[row]->sums);
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel) {
      const I16x32 dots = as_int16_pairs(sums[row][panel] ^ splat(int32_t(kSecondStart)));
      total[row][panel] = dot(total[row][panel], dots, multiply_fractions(fixed[panel].scales, scales));
      if (Format::kMin) total[row][panel] = dot(total[row][panel], fixed[panel].centres, code_sums);
    }
  }
}

// out = the sum of a run's pairs, or out += it if other segments were before. A function of its own, so that its loop has all
// the registers.
template <class Format, bool kIsStreamed, int kRows, int kUsedPanels>
__attribute__((noinline)) void add_segment(const PairRun& run, F32x16 (*out)[kPanels]) {
  const QuantizedPair* x[kRows];
  I32x16 total[kRows][kUsedPanels];
  F32x16 per_unit[kUsedPanels];
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row) {
    x[row] = run.rows + row * run.row_stride;
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel) total[row][panel] = splat(int32_t(0));
  }
  if (kIsStreamed)
#pragma GCC unroll 2
    for (int panel = 0; panel < kUsedPanels; ++panel) per_unit[panel] = load_inverse_powers(run.exponents + panel * kLanes);
  const uint8_t *codes = run.weight, *scales = run.scales;
  const PairScales* ready = run.ready;
  Prefetcher& ahead = *run.ahead;
  const auto add_next = [&](auto has_second) __attribute__((always_inline)) {
    constexpr bool kHasSecond = decltype(has_second)::value;
    ahead.fetch(2 * kLinesAhead);
    if (kIsStreamed) {
      for (int line = 0; line < 2 * Format::kBlockBytes; line += kCacheLine)
        __builtin_prefetch(codes + kPrefetchBlocks * Format::kBlockBytes + line);
      PairScales fixed[kUsedPanels];
#pragma GCC unroll 2
      for (int panel = 0; panel < kUsedPanels; ++panel)
        fixed[panel] = fix_pair<Format>(scales + panel * kLanes * Format::kScaleBytes, kHasSecond, per_unit[panel]);
      add_pair<Format, kHasSecond, kRows, kUsedPanels>(codes, fixed, x, total);
    } else {
      add_pair<Format, kHasSecond, kRows, kUsedPanels>(codes, ready, x, total);
    }
  };
  for (int64_t left = run.num_blocks / 2; left > 0; --left) {
    add_next(std::true_type());
    codes += 2 * Format::kBlockBytes;
    scales += 2 * Format::kBlockBytes;
    ready += kPanels;
#pragma GCC unroll 6
    for (int row = 0; row < kRows; ++row) ++x[row];
  }
  if (run.num_blocks % 2 != 0) add_next(std::false_type());
#pragma GCC unroll 2
  for (int panel = 0; panel < kUsedPanels; ++panel) {
    const F32x16 unit = load_powers(run.exponents + panel * kLanes);
#pragma GCC unroll 6
    for (int row = 0; row < kRows; ++row) {
      const F32x16 sum = to_float(total[row][panel]) * unit * splat(run.units[row * run.unit_stride]);
      out[row][panel] = run.is_first ? sum : out[row][panel] + sum;
    }
  }
}

template <class Format, bool kIsStreamed, int kRows, int kUsedPanels>
SGL_INLINE void fixed_micro_kernel(const MatmulArgs& args, const uint8_t* tile, int first_panel, int64_t first_row,
                                   F32x16 (*out)[kPanels]) {
  const int64_t blocks = args.weight->inputs / kBlock, segments = num_segments(args.weight->inputs);
  const int64_t stride = num_pairs(args.weight->inputs);
  for (int64_t segment = 0; segment < segments; ++segment) {
    const int64_t from = segment * kSegmentBlocks, pair = from / 2;
    const uint8_t* weight = tile + Format::kHeader + from * Format::kBlockBytes;
    const PairRun run{smaller(kSegmentBlocks, blocks - from),
                      args.input.quantized.pairs + first_row * stride + pair,
                      stride,
                      args.input.quantized.units + first_row * segments + segment,
                      segments,
                      weight + first_panel * Format::kPanelCodes,
                      weight + Format::kScales + first_panel * kLanes * Format::kScaleBytes,
                      tile + first_panel * kLanes,
                      static_cast<const PairScales*>(args.scratch) + pair * kPanels + first_panel,
                      args.ahead,
                      segment == 0};
    add_segment<Format, kIsStreamed, kRows, kUsedPanels>(run, reinterpret_cast<F32x16(*)[kPanels]>(out[0] + first_panel));
  }
}
