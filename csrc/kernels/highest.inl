// Bounds of the logits of a row: from the high halves of the codes for all columns, then from both halves where it matters.

// Logits, estimates and refinements are each rounded some 2 times a block. Nothing that is rounded is above 18 times the
// spread, as a code is at most 128 where 7.5 are left open. So all together are off by less than this share of the spread
// for each block, and 8 of them. Products of scales below the smallest float are off by more, but by less than kTiny in all.
constexpr float kRoundingPerBlock = 1.0f / float(1 << 18);
constexpr float kTiny = 1e-28f;
constexpr float kHuge = 1e36f;  // where spreads are less, all that is computed is finite

constexpr int kHighBlocksAhead = 12;   // a block takes less of memory's time to answer than those of other products
constexpr int kColumnsAhead = 12;

SGL_INLINE float rounding_share(const LogitSearch& search) {
  return float(search.head->high.inputs / kBlock + 8) * kRoundingPerBlock;
}

void share_blocks(const LogitSearch& search) {
  const int64_t blocks = search.head->high.inputs / kBlock;
  for (int64_t block = 0; block < blocks; ++block) {
    const int8_t* codes = search.pairs[block / 2].codes + block % 2 * kBlock;
    int32_t sum = 0, magnitude = 0;
    for (int i = 0; i < kBlock; ++i) {
      sum += codes[i];
      magnitude += codes[i] < 0 ? -codes[i] : codes[i];
    }
    const float scale = search.row_scales[block];
    search.shares[block] = {16.0f * scale, 7.53125f * float(sum), 7.5f * scale * float(magnitude)};
    search.scales[block] = scale;
    search.low_centres[block] = -7.5f * scale * float(sum);
    int8_t* ordered = search.low_order + block / 4 * 4 * kBlock + block % 4 * (kBlock / 2);
    std::memcpy(ordered, codes, kBlock / 2);
    std::memcpy(ordered + 2 * kBlock, codes + kBlock / 2, kBlock / 2);
  }
}

// Estimates of a tile's columns, and how far their logits are from them at most.
SGL_INLINE void estimate_tile(const LogitSearch& search, int64_t tile, F32x16* estimates, F32x16* spreads) {
  using Format = Quantized<WeightFormat::kU4HalfOffset>;
  const PackedWeight& high = search.head->high;
  const int64_t blocks = high.inputs / kBlock;
  const uint8_t* bytes = high.tiles + size_t(tile) * high.tile_bytes;
#pragma GCC unroll 2
  for (int panel = 0; panel < kPanels; ++panel) estimates[panel] = spreads[panel] = splat(0.0f);
  for (int64_t block = 0; block < blocks; ++block, bytes += Format::kBlockBytes) {
    for (int line = 0; line < Format::kBlockBytes; line += kCacheLine)
      __builtin_prefetch(bytes + kHighBlocksAhead * Format::kBlockBytes + line);
    const BlockShares& share = search.shares[block];
    const QuantizedPair* x = search.pairs + block / 2;
#pragma GCC unroll 2
    for (int panel = 0; panel < kPanels; panel += kPanelTile) {
      I32x16 sums[1][kPanelTile];
      for (int i = 0; i < kPanelTile; ++i) sums[0][i] = splat(int32_t(0));
      dot_block<Format, 1, kPanelTile, 0, 2>(bytes + panel * Format::kPanelCodes, &x, int(block % 2) * kBlock, sums);
#pragma GCC unroll 2
      for (int i = 0; i < kPanelTile; ++i) {
        const F32x16 scale = Format::load_scales(bytes + Format::kScales + (panel + i) * kLanes * Format::kScaleBytes);
        const F32x16 product = to_float(sums[0][i]) - splat(share.centre);
        estimates[panel + i] = fma(product, scale * splat(share.high), estimates[panel + i]);
        spreads[panel + i] = fma(abs(scale), splat(share.spread), spreads[panel + i]);
      }
    }
  }
  const float slack = 1.0f + rounding_share(search);
#pragma GCC unroll 2
  for (int panel = 0; panel < kPanels; ++panel) spreads[panel] = fma(spreads[panel], splat(slack), splat(kTiny));
}

