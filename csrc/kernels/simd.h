// Sixteen lanes at a time, on whatever registers this dispatch level has.
//
// One source serves all levels: a vector of 16 lanes is one register with AVX-512, two with AVX2, four of 128 bits
// elsewhere. Only what compilers do not find by themselves (dot products, fused multiply-add, conversions) is written
// per level. The translation unit is compiled with the level's flags and -ffp-contract=off, so an operation is fused
// exactly where `fma` is written, and results do not depend on how a compiler arranged a loop.
#pragma once

#include <cmath>
#include <type_traits>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512VNNI__) && defined(__AVX512BF16__) && defined(__AVX512BW__)
#define SGL_AVX512 1
#define SGL_REGISTER_BYTES 64
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define SGL_AVX2 1
#define SGL_REGISTER_BYTES 32
#else
#define SGL_REGISTER_BYTES 16
#endif

#define SGL_INLINE inline __attribute__((always_inline))

namespace sgl {
namespace SGL_LEVEL {

constexpr int kLanes = 16;
constexpr int kRegisters = 64 / SGL_REGISTER_BYTES;  // registers per vector of 16 lanes
constexpr int kRegisterLanes = kLanes / kRegisters;

typedef float FloatRegister __attribute__((vector_size(SGL_REGISTER_BYTES)));
typedef int32_t IntRegister __attribute__((vector_size(SGL_REGISTER_BYTES)));
typedef uint32_t WordRegister __attribute__((vector_size(SGL_REGISTER_BYTES)));
typedef int16_t Int16Register __attribute__((vector_size(SGL_REGISTER_BYTES)));
typedef uint16_t Word16Register __attribute__((vector_size(SGL_REGISTER_BYTES)));
typedef int8_t Int8Register __attribute__((vector_size(SGL_REGISTER_BYTES)));
typedef uint8_t ByteRegister __attribute__((vector_size(SGL_REGISTER_BYTES)));

struct F32x16 {
  FloatRegister part[kRegisters];
};

struct I32x16 {
  IntRegister part[kRegisters];
};

// 64 bytes: 16 lanes of four 8-bit codes.
struct U8x64 {
  ByteRegister part[kRegisters];
};

// 16 lanes of two bfloat16 values; the one with the lower index in the lower half of a lane.
struct Bf16x32 {
  IntRegister part[kRegisters];
};

// 16 lanes of two 16-bit integers; "first" is the one in the upper half of a lane.
struct I16x32 {
  IntRegister part[kRegisters];
};

#define SGL_EACH_REGISTER _Pragma("GCC unroll 4") for (int i = 0; i < kRegisters; ++i)

SGL_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// --- loads, stores, constants ----------------------------------------------------------------------------------------

template <class Vector>
SGL_INLINE Vector load(const void* source) {
  Vector result;
  if constexpr (sizeof(Vector) == 4 * kLanes) {
    SGL_EACH_REGISTER std::memcpy(&result.part[i], (const uint8_t*)source + i * SGL_REGISTER_BYTES, SGL_REGISTER_BYTES);
  } else {
    std::memcpy(&result, source, sizeof(result));
  }
  return result;
}

template <class Vector>
SGL_INLINE void store(void* target, const Vector& value) {
  if constexpr (sizeof(Vector) == 4 * kLanes) {
    SGL_EACH_REGISTER std::memcpy((uint8_t*)target + i * SGL_REGISTER_BYTES, &value.part[i], SGL_REGISTER_BYTES);
  } else {
    std::memcpy(target, &value, sizeof(value));
  }
}

SGL_INLINE F32x16 splat(float value) {
  F32x16 result;
  SGL_EACH_REGISTER result.part[i] = value - FloatRegister{};
  return result;
}

SGL_INLINE I32x16 splat(int32_t value) {
  I32x16 result;
  SGL_EACH_REGISTER result.part[i] = IntRegister{} + value;
  return result;
}

// --- arithmetic ------------------------------------------------------------------------------------------------------

SGL_INLINE F32x16 operator+(const F32x16& a, const F32x16& b) {
  F32x16 result;
  SGL_EACH_REGISTER result.part[i] = a.part[i] + b.part[i];
  return result;
}

SGL_INLINE F32x16 operator-(const F32x16& a, const F32x16& b) {
  F32x16 result;
  SGL_EACH_REGISTER result.part[i] = a.part[i] - b.part[i];
  return result;
}

SGL_INLINE F32x16 operator*(const F32x16& a, const F32x16& b) {
  F32x16 result;
  SGL_EACH_REGISTER result.part[i] = a.part[i] * b.part[i];
  return result;
}

SGL_INLINE F32x16 operator/(const F32x16& a, const F32x16& b) {
  F32x16 result;
  SGL_EACH_REGISTER result.part[i] = a.part[i] / b.part[i];
  return result;
}

SGL_INLINE I32x16 operator+(const I32x16& a, const I32x16& b) {
  I32x16 result;
  SGL_EACH_REGISTER result.part[i] = a.part[i] + b.part[i];
  return result;
}

SGL_INLINE I32x16 operator-(const I32x16& a, const I32x16& b) {
  I32x16 result;
  SGL_EACH_REGISTER result.part[i] = a.part[i] - b.part[i];
  return result;
}

SGL_INLINE I32x16 operator^(const I32x16& a, const I32x16& b) {
  I32x16 result;
  SGL_EACH_REGISTER result.part[i] = a.part[i] ^ b.part[i];
  return result;
}

SGL_INLINE I32x16 operator*(const I32x16& a, const I32x16& b) {
  I32x16 result;
  SGL_EACH_REGISTER result.part[i] = a.part[i] * b.part[i];
  return result;
}

SGL_INLINE I32x16 shift_down_10(const I32x16& a) {
  I32x16 result;
  SGL_EACH_REGISTER result.part[i] = a.part[i] >> 10;
  return result;
}

SGL_INLINE I32x16 shift_up_16(const I32x16& a) {
  I32x16 result;
  SGL_EACH_REGISTER result.part[i] = (IntRegister)((WordRegister)a.part[i] << 16);
  return result;
}

// a * b + c, rounded once where the level has a fused instruction (the portable one rounds twice).
SGL_INLINE F32x16 fma(const F32x16& a, const F32x16& b, const F32x16& c) {
  F32x16 result;
#if defined(SGL_AVX512)
  result.part[0] = (FloatRegister)_mm512_fmadd_ps((__m512)a.part[0], (__m512)b.part[0], (__m512)c.part[0]);
#elif defined(SGL_AVX2)
  SGL_EACH_REGISTER
  result.part[i] = (FloatRegister)_mm256_fmadd_ps((__m256)a.part[i], (__m256)b.part[i], (__m256)c.part[i]);
#else
  SGL_EACH_REGISTER result.part[i] = a.part[i] * b.part[i] + c.part[i];
#endif
  return result;
}

// Of equal values, and where one is NaN, the second.
SGL_INLINE F32x16 max(const F32x16& a, const F32x16& b) {
  F32x16 result;
#if defined(SGL_AVX512)
  result.part[0] = (FloatRegister)_mm512_max_ps((__m512)a.part[0], (__m512)b.part[0]);
#else
  SGL_EACH_REGISTER result.part[i] = a.part[i] > b.part[i] ? a.part[i] : b.part[i];
#endif
  return result;
}

SGL_INLINE F32x16 min(const F32x16& a, const F32x16& b) {
  F32x16 result;
#if defined(SGL_AVX512)
  result.part[0] = (FloatRegister)_mm512_min_ps((__m512)a.part[0], (__m512)b.part[0]);
#else
  SGL_EACH_REGISTER result.part[i] = a.part[i] < b.part[i] ? a.part[i] : b.part[i];
#endif
  return result;
}

SGL_INLINE F32x16 abs(const F32x16& a) {
  F32x16 result;
  SGL_EACH_REGISTER result.part[i] = (FloatRegister)((IntRegister)a.part[i] & 0x7fffffff);
  return result;
}

// --- conversions -----------------------------------------------------------------------------------------------------

SGL_INLINE F32x16 to_float(const I32x16& a) {
  F32x16 result;
  SGL_EACH_REGISTER result.part[i] = __builtin_convertvector(a.part[i], FloatRegister);
  return result;
}

// To the nearest integer, halves to even. |a| must be below 2^22.
SGL_INLINE I32x16 round_to_int(const F32x16& a) {
  I32x16 result;
#if defined(SGL_AVX512)
  result.part[0] = (IntRegister)_mm512_maskz_cvtps_epi32(0xffff, (__m512)a.part[0]);
#elif defined(SGL_AVX2)
  SGL_EACH_REGISTER result.part[i] = (IntRegister)_mm256_cvtps_epi32((__m256)a.part[i]);
#else
  const float magic = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to an integer in the low mantissa
  SGL_EACH_REGISTER {
    const FloatRegister shifted = a.part[i] + magic;
    result.part[i] = (IntRegister)shifted - (IntRegister)(FloatRegister{} + magic);
  }
#endif
  return result;
}

SGL_INLINE float half_to_float(uint16_t half) {
#if defined(SGL_AVX512) || defined(SGL_AVX2)
  return _cvtsh_ss(half);
#else
  const uint32_t sign = uint32_t(half & 0x8000) << 16;
  const uint32_t magnitude = half & 0x7fff;
  uint32_t bits;
  if (magnitude >= 0x7c00) {
    bits = 0x7f800000 | (magnitude << 13);
  } else if (magnitude >= 0x0400) {
    bits = (magnitude << 13) + (112u << 23);
  } else {
    const float value = float(magnitude) * 5.9604644775390625e-8f;  // subnormal: units of 2^-24
    std::memcpy(&bits, &value, 4);
  }
  bits |= sign;
  float result;
  std::memcpy(&result, &bits, 4);
  return result;
#endif
}

SGL_INLINE F32x16 load_half(const void* source) {
  F32x16 result;
#if defined(SGL_AVX512)
  result.part[0] = (FloatRegister)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)source));
