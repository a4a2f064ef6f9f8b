#include "program.h"

#include <algorithm>
#include <numeric>

#include "exercise.h"
#include "step.h"

namespace sgl::exercise {

namespace {

constexpr int64_t kHidden = 256, kHeads = 4, kKvHeads = 2, kHeadDim = 64, kVocab = 90, kLayers = 2;
constexpr int64_t kPositions = 560, kSlots = 1696;
constexpr int64_t kShort = 36;  // what most prompts have at most: products take long to watch

// The weights of a small model of the Llama family, in formats of all kinds.
struct Model {
  explicit Model(Random& random) : random_(random) {
    embedding = weight({kVocab});
    head = weight({kVocab});
    for (Layer& layer : layers)
      layer = {weight({(kHeads + 2 * kKvHeads) * kHeadDim}), weight({kHidden}), weight({kHidden, kHidden}), weight({kHidden})};
    norm = std::make_shared<std::vector<float>>(random.normals(kHidden));
    cos_sin = std::make_shared<std::vector<float>>(random.normals(kPositions * kHeadDim));
  }

  struct Layer {
    Weight qkv, output, gate_up, down;
  };
  Weight embedding, head;
  Layer layers[kLayers];
  Vector norm, cos_sin;

 private:
  // One matrix, or two of the same size in alternate panels.
  Weight weight(const std::vector<int64_t>& columns) {
    const GgufType type = random_.gguf_type();
    const int64_t total = std::accumulate(columns.begin(), columns.end(), int64_t(0));
    auto storage = std::make_shared<WeightStorage>(format_of(type), kHidden, total);
    const auto stride = int64_t(columns.size());
    for (int64_t part = 0; part < stride; ++part) {
      const std::vector<uint8_t> rows = random_.checkpoint_rows(type, columns[size_t(part)], kHidden);
      storage->put(type, rows.data(), rows.size(), columns[size_t(part)], 16 * part, stride);
    }
    return storage;
  }

  Random& random_;
};

class Builder {
 public:
  Builder(Program& program, const Model& model, std::shared_ptr<const KvCache> cache)
      : program_(program), model_(model), cache_(std::move(cache)) {}

  // The buffer with the logits.
  int build() {
    const int hidden = program_.buffer(RowKind::kFloat, kHidden);
    program_.embed(model_.embedding, hidden);
    for (int64_t index = 0; index < kLayers; ++index) add_layer(index, hidden);
    const int logits = program_.buffer(RowKind::kFloat, kVocab);
    program_.matmul(normed(hidden, model_.head), model_.head, nullptr, Epilogue::kStore, logits, 0);
    return logits;
  }

 private:
  void add_layer(int64_t index, int hidden) {
    const Model::Layer& layer = model_.layers[index];
    const int qkv = program_.buffer(RowKind::kFloat, (kHeads + 2 * kKvHeads) * kHeadDim);
    program_.matmul(normed(hidden, layer.qkv), layer.qkv, nullptr, Epilogue::kStore, qkv, 0);
    const int attended = program_.buffer(RowKind::kFloat, kHidden);
    program_.attention(qkv, kHeads, 0.125f, model_.cos_sin, cache_, index, attended);
    if (index == kLayers - 1) program_.narrow({hidden, attended});
    program_.matmul(converted(attended, layer.output), layer.output, nullptr, Epilogue::kAdd, hidden, 0);
    const int gated = program_.buffer(RowKind::kFloat, kHidden);
    program_.matmul(normed(hidden, layer.gate_up), layer.gate_up, nullptr, Epilogue::kSiluAndMul, gated, 0);
    program_.matmul(converted(gated, layer.down), layer.down, nullptr, Epilogue::kAdd, hidden, 0);
  }

  int normed(int input, const Weight& reader) {
    const int output = program_.buffer(program_.input_kind(*reader), kHidden);
    program_.rms_norm(input, model_.norm, 1e-5f, output);
    return output;
  }

  int converted(int input, const Weight& reader) {
    const int output = program_.buffer(program_.input_kind(*reader), kHidden);
    program_.convert(input, 0, output);
    return output;
  }

  Program& program_;
  const Model& model_;
  std::shared_ptr<const KvCache> cache_;
};

struct Prompts {
  std::vector<int64_t> lengths, token_ids;  // of all prompts, one after the other
  std::vector<bool> is_read;                // by token

  explicit Prompts(Random& random) {
    const bool are_long = random.chance(0.2);  // some contexts are of several blocks, which threads read in parts
    for (int prompt = 0; prompt < 3; ++prompt) lengths.push_back(random.integer(1, are_long ? kPositions - 4 : kShort));
    const int64_t count = std::accumulate(lengths.begin(), lengths.end(), int64_t(0));
    for (int64_t i = 0; i < count; ++i) token_ids.push_back(random.integer(0, kVocab - 1));
    const int64_t read_of_4 = random.integer(1, 4);
    for (int64_t i = 0; i < count; ++i) is_read.push_back(random.integer(0, 3) < read_of_4);
  }
};

// The logits of all tokens that are read, 0 for the others, computed in steps that end where `chunk_ends` says.
std::vector<float> logits_of(const KernelTable& kernels, int num_threads, const Model& model, const Prompts& prompts,
                             const std::vector<std::vector<int64_t>>& chunk_ends, Random& random) {
  Program program(kernels, std::make_shared<ThreadPool>(num_threads));
  const auto cache = std::make_shared<const KvCache>(kLayers, kKvHeads, kHeadDim, kSlots, KvDtype::kBf16);
  const int logits = Builder(program, model, cache).build();
  const std::vector<SlotsByPosition> slots = scatter(prompts.lengths, kSlots, random);
  std::vector<float> results(prompts.token_ids.size() * kVocab, 0.0f);
  std::vector<int64_t> begin(prompts.lengths.size(), 0);
  for (const std::vector<int64_t>& end : chunk_ends) {
    const Step step(slots, begin, end);
    std::vector<int64_t> token_ids, read_rows;
    for (int64_t row = 0; row < step.num_rows(); ++row) {
      token_ids.push_back(prompts.token_ids[size_t(step.token(row))]);
      if (prompts.is_read[size_t(step.token(row))]) read_rows.push_back(row);
    }
    Program::Inputs inputs;
    inputs.rows = step.view();
    inputs.token_ids = token_ids.data();
    inputs.read_rows = read_rows.data();
    inputs.num_read = int64_t(read_rows.size());
    program.run(inputs);
    const float* values = program.values(logits);
    for (size_t i = 0; i < read_rows.size(); ++i)
      std::copy_n(values + int64_t(i) * kVocab, kVocab, &results[size_t(step.token(read_rows[i]) * kVocab)]);
    begin = end;
  }
  return results;
}

}  // namespace

void program(const KernelTable& kernels, Random& random) {
  const Model model(random);
  const Prompts prompts(random);
  std::vector<int64_t> split;
  const bool ends_with_few = random.chance(0.5);
  for (const int64_t length : prompts.lengths)
    split.push_back(random.integer(ends_with_few ? std::max<int64_t>(0, length - 4) : 0, length));
  const std::vector<float> whole = logits_of(kernels, 1, model, prompts, {prompts.lengths}, random);
  require_written(whole, "a program");
  require_same_bits(whole, logits_of(kernels, 3, model, prompts, {split, prompts.lengths}, random),
                    "a program in chunks on three threads");
}

}  // namespace sgl::exercise
