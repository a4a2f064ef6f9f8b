#include "sampling.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "philox.h"

namespace sgl {

namespace {

int64_t padded(int64_t vocab_size) { return (vocab_size + kVocabBlock - 1) / kVocabBlock * kVocabBlock; }

// The part of a step's data that belongs to one row.
struct RowInputs {
  const SamplingRow* row;
  const float* logits;
  const int64_t *biased, *prompt, *output, *banned;  // output follows prompt
  const float* biases;
  const uint32_t* mask;
  int64_t* top_ids;
  double* top_logprobs;

  bool has_counted_penalties() const { return row->frequency_penalty != 0.0 || row->presence_penalty != 0.0; }
  bool has_mask() const { return row->num_mask_words >= 0; }
  bool changes_logits() const {
    return row->num_biased > 0 || row->num_banned > 0 || row->repetition_penalty != 1.0 || has_counted_penalties();
  }
  bool adjusts_logits() const { return has_mask() || changes_logits(); }
  bool is_allowed(int64_t token_id) const {
    return token_id / 32 < row->num_mask_words && (mask[token_id / 32] >> (token_id % 32) & 1) != 0;
  }
  // Whether the token with the highest logit stays so when the logits have been adjusted.
  bool keeps_highest(int64_t token_id) const { return !changes_logits() && (!has_mask() || is_allowed(token_id)); }
  bool takes_highest() const { return row->temperature == 0.0 && row->num_top < 0 && !adjusts_logits(); }
};

// Other threads are woken for work that takes longer than waking them: in tokens looked at, some 0.1 ms.
constexpr int64_t kWorthWaking = 2000000;
constexpr int64_t kWeighingWork = 12;  // how many times longer than finding the highest logit weighing all tokens takes

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

void require_in_vocabulary(const int64_t* ids, int64_t count, int64_t vocab_size) {
  for (int64_t i = 0; i < count; ++i)
    if (ids[i] < 0 || ids[i] >= vocab_size)
      throw std::invalid_argument("token id " + std::to_string(ids[i]) + " is not in a vocabulary of " +
                                  std::to_string(vocab_size));
}

std::vector<RowInputs> split(const SamplingRows& rows, const SamplingResults& results, int64_t vocab_size) {
  std::vector<RowInputs> inputs;
  inputs.reserve(size_t(rows.count));
  const int64_t* ids = rows.token_ids;
  const float* biases = rows.biases;
  const uint32_t* mask = rows.masks;
  int64_t num_top = 0;
  for (int64_t i = 0; i < rows.count; ++i) {
    const SamplingRow& row = rows.rows[i];
    require(row.num_biased >= 0 && row.num_prompt_ids >= 0 && row.num_output_ids >= 0 && row.num_banned >= 0 &&
                row.num_mask_words >= -1 && row.num_top >= -1 && row.top_k >= 1,
            "a count of a row is out of range");
    RowInputs input;
    input.row = &row;
    input.logits = rows.logits + i * vocab_size;
    input.biased = ids;
    input.prompt = input.biased + row.num_biased;
    input.output = input.prompt + row.num_prompt_ids;
    input.banned = input.output + row.num_output_ids;
    input.biases = biases;
    input.mask = mask;
    input.top_ids = results.top_ids + num_top;
    input.top_logprobs = results.top_logprobs + num_top;
    inputs.push_back(input);
    ids = input.banned + row.num_banned;
    biases += row.num_biased;
    mask += std::max<int64_t>(row.num_mask_words, 0);
    num_top += std::min(std::max<int64_t>(row.num_top, 0), vocab_size);
  }
  require(ids == rows.token_ids + rows.num_token_ids && biases == rows.biases + rows.num_biases &&
              mask == rows.masks + rows.num_mask_words,
          "the rows do not add up to the ids, biases and masks given");
  require_in_vocabulary(rows.token_ids, rows.num_token_ids, vocab_size);
  return inputs;
}

double just_below(double value) { return std::nextafter(value, 0.0); }

// The first index whose cumulative weight is above `wanted`; its own weight is never zero. Where rounding has lifted
// `wanted` to the total or past it, that is the first index to reach the total.
int64_t first_above(const double* cumulative, int64_t count, double wanted) {
  wanted = std::min(wanted, just_below(cumulative[count - 1]));
  return std::upper_bound(cumulative, cumulative + count, wanted) - cumulative;
}

}  // namespace

// What one thread needs to compute a row.
struct Sampler::Scratch {
  explicit Scratch(int64_t vocab_size)
      : log_weights(padded(vocab_size)),
        weights(padded(vocab_size)),
        block_sums(padded(vocab_size) / kVocabBlock),
        block_maxima(padded(vocab_size) / kVocabBlock),
        cumulative(padded(vocab_size)),
        counts(size_t(vocab_size)),
        ranking(padded(vocab_size)),
        tokens{vocab_size, log_weights.data(), weights.data(), block_sums.data(), block_maxima.data()} {}