#elif defined(SGL_AVX2)
  SGL_EACH_REGISTER
  result.part[i] = (FloatRegister)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)source + i));
#else
  uint16_t halves[kLanes];
  float values[kLanes];
  std::memcpy(halves, source, sizeof(halves));
  for (int lane = 0; lane < kLanes; ++lane) values[lane] = half_to_float(halves[lane]);
  result = load<F32x16>(values);
#endif
  return result;
}

SGL_INLINE float bf16_to_float(uint16_t value) {
  const uint32_t bits = uint32_t(value) << 16;
  float result;
  std::memcpy(&result, &bits, 4);
  return result;
}

// To the nearest bfloat16, halves to even; NaN stays NaN.
SGL_INLINE uint16_t float_to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t((bits >> 16) | 0x40);
  return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// --- dot products ----------------------------------------------------------------------------------------------------

SGL_INLINE IntRegister sum_pairs(const Int16Register& a) {
  const IntRegister lanes = (IntRegister)a;
  return ((IntRegister)((WordRegister)lanes << 16) >> 16) + (lanes >> 16);
}

// acc[lane] += sum over 4 of codes[4 * lane + j] * values[j]; `values` are four int8 (not -128), the same for all lanes.
// The sum is exact. kMaxCode bounds the codes: 15 or 255.
template <int kMaxCode>
SGL_INLINE I32x16 dot(const I32x16& acc, const U8x64& codes, int32_t values) {
  I32x16 result;
#if defined(SGL_AVX512)
  result.part[0] = (IntRegister)_mm512_dpbusd_epi32((__m512i)acc.part[0], (__m512i)codes.part[0],
                                                    _mm512_set1_epi32(values));
#elif defined(__AVXVNNI__)
  SGL_EACH_REGISTER result.part[i] = (IntRegister)_mm256_dpbusd_avx_epi32(
      (__m256i)acc.part[i], (__m256i)codes.part[i], _mm256_set1_epi32(values));
#elif defined(SGL_AVX2)
  const __m256i x = _mm256_set1_epi32(values), ones = _mm256_set1_epi16(1);
  SGL_EACH_REGISTER {
    const __m256i c = (__m256i)codes.part[i];
    __m256i sum;
    if (kMaxCode <= 127) {
      sum = _mm256_madd_epi16(_mm256_maddubs_epi16(c, x), ones);
    } else {  // 255 * 127 * 2 would saturate 16 bits: the highest bit is multiplied by itself
      const __m256i low = _mm256_and_si256(c, _mm256_set1_epi8(127));
      const __m256i high = _mm256_and_si256(_mm256_srli_epi16(c, 7), _mm256_set1_epi8(1));
      const __m256i high_sum = _mm256_madd_epi16(_mm256_maddubs_epi16(high, x), ones);
      sum = _mm256_madd_epi16(_mm256_maddubs_epi16(low, x), ones);
      sum = _mm256_add_epi32(sum, _mm256_slli_epi32(high_sum, 7));
    }
    result.part[i] = (IntRegister)_mm256_add_epi32((__m256i)acc.part[i], sum);
  }
#else
  // A product, at most 255 * 128, fits 16 bits, and so does the sum of two if the codes are small. Bytes with even and
  // with odd index are multiplied apart.
  const WordRegister x = WordRegister{} + uint32_t(values);
  const Int16Register x_even = (Int16Register)((Word16Register)x << 8) >> 8, x_odd = (Int16Register)x >> 8;
  SGL_EACH_REGISTER {
    const Word16Register c = (Word16Register)codes.part[i];
    const Int16Register even = (Int16Register)(c & 255) * x_even, odd = (Int16Register)(c >> 8) * x_odd;
    const IntRegister sum = kMaxCode <= 127 ? sum_pairs(even + odd) : sum_pairs(even) + sum_pairs(odd);
    result.part[i] = acc.part[i] + sum;
  }
#endif
  return result;
}

