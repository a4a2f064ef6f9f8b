// The passes of sampling that look at every token of a row. What is done with the few tokens that matter is in
// sampling.cpp.

// --- vectors ---------------------------------------------------------------------------------------------------------

typedef double DoubleRegister __attribute__((vector_size(SGL_REGISTER_BYTES)));
typedef float HalfFloatRegister __attribute__((vector_size(SGL_REGISTER_BYTES / 2)));

struct F64x16 {
  DoubleRegister part[2 * kRegisters];
};

SGL_INLINE F64x16 operator+(const F64x16& a, const F32x16& b) {
  F64x16 result;
#if defined(SGL_AVX512)
  const __m512 x = (__m512)b.part[0];
  result.part[0] = a.part[0] + (DoubleRegister)_mm512_cvtps_pd(_mm512_castps512_ps256(x));
  result.part[1] = a.part[1] + (DoubleRegister)_mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
#else
  HalfFloatRegister halves[2 * kRegisters];
  std::memcpy(halves, &b, sizeof(halves));
#pragma GCC unroll 8
  for (int i = 0; i < 2 * kRegisters; ++i)
    result.part[i] = a.part[i] + __builtin_convertvector(halves[i], DoubleRegister);
#endif
  return result;
}

SGL_INLINE double sum_lanes(const F64x16& a) {
  double lanes[kLanes];
  store(lanes, a);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  return lanes[0];
}

// Bit i is set if lane i of `condition` is -1; the others are 0.
SGL_INLINE uint32_t bits_of(const I32x16& condition) {
#if defined(SGL_AVX512)
  return _mm512_movepi32_mask((__m512i)condition.part[0]);
#elif defined(SGL_AVX2)
  return uint32_t(_mm256_movemask_ps((__m256)condition.part[0])) |
         uint32_t(_mm256_movemask_ps((__m256)condition.part[1])) << 8;
#else
  int32_t lanes[kLanes];
  store(lanes, condition);
  uint32_t bits = 0;
  for (int lane = 0; lane < kLanes; ++lane) bits |= uint32_t(lanes[lane] & 1) << lane;
  return bits;
#endif
}

constexpr int32_t kLaneBits[kLanes] = {0x0001, 0x0002, 0x0004, 0x0008, 0x0010, 0x0020, 0x0040, 0x0080,
                                       0x0100, 0x0200, 0x0400, 0x0800, 0x1000, 0x2000, 0x4000, 0x8000};

// The lanes of `a` whose bit is set, `other` elsewhere.
SGL_INLINE F32x16 select(uint32_t bits, const F32x16& a, float other) {
  const I32x16 lane_bits = load<I32x16>(kLaneBits);
  F32x16 result;
  SGL_EACH_REGISTER
  result.part[i] = (lane_bits.part[i] & int32_t(bits)) != 0 ? a.part[i] : FloatRegister{} + other;
  return result;
}

// Logits [at, at + 16) of `size`; -infinity past the end.
SGL_INLINE F32x16 load_logits(const float* logits, int64_t at, int64_t size) {
  if (at + kLanes <= size) return load<F32x16>(logits + at);
  float values[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) values[lane] = at + lane < size ? logits[at + lane] : -INFINITY;
  return load<F32x16>(values);
}

// Writes `first` + lane for each lane whose bit is set, rising, and returns how many there are. May write 16 in all.
SGL_INLINE int64_t put_lanes(uint32_t bits, int64_t first, uint32_t* out) {
#if defined(SGL_AVX512)  // without a branch, which would often be mispredicted
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i ids = _mm512_add_epi32(_mm512_set1_epi32(int32_t(first)), lanes);
  _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(__mmask16(bits), ids));
  return __builtin_popcount(bits);
#else
  int64_t count = 0;
  for (; bits != 0; bits &= bits - 1) out[count++] = uint32_t(first + __builtin_ctz(bits));
  return count;
#endif
}

// --- blocks ----------------------------------------------------------------------------------------------------------

SGL_INLINE bool is_impossible(const float* logits, int64_t begin, int64_t size) {
  for (int64_t at = begin; at < begin + kVocabBlock; at += kLanes) {
    const F32x16 x = load_logits(logits, at, size);
    I32x16 is_possible;
    SGL_EACH_REGISTER is_possible.part[i] = x.part[i] != -INFINITY;
    if (bits_of(is_possible) != 0) return false;
  }
  return true;
}