SGL_INLINE uint32_t first_lanes(int64_t count) {
  return count >= kLanes ? 0xffff : count > 0 ? (uint32_t(1) << count) - 1 : 0;
}

SGL_INLINE void estimate_group(const LogitSearch& search, int64_t group) {
  constexpr int kTiles = kSearchGroup / kTileColumns;
  const int64_t columns = search.head->high.columns;
  LogitGuess guess{-1, -INFINITY, -INFINITY};
  I32x16 is_bounded = splat(-1);
  for (int64_t tile = group * kTiles; tile < (group + 1) * kTiles; ++tile) {
    if (tile * kTileColumns >= columns) {
      for (int i = 0; i < kTileColumns; ++i) search.uppers[tile * kTileColumns + i] = -INFINITY;
      continue;
    }
    F32x16 estimates[kPanels], spreads[kPanels];
    estimate_tile(search, tile, estimates, spreads);
    for (int panel = 0; panel < kPanels; ++panel) {
      const int64_t at = tile * kTileColumns + panel * kLanes;
      const uint32_t lanes = first_lanes(columns - at);
      store(search.uppers + at, select(lanes, estimates[panel] + spreads[panel], -INFINITY));
      SGL_EACH_REGISTER is_bounded.part[i] &= spreads[panel].part[i] < kHuge;
      const F32x16 candidates = select(lanes, estimates[panel], -INFINITY);
      store(search.estimates + at, candidates);
      const float highest = max_lanes(candidates);
      if (!(highest > guess.estimate)) continue;
      I32x16 is_highest;
      SGL_EACH_REGISTER is_highest.part[i] = candidates.part[i] == highest;
      const uint32_t bits = bits_of(is_highest);
      if (bits != 0) guess = {at + __builtin_ctz(bits), highest, 0.0f};
    }
  }
  if (bits_of(is_bounded) != 0xffff) guess.column = -1;
  if (guess.column >= 0) guess.upper = search.uppers[guess.column];
  search.guesses[group] = guess;
}

void estimate_logits(const LogitSearch& search, int64_t group_begin, int64_t group_end) {
  for (int64_t group = group_begin; group < group_end; ++group) estimate_group(search, group);
}

// acc[lane] += sum over 4 of codes[4 * lane + j] * x[4 * lane + j]; codes of 4 bits.
SGL_INLINE I32x16 dot_lanes(const I32x16& acc, const U8x64& codes, const U8x64& x) {
  I32x16 result;
#if defined(SGL_AVX512)
  result.part[0] = (IntRegister)_mm512_dpbusd_epi32((__m512i)acc.part[0], (__m512i)codes.part[0], (__m512i)x.part[0]);
#elif defined(__AVXVNNI__)
  SGL_EACH_REGISTER result.part[i] = (IntRegister)_mm256_dpbusd_avx_epi32(
      (__m256i)acc.part[i], (__m256i)codes.part[i], (__m256i)x.part[i]);
#elif defined(SGL_AVX2)
  SGL_EACH_REGISTER {
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)codes.part[i], (__m256i)x.part[i]);
    result.part[i] =
        (IntRegister)_mm256_add_epi32((__m256i)acc.part[i], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
#else
  SGL_EACH_REGISTER {
    const Word16Register c = (Word16Register)codes.part[i];
    const Int16Register values = (Int16Register)x.part[i];
    const Int16Register even = (Int16Register)(c & 255) * ((Int16Register)((Word16Register)values << 8) >> 8);
    result.part[i] = acc.part[i] + sum_pairs(even + (Int16Register)(c >> 8) * (values >> 8));
  }
#endif
  return result;
}