SGL_INLINE IntRegister low_as_int(const IntRegister& lanes) { return (IntRegister)((WordRegister)lanes << 16) >> 16; }

// Values of 16 bits; what is above them is lost.
SGL_INLINE I16x32 pack_int16(const I32x16& first, const I32x16& second) {
  I16x32 result;
#if defined(SGL_AVX512)
  const __m512i upper = (__m512i)((WordRegister)first.part[0] << 16);
  result.part[0] = (IntRegister)_mm512_mask_blend_epi16(0x55555555, upper, (__m512i)second.part[0]);
#else
  SGL_EACH_REGISTER result.part[i] =
      (IntRegister)((WordRegister)first.part[i] << 16) | (second.part[i] & 0xffff);
#endif
  return result;
}

SGL_INLINE I16x32 as_int16_pairs(const I32x16& lanes) {
  I16x32 result;
  SGL_EACH_REGISTER result.part[i] = lanes.part[i];
  return result;
}

// Two 16-bit integers, the second first, the same for all lanes.
SGL_INLINE I16x32 splat_int16_pair(const int16_t* source) {
  int32_t pair;
  std::memcpy(&pair, source, 4);
  I16x32 result;
  SGL_EACH_REGISTER result.part[i] = IntRegister{} + pair;
  return result;
}