  void sample(const KernelTable& kernels, const RowInputs& inputs, int64_t& token_id, double& value);
  double score(const KernelTable& kernels, const RowInputs& inputs, float highest, int64_t token_id, int64_t num_top);

 private:
  void adjust(const KernelTable& kernels, const RowInputs& inputs);
  void penalize_repetition(const RowInputs& inputs);
  void penalize_counted(const RowInputs& inputs);
  int64_t draw(const KernelTable& kernels, const SamplingRow& row, const float* logits, float highest);
  int64_t draw_ranked(const KernelTable& kernels, const SamplingRow& row, float least, double u);
  void cut_last_shell(int64_t top_k, double share);
  int64_t accumulate(int64_t shell);
  int64_t invert_blocks(double u);
  double sum_blocks();

  AlignedArray<float> log_weights;  // first the adjusted logits, if the row adjusts any
  AlignedArray<float> weights;
  AlignedArray<double> block_sums;
  AlignedArray<float> block_maxima;
  AlignedArray<double> cumulative;  // weight, up to each of the tokens of a shell, or of blocks, or of a block's tokens
  std::vector<int32_t> counts;      // all zero between rows
  Ranking ranking;
  TokenWeights tokens;
};

// --- adjusting -------------------------------------------------------------------------------------------------------

// Leaves bias, penalties, bans and mask applied to a copy in `log_weights`. The mask comes first although it is defined
// as the last: nothing that follows changes -infinity.
void Sampler::Scratch::adjust(const KernelTable& kernels, const RowInputs& inputs) {
  const SamplingRow& row = *inputs.row;
  float* logits = log_weights.data();
  if (inputs.has_mask())
    kernels.copy_allowed_logits(inputs.logits, tokens.size, inputs.mask, row.num_mask_words, logits);
  else
    std::copy(inputs.logits, inputs.logits + tokens.size, logits);
  for (int64_t i = 0; i < row.num_biased; ++i) logits[inputs.biased[i]] += inputs.biases[i];
  if (row.repetition_penalty != 1.0) penalize_repetition(inputs);
  if (inputs.has_counted_penalties()) penalize_counted(inputs);
  for (int64_t i = 0; i < row.num_banned; ++i) logits[inputs.banned[i]] = -INFINITY;
}

// A token that occurs twice is penalised once.
void Sampler::Scratch::penalize_repetition(const RowInputs& inputs) {
  const float penalty = float(std::max(inputs.row->repetition_penalty, double(FLT_MIN)));
  const int64_t count = inputs.row->num_prompt_ids + inputs.row->num_output_ids;
  const int64_t* ids = inputs.prompt;
  for (int64_t i = 0; i < count; ++i) {
    if (counts[size_t(ids[i])]++ > 0) continue;
    float& logit = log_weights[ids[i]];
    logit = logit > 0.0f ? logit / penalty : logit * penalty;
  }
  for (int64_t i = 0; i < count; ++i) counts[size_t(ids[i])] = 0;
}

void Sampler::Scratch::penalize_counted(const RowInputs& inputs) {
  const SamplingRow& row = *inputs.row;
  for (int64_t i = 0; i < row.num_output_ids; ++i) ++counts[size_t(inputs.output[i])];
  for (int64_t i = 0; i < row.num_output_ids; ++i) {
    int32_t& count = counts[size_t(inputs.output[i])];
    if (count == 0) continue;  // penalised at its first occurrence
    log_weights[inputs.output[i]] -= float(row.frequency_penalty * count + row.presence_penalty);
    count = 0;
  }
}

// --- drawing ---------------------------------------------------------------------------------------------------------

void Sampler::Scratch::sample(const KernelTable& kernels, const RowInputs& inputs, int64_t& token_id, double& value) {
  const SamplingRow& row = *inputs.row;
  const HighestLogit own = kernels.highest_logit(inputs.logits, tokens.size);
  value = own.value;
  token_id = kNoDistribution;
  if (!std::isfinite(own.value)) return;
  HighestLogit highest = own;
  const float* logits = inputs.logits;
  if (inputs.adjusts_logits() && !(row.temperature == 0.0 && inputs.keeps_highest(own.token_id))) {
    adjust(kernels, inputs);
    logits = log_weights.data();
    highest = kernels.highest_logit(logits, tokens.size);
    value = highest.value;
    token_id = kDeadEnd;
    if (!std::isfinite(highest.value)) return;
  }
  token_id = row.temperature == 0.0 ? highest.token_id : draw(kernels, row, logits, highest.value);
  if (row.num_top >= 0) value = score(kernels, inputs, own.value, token_id, row.num_top);
}

int64_t Sampler::Scratch::draw(const KernelTable& kernels, const SamplingRow& row, const float* logits, float highest) {
  const float temperature = float(std::min(row.temperature, double(FLT_MAX)));
  const float least = row.min_p > 0.0 ? float(std::log(row.min_p)) : -INFINITY;
  const bool is_ranked = row.top_k < tokens.size || row.top_p < 1.0;
  const double u = uniform(uint64_t(row.seed), uint64_t(row.position), uint64_t(row.sample_index));
  // The share that `top_p` asks for is one of the weight of all tokens.
  kernels.weigh_logits(logits, {highest, temperature, is_ranked ? -INFINITY : least}, tokens);
  return is_ranked ? draw_ranked(kernels, row, least, u) : invert_blocks(u);
}

// The tokens kept are the first ones of the ranking: as many as reach `top_p`, at most `top_k`, as far as `min_p`.
int64_t Sampler::Scratch::draw_ranked(const KernelTable& kernels, const SamplingRow& row, float least, double u) {
  const double share = row.top_p < 1.0 ? row.top_p * sum_blocks() : INFINITY;
  least = std::max(least, Ranking::kNoWeight);
  ranking.start(kernels, tokens, log_weights.data());
  do ranking.extend(least);
  while (ranking.count() < row.top_k && ranking.weight() < share && !ranking.reaches(least));
  cut_last_shell(row.top_k, share);
  const double wanted = std::min(u * ranking.weight(), just_below(ranking.weight()));
  int64_t shell = 0;
  while (ranking.shell(shell).weight_through <= wanted) ++shell;
  const int64_t count = accumulate(shell);
  return ranking[ranking.shell(shell).begin + first_above(cumulative.data(), count, wanted)];
}

// Only the last shell may have tokens that are not kept: before it neither limit was reached.
void Sampler::Scratch::cut_last_shell(int64_t top_k, double share) {
  if (ranking.count() <= top_k && ranking.weight() < share) return;
  const int64_t last = ranking.num_shells() - 1;
  int64_t kept = std::min(accumulate(last), top_k - ranking.shell(last).begin);
  const double* sums = cumulative.data();
  kept = std::min<int64_t>(kept, std::lower_bound(sums, sums + kept, share) - sums + 1);
  ranking.cut_last(kept, sums[kept - 1]);
}

// Leaves in `cumulative` the weight up to each token of a shell, in order of rank. Returns how many these are.
int64_t Sampler::Scratch::accumulate(int64_t shell) {
  ranking.sort(shell);
  const Shell& tokens_of = ranking.shell(shell);
  double sum = tokens_of.weight_before;
  for (int64_t rank = tokens_of.begin; rank < tokens_of.end; ++rank)
    cumulative[rank - tokens_of.begin] = sum += double(weights[ranking[rank]]);
  return tokens_of.end - tokens_of.begin;
}

// The token that holds fraction `u` of all weight, found by its block and then inside the block.
int64_t Sampler::Scratch::invert_blocks(double u) {
  const int64_t num_blocks = padded(tokens.size) / kVocabBlock;
  double sum = 0.0;
  for (int64_t block = 0; block < num_blocks; ++block) cumulative[block] = sum += block_sums[block];
  double wanted = u * sum;
  const int64_t block = first_above(cumulative.data(), num_blocks, wanted);
  if (block > 0) wanted -= cumulative[block - 1];
  const int64_t begin = block * kVocabBlock;
  sum = 0.0;
  for (int64_t i = 0; i < kVocabBlock; ++i) cumulative[i] = sum += double(weights[begin + i]);
  return begin + first_above(cumulative.data(), kVocabBlock, wanted);
}

double Sampler::Scratch::sum_blocks() {
  double sum = 0.0;
  for (int64_t block = 0; block < padded(tokens.size) / kVocabBlock; ++block) sum += block_sums[block];
  return sum;
}

// --- log-probabilities -----------------------------------------------------------------------------------------------

double Sampler::Scratch::score(const KernelTable& kernels, const RowInputs& inputs, float highest, int64_t token_id,
                               int64_t num_top) {
  kernels.weigh_logits(inputs.logits, {highest, 1.0f, -INFINITY}, tokens);
  const double log_sum = std::log(sum_blocks());
  const auto logprob = [&](int64_t id) { return double(inputs.logits[id]) - double(highest) - log_sum; };
  num_top = std::min(num_top, tokens.size);
  ranking.start(kernels, tokens, inputs.logits);
  while (ranking.count() < num_top) {
    ranking.extend(-INFINITY);
    ranking.sort(ranking.num_shells() - 1);
  }
  for (int64_t rank = 0; rank < num_top; ++rank) {
    inputs.top_ids[rank] = ranking[rank];
    inputs.top_logprobs[rank] = logprob(ranking[rank]);
  }
  return logprob(token_id);
}

// --- the step --------------------------------------------------------------------------------------------------------

Sampler::Sampler(const KernelTable& kernels, std::shared_ptr<ThreadPool> pool, int64_t vocab_size)
    : kernels_(kernels), pool_(std::move(pool)), vocab_size_(vocab_size) {
  require(vocab_size >= 1 && vocab_size <= INT32_MAX, "a vocabulary has 1 to 2^31 - 1 tokens");
  for (int thread = 0; thread < pool_->num_threads(); ++thread) scratch_.emplace_back(vocab_size);
}

Sampler::~Sampler() = default;

// Calls body(row, scratch) for each row; `work` decides whether other threads take part.
template <class Body>
void Sampler::for_each_row(int64_t count, int64_t work, Body&& body) {
  if (work * vocab_size_ < kWorthWaking) {
    for (int64_t row = 0; row < count; ++row) body(row, scratch_[0]);
    return;
  }
  pool_->run([&](int thread) {
    const auto rows = [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) body(row, scratch_[size_t(thread)]);
    };
    return pool_->for_each(thread, count, 1, rows, no_idle_work);
  });
}