// Each of four values in four lanes.
SGL_INLINE F32x16 four_times_each(const float* values) {
  F32x16 result;
#if defined(SGL_AVX512)
  const __m512i places = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  result.part[0] = (FloatRegister)_mm512_permutexvar_ps(places, _mm512_castps128_ps512(_mm_loadu_ps(values)));
#else
  float lanes[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = values[lane / 4];
  result = load<F32x16>(lanes);
#endif
  return result;
}

// What the low halves of a column's codes add to its estimate.
SGL_INLINE float low_share(const LogitSearch& search, int64_t column) {
  const int64_t blocks = search.head->high.inputs / kBlock, fours = (blocks + 3) / 4;
  const uint8_t* codes = search.head->low + size_t(column) * search.head->column_bytes;
  const uint8_t* scales = codes + fours * 64;
  F32x16 total = splat(0.0f);
  for (int64_t first = 0; first < fours; first += 4) {
    const F32x16 scale = load_half(scales + 8 * first);
    float products[kLanes];
    store(products, scale * load<F32x16>(search.scales + 4 * first));
    total = fma(scale, load<F32x16>(search.low_centres + 4 * first), total);
    for (int64_t four = first; four < fours && four < first + 4; ++four) {
      const U8x64 bytes = load<U8x64>(codes + four * 64);
      const int8_t* x = search.low_order + four * 128;
      I32x16 sums = dot_lanes(splat(int32_t(0)), low_halves(bytes), load<U8x64>(x));
      sums = dot_lanes(sums, high_halves(bytes), load<U8x64>(x + 64));
      total = fma(to_float(sums), four_times_each(products + 4 * (four - first)), total);
    }
  }
  return sum_lanes(total);
}

// upper: the bound by the estimate alone.
SGL_INLINE LogitBounds refined(const LogitSearch& search, int64_t column, float upper) {
  const float estimate = search.estimates[column], logit = estimate + low_share(search, column);
  const float slack = (upper - estimate) * rounding_share(search) + kTiny;
  return {logit - slack, logit + slack};
}

// Columns to be refined, in order, those of the next few on their way.
struct ColumnQueue {
  uint32_t columns[2 * kSearchGroup];
  int64_t begin = 0, end = 0, fetched = 0;

  SGL_INLINE int64_t size() const { return end - begin; }

  // Adds the columns of a group whose logits may be `known` or more.
  SGL_INLINE void add(const LogitSearch& search, int64_t group, float known) {
    for (int64_t i = begin; i < end; ++i) columns[i - begin] = columns[i];
    end -= begin;
    fetched -= begin;
    begin = 0;
    for (int64_t at = group * kSearchGroup; at < (group + 1) * kSearchGroup; at += kLanes) {
      const F32x16 uppers = load<F32x16>(search.uppers + at);
      I32x16 may_reach;
      SGL_EACH_REGISTER may_reach.part[i] = uppers.part[i] >= known;
      end += put_lanes(bits_of(may_reach), at, columns + end);
    }
  }

  SGL_INLINE int64_t take(const HeadHalves& head) {
    for (; fetched < end && fetched <= begin + kColumnsAhead; ++fetched)
      for (size_t line = 0; line < head.column_bytes; line += kCacheLine)
        __builtin_prefetch(head.low + columns[fetched] * head.column_bytes + line);
    return columns[begin++];
  }
};

SGL_INLINE LogitGuess best_guess(const LogitSearch& search) {
  const int64_t groups = (search.head->high.columns + kSearchGroup - 1) / kSearchGroup;
  LogitGuess best = search.guesses[0];
  for (int64_t group = 0; group < groups; ++group) {
    if (search.guesses[group].column < 0) return search.guesses[group];
    if (search.guesses[group].estimate > best.estimate) best = search.guesses[group];
  }
  return best;
}

// What other parts write, the refined upper bounds of their columns, is read by none.
void refine_logits(const LogitSearch& search, int64_t group_begin, int64_t group_end) {
  for (int64_t group = group_begin; group < group_end; ++group) search.bounds[group] = {-INFINITY, -INFINITY};
  const LogitGuess guess = best_guess(search);
  if (guess.column < 0) return;
  float known = refined(search, guess.column, guess.upper).lower;
  ColumnQueue queue;
  for (int64_t group = group_begin; group < group_end; ++group) {
    queue.add(search, group, known);
    const int64_t kept = group + 1 < group_end ? kColumnsAhead : 0;
    while (queue.size() > kept) {
      const int64_t column = queue.take(*search.head);
      const LogitBounds bounds = refined(search, column, search.uppers[column]);
      search.uppers[column] = bounds.upper;
      LogitBounds& of_group = search.bounds[column / kSearchGroup];
      if (bounds.lower > of_group.lower) of_group.lower = bounds.lower;
      if (bounds.upper > of_group.upper) of_group.upper = bounds.upper;
      if (bounds.lower > known) known = bounds.lower;
    }
  }
}