// a * b / 2^15, to the nearest integer, halves up. Not both may be -2^15.
SGL_INLINE I16x32 multiply_fractions(const I16x32& a, const I16x32& b) {
  I16x32 result;
#if defined(SGL_AVX512)
  result.part[0] = (IntRegister)_mm512_mulhrs_epi16((__m512i)a.part[0], (__m512i)b.part[0]);
#elif defined(SGL_AVX2)
  SGL_EACH_REGISTER result.part[i] = (IntRegister)_mm256_mulhrs_epi16((__m256i)a.part[i], (__m256i)b.part[i]);
#else
  SGL_EACH_REGISTER {
    const IntRegister upper = ((a.part[i] >> 16) * (b.part[i] >> 16) + 0x4000) >> 15;
    const IntRegister lower = (low_as_int(a.part[i]) * low_as_int(b.part[i]) + 0x4000) >> 15;
    result.part[i] = (IntRegister)((WordRegister)upper << 16) | (lower & 0xffff);
  }
#endif
  return result;
}

// acc[lane] += the two products of a lane. Nothing may overflow.
SGL_INLINE I32x16 dot(const I32x16& acc, const I16x32& a, const I16x32& b) {
  I32x16 result;
#if defined(SGL_AVX512)
  result.part[0] = (IntRegister)_mm512_dpwssd_epi32((__m512i)acc.part[0], (__m512i)a.part[0], (__m512i)b.part[0]);
#elif defined(__AVXVNNI__)
  SGL_EACH_REGISTER result.part[i] =
      (IntRegister)_mm256_dpwssd_avx_epi32((__m256i)acc.part[i], (__m256i)a.part[i], (__m256i)b.part[i]);
#elif defined(SGL_AVX2)
  SGL_EACH_REGISTER
  result.part[i] = acc.part[i] + (IntRegister)_mm256_madd_epi16((__m256i)a.part[i], (__m256i)b.part[i]);
#elif defined(__SSE2__)
  SGL_EACH_REGISTER
  result.part[i] = acc.part[i] + (IntRegister)_mm_madd_epi16((__m128i)a.part[i], (__m128i)b.part[i]);
#else
  SGL_EACH_REGISTER
  result.part[i] = acc.part[i] + (a.part[i] >> 16) * (b.part[i] >> 16) + low_as_int(a.part[i]) * low_as_int(b.part[i]);
#endif
  return result;
}

