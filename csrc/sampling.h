// From rows of logits to tokens and log-probabilities. sglang/srt/executor/sampler.py says what is computed, and is the
// reference.
//
// A row is computed by one thread from nothing but its own inputs, so its result is the same in bits whatever the
// batch, the row's place in it and the number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/table.h"
#include "ranking.h"
#include "thread_pool.h"

namespace sgl {

// What decides the token drawn from one row. Python packs these; every field has 8 bytes.
struct SamplingRow {
  int64_t seed, position, sample_index;
  double temperature;  // 0: the most likely token
  double top_p, min_p, repetition_penalty, frequency_penalty, presence_penalty;
  int64_t top_k;            // at least 1; the size of the vocabulary or more keeps all
  int64_t num_mask_words;   // -1: no mask
  int64_t num_biased;       // tokens with a bias
  int64_t num_prompt_ids, num_output_ids;  // of interest to penalties only
  int64_t num_banned;
  int64_t num_top;          // most likely tokens to report; -1: no log-probability at all
};

// The rows of a step. What belongs to the single rows lies one after the other.
struct SamplingRows {
  const float* logits;  // [count, vocab]
  int64_t count;
  const SamplingRow* rows;
  const int64_t* token_ids;   // of each row: biased, prompt, output, banned
  int64_t num_token_ids;
  const float* biases;        // of each row: one per biased token
  int64_t num_biases;
  const uint32_t* masks;      // of each row: words; see SamplingRow.allowed_mask in sampler.py
  int64_t num_mask_words;
};

// The tokens that follow rows of logits, for scoring.
struct ScoredRows {
  const float* logits;  // [count, vocab]
  int64_t count;
  const int64_t* token_ids;
  int64_t num_top;
};

// In place of a token.
constexpr int64_t kNoDistribution = -1;  // the highest of the model's logits is not finite
constexpr int64_t kDeadEnd = -2;         // with bias, penalties, bans and mask the highest is not finite

struct SamplingResults {
  int64_t* token_ids;    // [count]; null when scoring
  double* values;        // [count]: the log-probability if asked for; the highest logit where there is no token
  int64_t* top_ids;      // of each row that asked, min(num_top, vocab): by falling log-probability, then rising id
  double* top_logprobs;
};

class Sampler {
 public:
  Sampler(const KernelTable& kernels, std::shared_ptr<ThreadPool> pool, int64_t vocab_size);
  ~Sampler();
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  int64_t vocab_size() const { return vocab_size_; }

  // One token per row. Throws std::invalid_argument if the parts do not fit together or an id is not in the
  // vocabulary; then nothing was written.
  void sample(const SamplingRows& rows, const SamplingResults& results);

  // Log-probabilities of given tokens; NaN, and no alternatives written, where a row is no distribution.
  // Throws as `sample` does.
  void score(const ScoredRows& rows, const SamplingResults& results);

 private:
  struct Scratch;

  template <class Body>
  void for_each_row(int64_t count, int64_t work, Body&& body);

  const KernelTable& kernels_;
  const std::shared_ptr<ThreadPool> pool_;
  const int64_t vocab_size_;
  std::vector<Scratch> scratch_;  // one per thread
};

}  // namespace sgl