SGL_INLINE void weigh_block(const float* logits, int64_t block, const Weighing& how, const TokenWeights& out) {
  F64x16 sum{};
  F32x16 largest = splat(-INFINITY);
  const int64_t begin = block * kVocabBlock;
  for (int64_t at = begin; at < begin + kVocabBlock; at += kLanes) {
    const F32x16 log_weight = (load_logits(logits, at, out.size) - splat(how.highest)) / splat(how.temperature);
    F32x16 weight = exp(log_weight);
    SGL_EACH_REGISTER
    weight.part[i] = log_weight.part[i] >= how.least ? weight.part[i] : FloatRegister{};
    store(out.log_weights + at, log_weight);
    store(out.weights + at, weight);
    largest = max(largest, log_weight);
    sum = sum + weight;
  }
  out.block_sums[block] = sum_lanes(sum);
  out.block_maxima[block] = max_lanes(largest);
}

// What `weigh_block` does where all tokens are impossible.
SGL_INLINE void clear_block(int64_t block, const TokenWeights& out) {
  const int64_t begin = block * kVocabBlock;
  for (int64_t at = begin; at < begin + kVocabBlock; at += kLanes) {
    store(out.log_weights + at, splat(-INFINITY));
    store(out.weights + at, splat(0.0f));
  }
  out.block_sums[block] = 0.0;
  out.block_maxima[block] = -INFINITY;
}

// --- passes ----------------------------------------------------------------------------------------------------------

// One pass for the value, which brings the row into the cache, and one as far as its first place.
HighestLogit highest_logit(const float* logits, int64_t size) {
  F32x16 highest = splat(-INFINITY);
  I32x16 is_nan = splat(0);
  for (int64_t at = 0; at < size; at += kLanes) {
    const F32x16 x = load_logits(logits, at, size);
    highest = max(highest, x);
    SGL_EACH_REGISTER is_nan.part[i] |= x.part[i] != x.part[i];
  }
  if (bits_of(is_nan) != 0) return {-1, NAN};
  const float value = max_lanes(highest);
  for (int64_t at = 0;; at += kLanes) {
    const F32x16 x = load_logits(logits, at, size);
    I32x16 is_highest;
    SGL_EACH_REGISTER is_highest.part[i] = x.part[i] == value;
    const uint32_t bits = bits_of(is_highest);
    if (bits != 0) return {at + __builtin_ctz(bits), value};
  }
}

void copy_allowed_logits(const float* logits, int64_t size, const uint32_t* mask, int64_t num_words, float* target) {
  for (int64_t at = 0; at < size; at += kLanes) {
    const uint32_t word = at / 32 < num_words ? mask[at / 32] : 0;
    store(target + at, select(word >> (at % 32), load_logits(logits, at, size), -INFINITY));
  }
}

// A mask that allows few tokens leaves most blocks without any, and these are not weighed.
void weigh_logits(const float* logits, const Weighing& how, const TokenWeights& out) {
  for (int64_t begin = 0, block = 0; begin < out.size; begin += kVocabBlock, ++block) {
    if (is_impossible(logits, begin, out.size))
      clear_block(block, out);
    else
      weigh_block(logits, block, how, out);
  }
}

GatheredTokens gather_tokens(const TokenWeights& from, float low, float high, uint32_t* ids) {
  int64_t count = 0;
  F64x16 weight{};
  for (int64_t begin = 0, block = 0; begin < from.size; begin += kVocabBlock, ++block) {
    if (from.block_maxima[block] < low) continue;
    for (int64_t at = begin; at < begin + kVocabBlock; at += kLanes) {
      const F32x16 x = load<F32x16>(from.log_weights + at);
      I32x16 is_between;
      SGL_EACH_REGISTER is_between.part[i] = (x.part[i] >= low) & (x.part[i] < high);
      F32x16 weights = load<F32x16>(from.weights + at);
      SGL_EACH_REGISTER weights.part[i] = (FloatRegister)((IntRegister)weights.part[i] & is_between.part[i]);
      weight = weight + weights;
      count += put_lanes(bits_of(is_between), at, ids + count);
    }
  }
  while (count > 0 && ids[count - 1] >= from.size) --count;  // padding, which has a log-weight of -infinity
  return {count, sum_lanes(weight)};
}