// The bfloat16 values in the lower and in the upper halves of lanes. (With AVX2 not by << and &: of a value that is the
// same in all lanes the compiler would take the halves before spreading them, which needs more instructions.)
SGL_INLINE FloatRegister low_as_float(const IntRegister& lanes) {
#if defined(SGL_AVX2)
  return (FloatRegister)_mm256_slli_epi32((__m256i)lanes, 16);
#else
  return (FloatRegister)(lanes << 16);
#endif
}

SGL_INLINE FloatRegister high_as_float(const IntRegister& lanes) {
#if defined(SGL_AVX2)
  return (FloatRegister)_mm256_blend_epi16(_mm256_setzero_si256(), (__m256i)lanes, 0xaa);
#else
  return (FloatRegister)(lanes & (int32_t)0xffff0000);
#endif
}

// acc[lane] += a[2 * lane + 1] * b[2 * lane + 1], then += a[2 * lane] * b[2 * lane], in one fixed order of rounding.
SGL_INLINE F32x16 dot(const F32x16& acc, const Bf16x32& a, const Bf16x32& b) {
  F32x16 result;
#if defined(SGL_AVX512)
  result.part[0] = (FloatRegister)_mm512_dpbf16_ps((__m512)acc.part[0], (__m512bh)a.part[0], (__m512bh)b.part[0]);
#else
  F32x16 a_low, a_high, b_low, b_high;
  SGL_EACH_REGISTER {
    a_low.part[i] = low_as_float(a.part[i]);
    b_low.part[i] = low_as_float(b.part[i]);
    a_high.part[i] = high_as_float(a.part[i]);
    b_high.part[i] = high_as_float(b.part[i]);
  }
  result = fma(a_low, b_low, fma(a_high, b_high, acc));
#endif
  return result;
}

// Two bfloat16 (the first in the lower half), the same for all lanes.
SGL_INLINE Bf16x32 splat_pair(int32_t pair) {
  const I32x16 all = splat(pair);
  Bf16x32 result;
  SGL_EACH_REGISTER result.part[i] = all.part[i];
  return result;
}

// --- reductions: a fixed tree over the lanes -------------------------------------------------------------------------

SGL_INLINE float sum_lanes(const F32x16& a) {
#if defined(SGL_AVX512)
  const __m512 lanes = (__m512)a.part[0];
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_maskz_extractf32x8_ps(0xff, lanes, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
  float lanes[kLanes];
  store(lanes, a);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  return lanes[0];
#endif
}

// Which zero it is where several are greatest depends on the level; so does a NaN.
SGL_INLINE float max_lanes(const F32x16& a) {
#if defined(SGL_AVX512)
  return _mm512_reduce_max_ps((__m512)a.part[0]);
#else
  float lanes[kLanes];
  store(lanes, a);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane)
      lanes[lane] = lanes[lane] > lanes[lane + width] ? lanes[lane] : lanes[lane + width];
  return lanes[0];
#endif
}

