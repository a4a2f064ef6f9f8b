#include "sampling.h"

#include <algorithm>
#include <limits>

#include "exercise.h"

namespace sgl::exercise {

namespace {

// Random rows with everything that a request may ask for.
struct Work {
  int64_t vocab_size, count;
  std::vector<float> logits, biases;
  std::vector<SamplingRow> rows;
  std::vector<int64_t> token_ids;
  std::vector<uint32_t> masks;
  int64_t num_reported = 0;

  Work(int64_t vocab_size, int64_t count, Random& random) : vocab_size(vocab_size), count(count) {
    for (int64_t row = 0; row < count; ++row) add_row(random);
  }

  SamplingRows view() const {
    return {logits.data(),     count,         rows.data(),         token_ids.data(), int64_t(token_ids.size()),
            biases.data(), int64_t(biases.size()), masks.data(), int64_t(masks.size())};
  }

 private:
  void add_row(Random& random) {
    const float scale = float(random.uniform(0, 10));  // near 0 all tokens are equally likely
    for (int64_t token = 0; token < vocab_size; ++token) logits.push_back(scale * random.normal());
    if (random.chance(0.1)) logits[size_t(random.integer(0, int64_t(logits.size()) - 1))] = kOdd[random.integer(0, 2)];
    SamplingRow row{};
    row.seed = random.integer(0, 1 << 30);
    row.position = random.integer(0, 1000);
    row.temperature = random.chance(0.3) ? 0.0 : random.uniform(0.01, 3);
    row.top_p = random.chance(0.5) ? 1.0 : random.uniform(0.001, 1);
    row.min_p = random.chance(0.5) ? 0.0 : random.uniform(0, 1);
    row.top_k = random.chance(0.5) ? vocab_size : random.integer(1, vocab_size);
    row.repetition_penalty = random.chance(0.5) ? 1.0 : random.uniform(0.5, 2);
    row.frequency_penalty = random.uniform(-1, 1);
    row.presence_penalty = random.uniform(-1, 1);
    row.num_biased = add_ids(random);
    for (int64_t i = 0; i < row.num_biased; ++i) biases.push_back(random.normal());
    row.num_prompt_ids = add_ids(random);
    row.num_output_ids = add_ids(random);
    row.num_banned = add_ids(random);
    row.num_mask_words = random.chance(0.5) ? -1 : (vocab_size + 31) / 32;
    for (int64_t word = 0; word < row.num_mask_words; ++word) masks.push_back(uint32_t(random.integer(0, UINT32_MAX)));
    row.num_top = random.integer(-1, 30);
    num_reported += std::max<int64_t>(0, std::min(row.num_top, vocab_size));
    rows.push_back(row);
  }

  int64_t add_ids(Random& random) {
    const int64_t count = random.chance(0.5) ? 0 : random.integer(1, 20);
    for (int64_t i = 0; i < count; ++i) token_ids.push_back(random.integer(0, vocab_size - 1));
    return count;
  }

  static constexpr float kOdd[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                                   -std::numeric_limits<float>::infinity()};
};

struct Results {
  std::vector<int64_t> token_ids, top_ids;
  std::vector<double> values, top_logprobs;

  Results(int64_t count, int64_t num_reported)
      : token_ids(size_t(count), -100),
        top_ids(size_t(num_reported), -100),
        values(poisoned<double>(count)),
        top_logprobs(poisoned<double>(num_reported)) {}
  SamplingResults view() { return {token_ids.data(), values.data(), top_ids.data(), top_logprobs.data()}; }
};

Results sample(const KernelTable& kernels, int num_threads, const Work& work) {
  Sampler sampler(kernels, std::make_shared<ThreadPool>(num_threads), work.vocab_size);
  Results results(work.count, work.num_reported);
  sampler.sample(work.view(), results.view());
  return results;
}

void score(const KernelTable& kernels, const Work& work, Random& random) {
  Sampler sampler(kernels, std::make_shared<ThreadPool>(2), work.vocab_size);
  const int64_t num_top = random.integer(0, 10);
  std::vector<int64_t> token_ids;
  for (int64_t row = 0; row < work.count; ++row) token_ids.push_back(random.integer(0, work.vocab_size - 1));
  Results results(work.count, work.count * std::min(num_top, work.vocab_size));
  SamplingResults view = results.view();
  view.token_ids = nullptr;
  sampler.score({work.logits.data(), work.count, token_ids.data(), num_top}, view);
  for (const double value : results.values) require(!(value > 1e-6), "a log-probability above 0");
}

}  // namespace

void sampling(const KernelTable& kernels, Random& random) {
  const int64_t vocab_size = random.integer(1, 3000), count = random.integer(1, 6);
  const Work work(vocab_size, count, random);
  const Results one = sample(kernels, 1, work), several = sample(kernels, 3, work);
  require_same_bits(one.token_ids, several.token_ids, "sampling with three threads");
  require_same_bits(one.values, several.values, "sampling with three threads");
  require_same_bits(one.top_ids, several.top_ids, "sampling with three threads");
  require_same_bits(one.top_logprobs, several.top_logprobs, "sampling with three threads");
  for (const int64_t token : one.token_ids)
    require(token >= kDeadEnd && token < work.vocab_size, "no token: " + std::to_string(token));
  score(kernels, work, random);
}

}  // namespace sgl::exercise