void Sampler::sample(const SamplingRows& rows, const SamplingResults& results) {
  const std::vector<RowInputs> inputs = split(rows, results, vocab_size_);
  int64_t work = 0;
  for (const RowInputs& input : inputs) work += input.takes_highest() ? 1 : kWeighingWork;
  for_each_row(rows.count, work, [&](int64_t i, Scratch& scratch) {
    scratch.sample(kernels_, inputs[size_t(i)], results.token_ids[i], results.values[i]);
  });
}

void Sampler::score(const ScoredRows& rows, const SamplingResults& results) {
  require(rows.num_top >= 0, "num_top must not be negative");
  require_in_vocabulary(rows.token_ids, rows.count, vocab_size_);
  const int64_t num_top = std::min(rows.num_top, vocab_size_);
  for_each_row(rows.count, rows.count * kWeighingWork, [&](int64_t i, Scratch& scratch) {
    RowInputs inputs{};
    inputs.logits = rows.logits + i * vocab_size_;
    inputs.top_ids = results.top_ids + i * num_top;
    inputs.top_logprobs = results.top_logprobs + i * num_top;
    const float highest = kernels_.highest_logit(inputs.logits, vocab_size_).value;
    results.values[i] =
        std::isfinite(highest) ? scratch.score(kernels_, inputs, highest, rows.token_ids[i], num_top) : NAN;
  });
}

}  // namespace sgl