// Exact, so in any order.
SGL_INLINE int32_t max_lanes(const I32x16& a) {
#if defined(SGL_AVX512)
  return _mm512_reduce_max_epi32((__m512i)a.part[0]);
#else
  int32_t lanes[kLanes];
  store(lanes, a);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane)
      lanes[lane] = lanes[lane] > lanes[lane + width] ? lanes[lane] : lanes[lane + width];
  return lanes[0];
#endif
}

// The lanes, -128..127, as bytes.
SGL_INLINE void store_int8(int8_t* target, const I32x16& a) {
#if defined(SGL_AVX512)
  _mm_storeu_si128((__m128i*)target, _mm512_cvtepi32_epi8((__m512i)a.part[0]));
#else
  int32_t lanes[kLanes];
  store(lanes, a);
  for (int lane = 0; lane < kLanes; ++lane) target[lane] = int8_t(lanes[lane]);
#endif
}

// --- functions -------------------------------------------------------------------------------------------------------

// e^x with a relative error below 2e-7; 0 below -87.3, and for -infinity; x must not exceed 88. NaN gives NaN.
// Cephes' expf: x = n ln 2 + r, a polynomial of degree 6 in r, and n put into the exponent.
SGL_INLINE F32x16 exp(const F32x16& x) {
  const F32x16 clamped = max(splat(-87.33f), x);
  const I32x16 n = round_to_int(clamped * splat(1.44269504088896341f));
  const F32x16 n_float = to_float(n);
  F32x16 r = fma(n_float, splat(-0.693359375f), clamped);
  r = fma(n_float, splat(2.12194440e-4f), r);
  F32x16 y = splat(1.9875691500e-4f);
  y = fma(y, r, splat(1.3981999507e-3f));
  y = fma(y, r, splat(8.3334519073e-3f));
  y = fma(y, r, splat(4.1665795894e-2f));
  y = fma(y, r, splat(1.6666665459e-1f));
  y = fma(y, r, splat(5.0000001201e-1f));
  y = fma(y, r * r, r) + splat(1.0f);
  F32x16 result;
  SGL_EACH_REGISTER {
    const FloatRegister power = (FloatRegister)((n.part[i] + 127) << 23);
    const FloatRegister value = y.part[i] * power;
    result.part[i] = x.part[i] < -87.33f ? FloatRegister{} : value;
  }
  return result;
}

// 2^x for x <= 0, to 3e-6 of the result, NaN of NaN; 0 below -126. Of 0 it is 1. x = n + f with |f| <= 1/2; the polynomial
// is a minimax fit of 2^f - 1 without constant term, in the relative error of 2^f.
SGL_INLINE F32x16 exp2(const F32x16& x) {
  const F32x16 clamped = max(splat(-127.0f), x);
  const float magic = 12582912.0f;  // see round_to_int: the low bits of the sum are n
  const F32x16 shifted = clamped + splat(magic);
  const F32x16 fraction = clamped - (shifted - splat(magic));
  F32x16 y = splat(9.5828529447e-3f);
  y = fma(y, fraction, splat(5.5906426162e-2f));
  y = fma(y, fraction, splat(2.4024099112e-1f));
  y = fma(y, fraction, splat(6.9312417507e-1f));
  y = fma(y, fraction, splat(1.0f));
  F32x16 result;
  SGL_EACH_REGISTER {
    const FloatRegister power = (FloatRegister)(((WordRegister)shifted.part[i] << 23) + (127u << 23));
    result.part[i] = y.part[i] * power;
  }
  return result;
}

// --- parts of vectors, bfloat16 and int8 in memory -------------------------------------------------------------------

