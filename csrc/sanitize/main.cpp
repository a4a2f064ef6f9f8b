// exercise [rounds [seed]]: random work on every level that this machine can run.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <random>

#include "exercise.h"
#include "level.h"

namespace {

using sgl::KernelTable;
using sgl::exercise::Random;

void exercise_all(Random& random) {
  for (const KernelTable* kernels : sgl::usable_levels()) {
    sgl::exercise::products(*kernels, random);
    sgl::exercise::rows(*kernels, random);
    sgl::exercise::attention(*kernels, random);
    sgl::exercise::sampling(*kernels, random);
    sgl::exercise::program(*kernels, random);
    sgl::exercise::highest(*kernels, random);
  }
  sgl::exercise::thread_pool(random);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 20;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : std::random_device()();
  std::fprintf(stderr, "%d rounds, seed %llu\n", rounds, static_cast<unsigned long long>(seed));
  Random random(seed);
  try {
    for (int round = 0; round < rounds; ++round) exercise_all(random);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
