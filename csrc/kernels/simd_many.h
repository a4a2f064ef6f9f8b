// Several vectors of 16 lanes at once: reductions that leave a lane for each, and what packs lanes into fewer bytes.
//
// All of it is exact, so nothing here depends on the order in which a level goes about it.
#pragma once

#include "simd.h"

namespace sgl {
namespace SGL_LEVEL {

// --- reductions ------------------------------------------------------------------------------------------------------

// A register that holds, of two, each lane combined with one beside it: the next one, or the one after the next. Two steps
// of four registers leave in each 128 bits one lane for each register.
#if defined(SGL_AVX512)
using Whole = __m512i;
SGL_INLINE Whole sum_of(Whole a, Whole b) { return _mm512_add_epi32(a, b); }
SGL_INLINE Whole max_of(Whole a, Whole b) { return _mm512_maskz_max_epi32(0xffff, a, b); }
SGL_INLINE Whole low_32(Whole a, Whole b) { return _mm512_maskz_unpacklo_epi32(0xffff, a, b); }
SGL_INLINE Whole high_32(Whole a, Whole b) { return _mm512_maskz_unpackhi_epi32(0xffff, a, b); }
SGL_INLINE Whole low_64(Whole a, Whole b) { return _mm512_maskz_unpacklo_epi64(0xff, a, b); }
SGL_INLINE Whole high_64(Whole a, Whole b) { return _mm512_maskz_unpackhi_epi64(0xff, a, b); }
#elif defined(SGL_AVX2)
using Whole = __m256i;
SGL_INLINE Whole sum_of(Whole a, Whole b) { return _mm256_add_epi32(a, b); }
SGL_INLINE Whole max_of(Whole a, Whole b) { return _mm256_max_epi32(a, b); }
SGL_INLINE Whole low_32(Whole a, Whole b) { return _mm256_unpacklo_epi32(a, b); }
SGL_INLINE Whole high_32(Whole a, Whole b) { return _mm256_unpackhi_epi32(a, b); }
SGL_INLINE Whole low_64(Whole a, Whole b) { return _mm256_unpacklo_epi64(a, b); }
SGL_INLINE Whole high_64(Whole a, Whole b) { return _mm256_unpackhi_epi64(a, b); }
#endif

#if defined(SGL_AVX512) || defined(SGL_AVX2)
SGL_INLINE Whole sums_of_four(Whole a, Whole b, Whole c, Whole d) {
  const Whole ab = sum_of(low_32(a, b), high_32(a, b)), cd = sum_of(low_32(c, d), high_32(c, d));
  return sum_of(low_64(ab, cd), high_64(ab, cd));
}

SGL_INLINE Whole maxima_of_four(Whole a, Whole b, Whole c, Whole d) {
  const Whole ab = max_of(low_32(a, b), high_32(a, b)), cd = max_of(low_32(c, d), high_32(c, d));
  return max_of(low_64(ab, cd), high_64(ab, cd));
}
#endif

// Lane i of the result: the greatest lane of vectors[i], all of them >= 0; 0 from `count` on, to which nothing is read.
SGL_INLINE I32x16 max_of_each(const I32x16* vectors, int64_t count) {
  I32x16 result;
#if defined(SGL_AVX512)
  Whole fours[4];
  for (int four = 0; four < 4; ++four) {
    const auto at = [&](int i) {
      return 4 * four + i < count ? (Whole)vectors[4 * four + i].part[0] : _mm512_setzero_si512();
    };
    fours[four] = 4 * four < count ? maxima_of_four(at(0), at(1), at(2), at(3)) : _mm512_setzero_si512();
  }
  const auto joined = [](Whole a, Whole b) {
    return max_of(_mm512_maskz_shuffle_i32x4(0xffff, a, b, 0x88), _mm512_maskz_shuffle_i32x4(0xffff, a, b, 0xdd));
  };
  result.part[0] = (IntRegister)joined(joined(fours[0], fours[1]), joined(fours[2], fours[3]));
#elif defined(SGL_AVX2)
  Whole fours[4];
  for (int four = 0; four < 4; ++four) {
    const auto at = [&](int i) {
      if (4 * four + i >= count) return _mm256_setzero_si256();
      return max_of((Whole)vectors[4 * four + i].part[0], (Whole)vectors[4 * four + i].part[1]);
    };
    fours[four] = 4 * four < count ? maxima_of_four(at(0), at(1), at(2), at(3)) : _mm256_setzero_si256();
  }
  SGL_EACH_REGISTER {
    const Whole a = fours[2 * i], b = fours[2 * i + 1];
    result.part[i] = (IntRegister)max_of(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
  }
#else
  int32_t lanes[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = max_lanes(vectors[i]);
  result = load<I32x16>(lanes);
#endif
  return result;
}

// Lane 4 * i + quarter of the result: the sum of four lanes, a quarter of vectors[i], of 4.
SGL_INLINE I32x16 sum_quarters(const I32x16* vectors) {
  I32x16 result;
#if defined(SGL_AVX512)
  const auto at = [&](int i) { return (Whole)vectors[i].part[0]; };
  const Whole order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  const Whole by_quarter = sums_of_four(at(0), at(1), at(2), at(3));
  result.part[0] = (IntRegister)_mm512_maskz_permutexvar_epi32(0xffff, order, by_quarter);
#elif defined(SGL_AVX2)
  const auto by_quarter = [&](int part) {
    const auto at = [&](int i) { return (Whole)vectors[i].part[part]; };
    return sums_of_four(at(0), at(1), at(2), at(3));
  };
  const Whole first = by_quarter(0), second = by_quarter(1);
  const Whole even = _mm256_permute2x128_si256(first, second, 0x20), odd = _mm256_permute2x128_si256(first, second, 0x31);
  result.part[0] = (IntRegister)_mm256_permute4x64_epi64(low_32(even, odd), 0xd8);
  result.part[1] = (IntRegister)_mm256_permute4x64_epi64(high_32(even, odd), 0xd8);
#else
  int32_t lanes[4 * kLanes], sums[kLanes];
  for (int i = 0; i < 4; ++i) store(lanes + i * kLanes, vectors[i]);
  for (int i = 0; i < kLanes; ++i) sums[i] = lanes[4 * i] + lanes[4 * i + 1] + lanes[4 * i + 2] + lanes[4 * i + 3];
  result = load<I32x16>(sums);
#endif
  return result;
}

// Of the 32 lanes of a and b the sums of each two neighbours.
SGL_INLINE I32x16 sum_neighbours(const I32x16& a, const I32x16& b) {
  I32x16 result;
#if defined(SGL_AVX512)
  const Whole even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const Whole first = (Whole)a.part[0], second = (Whole)b.part[0];
  result.part[0] = (IntRegister)sum_of(_mm512_permutex2var_epi32(first, even, second),
                                       _mm512_permutex2var_epi32(first, sum_of(even, _mm512_set1_epi32(1)), second));
#elif defined(SGL_AVX2)
  const auto sums = [](const I32x16& of) {
    return (IntRegister)_mm256_permute4x64_epi64(_mm256_hadd_epi32((Whole)of.part[0], (Whole)of.part[1]), 0xd8);
  };
  result.part[0] = sums(a);
  result.part[1] = sums(b);
#else
  int32_t lanes[2 * kLanes], sums[kLanes];
  store(lanes, a);
  store(lanes + kLanes, b);
  for (int i = 0; i < kLanes; ++i) sums[i] = lanes[2 * i] + lanes[2 * i + 1];
  result = load<I32x16>(sums);
#endif
  return result;
}

// --- bytes -----------------------------------------------------------------------------------------------------------

// The lanes of four vectors, -127..127, as bytes.
SGL_INLINE void store_int8(int8_t* target, const I32x16* vectors) {
#if defined(SGL_AVX512)
  const auto at = [&](int i) { return (Whole)vectors[i].part[0]; };
  const Whole order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  const Whole bytes = _mm512_packs_epi16(_mm512_packs_epi32(at(0), at(1)), _mm512_packs_epi32(at(2), at(3)));
  _mm512_storeu_si512(target, _mm512_maskz_permutexvar_epi32(0xffff, order, bytes));
#elif defined(SGL_AVX2)
  const Whole order = _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0);
  for (int i = 0; i < 4; i += 2, target += 2 * kLanes) {
    const auto words = [&](const I32x16& of) { return _mm256_packs_epi32((Whole)of.part[0], (Whole)of.part[1]); };
    const Whole bytes = _mm256_packs_epi16(words(vectors[i]), words(vectors[i + 1]));
    _mm256_storeu_si256((__m256i*)target, _mm256_permutevar8x32_epi32(bytes, order));
  }
#else
  for (int i = 0; i < 4; ++i) store_int8(target + i * kLanes, vectors[i]);
#endif
}

// Of 64 bytes at `source`, none of them -128, each lane four: their sum, and that of their magnitudes.
struct FourSums {
  I32x16 sums, magnitudes;
};

SGL_INLINE FourSums sum_fours(const int8_t* source) {
  FourSums result;
#if defined(SGL_AVX512)
  const Whole codes = _mm512_loadu_si512(source), ones = _mm512_set1_epi8(1), none = _mm512_setzero_si512();
  result.sums.part[0] = (IntRegister)_mm512_dpbusd_epi32(none, ones, codes);
  result.magnitudes.part[0] = (IntRegister)_mm512_dpbusd_epi32(none, _mm512_abs_epi8(codes), ones);
#elif defined(SGL_AVX2)
  const Whole ones = _mm256_set1_epi8(1), word_ones = _mm256_set1_epi16(1);
  SGL_EACH_REGISTER {
    const Whole codes = _mm256_loadu_si256((const __m256i*)source + i);
    result.sums.part[i] = (IntRegister)_mm256_madd_epi16(_mm256_maddubs_epi16(ones, codes), word_ones);
    result.magnitudes.part[i] =
        (IntRegister)_mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(codes), ones), word_ones);
  }
#else
  const auto sum = [](const Word16Register& bytes) {
    return sum_pairs(((Int16Register)(bytes << 8) >> 8) + ((Int16Register)bytes >> 8));
  };
  SGL_EACH_REGISTER {
    Int8Register codes;
    std::memcpy(&codes, source + i * SGL_REGISTER_BYTES, sizeof(codes));
    const Int8Register negative = codes < 0;
    result.sums.part[i] = sum((Word16Register)codes);
    result.magnitudes.part[i] = sum((Word16Register)((codes ^ negative) - negative));
  }
#endif
  return result;
}

// Two lanes each of three vectors as 16 bytes, at target + i * stride for i from 0 to count - 1: lanes 2i + 1 and 2i of
// `longs`, then of `a` and of `b` as 16 bits.
SGL_INLINE void store_pairs(void* target, int64_t stride, int64_t count, const I32x16& longs, const I32x16& a,
                            const I32x16& b) {
  uint8_t records[kRegisters][2][SGL_REGISTER_BYTES];  // pairs with even and with odd number of what a register holds
#if defined(SGL_AVX512) || defined(SGL_AVX2)
  SGL_EACH_REGISTER {
    const IntRegister both = (a.part[i] & 0xffff) | (IntRegister)((WordRegister)b.part[i] << 16);
#if defined(SGL_AVX512)
    const Whole shorts = _mm512_shufflehi_epi16(_mm512_shufflelo_epi16((Whole)both, 0x72), 0x72);
    const Whole turned = _mm512_maskz_shuffle_epi32(0xffff, (Whole)longs.part[i], _MM_PERM_CDAB);
#else
    const Whole shorts = _mm256_shufflehi_epi16(_mm256_shufflelo_epi16((Whole)both, 0x72), 0x72);
    const Whole turned = _mm256_shuffle_epi32((Whole)longs.part[i], 0xb1);
#endif
    const Whole even = low_64(turned, shorts), odd = high_64(turned, shorts);
    std::memcpy(records[i][0], &even, sizeof(even));
    std::memcpy(records[i][1], &odd, sizeof(odd));
  }
  constexpr int64_t kPairs = kRegisterLanes / 2;
  for (int64_t i = 0; i < count; ++i)
    std::memcpy((uint8_t*)target + i * stride, records[i / kPairs][i % 2] + i % kPairs / 2 * 16, 16);
#else
  (void)records;
  int32_t lanes[3][kLanes];
  store(lanes[0], longs);
  store(lanes[1], a);
  store(lanes[2], b);
  for (int64_t i = 0; i < 2 * count; i += 2) {
    const int32_t first[2] = {lanes[0][i + 1], lanes[0][i]};
    const int16_t rest[4] = {int16_t(lanes[1][i + 1]), int16_t(lanes[1][i]), int16_t(lanes[2][i + 1]), int16_t(lanes[2][i])};
    uint8_t* out = (uint8_t*)target + i / 2 * stride;
    std::memcpy(out, first, sizeof(first));
    std::memcpy(out + sizeof(first), rest, sizeof(rest));
  }
#endif
}

}  // namespace SGL_LEVEL
}  // namespace sgl