// Stores lanes [begin, begin + count) of 32 bits, and only those, one after the other at `target`.
template <class Vector>
SGL_INLINE void store_lanes(void* target, const Vector& value, int begin, int count) {
#if defined(SGL_AVX512)
  const __mmask16 mask = __mmask16(((1u << count) - 1) << begin);
  _mm512_mask_storeu_epi32((int32_t*)target - begin, mask, (__m512i)value.part[0]);
#else
  if (count == kLanes) return store(target, value);
  int32_t lanes[kLanes];
  store(lanes, value);
  std::memcpy(target, lanes + begin, size_t(count) * sizeof(int32_t));
#endif
}

// To the nearest bfloat16, halves to even; NaN stays NaN. Whether a subnormal becomes zero depends on the level.
SGL_INLINE F32x16 round_to_bf16(const F32x16& a) {
  F32x16 result;
#if defined(SGL_AVX512)
  const __m256i halves = (__m256i)_mm512_cvtneps_pbh((__m512)a.part[0]);
  result.part[0] = (FloatRegister)((WordRegister)_mm512_maskz_cvtepu16_epi32(0xffff, halves) << 16);
#else
  SGL_EACH_REGISTER {
    const WordRegister bits = (WordRegister)a.part[i];
    const WordRegister rounded = bits + 0x7fff + ((bits >> 16) & 1);
    const WordRegister is_nan = (WordRegister)((bits & 0x7fffffff) > 0x7f800000);
    result.part[i] = (FloatRegister)(((is_nan & (bits | 0x400000)) | (~is_nan & rounded)) & 0xffff0000);
  }
#endif
  return result;
}

// Stores 16 values rounded to bfloat16 and returns them.
SGL_INLINE F32x16 store_bf16(void* target, const F32x16& a) {
  const F32x16 rounded = round_to_bf16(a);
#if defined(SGL_AVX512)
  _mm256_storeu_si256((__m256i*)target, (__m256i)_mm512_cvtneps_pbh((__m512)a.part[0]));
#elif defined(SGL_AVX2)
  const __m256i low = _mm256_srli_epi32((__m256i)rounded.part[0], 16);
  const __m256i high = _mm256_srli_epi32((__m256i)rounded.part[1], 16);
  _mm256_storeu_si256((__m256i*)target, _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8));
#else
  uint32_t lanes[kLanes];
  uint16_t halves[kLanes];
  store(lanes, rounded);
  for (int lane = 0; lane < kLanes; ++lane) halves[lane] = uint16_t(lanes[lane] >> 16);
  std::memcpy(target, halves, sizeof(halves));
#endif
  return rounded;
}

SGL_INLINE F32x16 load_bf16(const void* source) {
  F32x16 result;
#if defined(SGL_AVX512)
  const __m512i lanes = _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256((const __m256i*)source));
  result.part[0] = (FloatRegister)((WordRegister)lanes << 16);
#elif defined(SGL_AVX2)
  SGL_EACH_REGISTER
  result.part[i] = (FloatRegister)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)source + i)), 16);
#else
  uint16_t halves[kLanes];
  float values[kLanes];
  std::memcpy(halves, source, sizeof(halves));
  for (int lane = 0; lane < kLanes; ++lane) values[lane] = bf16_to_float(halves[lane]);
  result = load<F32x16>(values);
#endif
  return result;
}

// 32 values rounded to bfloat16, in order: `first` are lanes 0-7 of the result, two in each.
SGL_INLINE Bf16x32 pack_bf16(const F32x16& first, const F32x16& second) {
  Bf16x32 result;
#if defined(SGL_AVX512)
  result.part[0] = (IntRegister)_mm512_cvtne2ps_pbh((__m512)second.part[0], (__m512)first.part[0]);
#else
  uint16_t values[2 * kLanes];
  store_bf16(values, first);
  store_bf16(values + kLanes, second);
  result = load<Bf16x32>(values);
#endif
  return result;
}

