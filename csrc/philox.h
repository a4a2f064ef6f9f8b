// Random numbers without a state: Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as
// 1, 2, 3" (SC 2011). sglang/srt/executor/random.py is the reference.
#pragma once

#include <cstdint>

namespace sgl {

// One of the 2^53 equally spaced numbers in [0, 1): the cipher of (position, sample index) under the seed.
inline double uniform(uint64_t seed, uint64_t position, uint64_t sample_index) {
  uint32_t c0 = uint32_t(position), c1 = uint32_t(position >> 32);
  uint32_t c2 = uint32_t(sample_index), c3 = uint32_t(sample_index >> 32);
  uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t(0xD2511F53) * c0;
    const uint64_t product1 = uint64_t(0xCD9E8D57) * c2;
    c0 = uint32_t(product1 >> 32) ^ c1 ^ k0;
    c1 = uint32_t(product1);
    c2 = uint32_t(product0 >> 32) ^ c3 ^ k1;
    c3 = uint32_t(product0);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return double((uint64_t(c0) << 32 | c1) >> 11) * 0x1p-53;
}

}  // namespace sgl