// 16 signed bytes.
SGL_INLINE I32x16 load_int8(const void* source) {
  I32x16 result;
#if defined(SGL_AVX512)
  result.part[0] = (IntRegister)_mm512_maskz_cvtepi8_epi32(0xffff, _mm_loadu_si128((const __m128i*)source));
#elif defined(SGL_AVX2)
  SGL_EACH_REGISTER
  result.part[i] = (IntRegister)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)((const int8_t*)source + 8 * i)));
#else
  int32_t lanes[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = ((const int8_t*)source)[lane];
  result = load<I32x16>(lanes);
#endif
  return result;
}

// 2^(exponent - 127) for 16 exponents as float32 stores them: 0 for 0, infinity for 255.
SGL_INLINE F32x16 load_powers(const uint8_t* exponents) {
  int32_t lanes[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = int32_t(exponents[lane]) << 23;
  return load<F32x16>(lanes);
}

// 16 times two signed bytes: the first of each two, and the second.
SGL_INLINE void load_int8_pairs(const void* source, I32x16& first, I32x16& second) {
#if defined(SGL_AVX512) || defined(SGL_AVX2)
  I32x16 both;
#if defined(SGL_AVX512)
  both.part[0] = (IntRegister)_mm512_maskz_cvtepi16_epi32(0xffff, _mm256_loadu_si256((const __m256i*)source));
#else
  SGL_EACH_REGISTER both.part[i] = (IntRegister)_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i*)source + i));
#endif
  SGL_EACH_REGISTER {
    first.part[i] = (IntRegister)((WordRegister)both.part[i] << 24) >> 24;
    second.part[i] = both.part[i] >> 8;
  }
#else
  int32_t low[kLanes], high[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    low[lane] = ((const int8_t*)source)[2 * lane];
    high[lane] = ((const int8_t*)source)[2 * lane + 1];
  }
  first = load<I32x16>(low);
  second = load<I32x16>(high);
#endif
}

#if defined(SGL_AVX512)
// Of 32 words, the first 16 and the last 16 by turns.
SGL_INLINE __m512i interleave_words(__m512i both) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, both);
}
#endif

// Lanes of two: `first` rounded to bfloat16 in the lower half, `second` in the upper.
SGL_INLINE Bf16x32 interleave(const F32x16& first, const F32x16& second) {
  Bf16x32 result;
#if defined(SGL_AVX512)
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)second.part[0], (__m512)first.part[0]);
  result.part[0] = (IntRegister)interleave_words(both);
#else
  const F32x16 low = round_to_bf16(first), high = round_to_bf16(second);
  SGL_EACH_REGISTER result.part[i] = (IntRegister)((WordRegister)low.part[i] >> 16) | (IntRegister)high.part[i];
#endif
  return result;
}

// The same of 16 bfloat16 in memory each.
SGL_INLINE Bf16x32 interleave(const uint16_t* first, const uint16_t* second) {
  Bf16x32 result;
#if defined(SGL_AVX512)
  const __m512i low = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)first));
  const __m512i both = _mm512_mask_broadcast_i64x4(low, 0xf0, _mm256_loadu_si256((const __m256i*)second));
  result.part[0] = (IntRegister)interleave_words(both);
#elif defined(SGL_AVX2)
  const __m256i low = _mm256_loadu_si256((const __m256i*)first), high = _mm256_loadu_si256((const __m256i*)second);
  const __m256i even = _mm256_unpacklo_epi16(low, high), odd = _mm256_unpackhi_epi16(low, high);
  result.part[0] = (IntRegister)_mm256_permute2x128_si256(even, odd, 0x20);
  result.part[1] = (IntRegister)_mm256_permute2x128_si256(even, odd, 0x31);
#else
  uint32_t pairs[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) pairs[lane] = uint32_t(first[lane]) | uint32_t(second[lane]) << 16;
  result = load<Bf16x32>(pairs);
#endif
  return result;
}

// The second of each two replaced by zero.
SGL_INLINE Bf16x32 first_of_two(const Bf16x32& a) {
  Bf16x32 result;
  SGL_EACH_REGISTER result.part[i] = a.part[i] & 0xffff;
  return result;
}

}  // namespace SGL_LEVEL
}  // namespace sgl
