#include "program.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

namespace sgl {

namespace {

constexpr int64_t kRowChunk = 192;      // rows of a product that go through all weights together: they fit in L2
constexpr int64_t kFewAttentionRows = 16;  // rows of a prompt that attend together where larger groups would be too few
constexpr float kLog2E = 1.44269504088896341f;
constexpr int64_t kPartsPerThread = 8;  // how finely work is dealt out
constexpr size_t kAlignment = 64;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

constexpr int64_t kStreamedRows = 12;        // up to so many rows, a product takes as long as reading its weights
constexpr size_t kWeightsAhead = 384 << 10;  // bytes for each thread: part of its L2
constexpr int kLinesWhileWaiting = 8;
// A product with so many columns for each input takes long enough that its rows can be rounded with care: a head's.
constexpr int64_t kManyColumns = 16;
constexpr int kScalesForMany = 32;

int64_t num_tiles(const PackedWeight& weight) { return (weight.columns + kTileColumns - 1) / kTileColumns; }

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

// The bytes of `count` rows, and with `start` the pointers into them.
size_t place_rows(Rows* rows, int64_t count, uint8_t* start) {
  const size_t size = size_t(rows->size), n = size_t(count);
  switch (rows->kind) {
    case RowKind::kFloat:
      rows->floats = reinterpret_cast<float*>(start);
      return aligned(n * size * 4);
    case RowKind::kBf16:
      rows->bf16 = reinterpret_cast<uint16_t*>(start);
      return aligned(n * ((size + 1) / 2 * 2) * 2);
    case RowKind::kQuantized: {
      const size_t codes = aligned(n * size), scales = aligned(n * (size / kBlock) * 4);
      rows->quantized.codes = reinterpret_cast<int8_t*>(start);
      rows->quantized.scales = reinterpret_cast<float*>(start + codes);
      rows->quantized.sums = reinterpret_cast<float*>(start + codes + scales);
      rows->quantized.halves = reinterpret_cast<int32_t*>(start + codes + 2 * scales);
      return codes + 2 * scales + aligned(n * (size / kBlock) * 8);
    }
  }
  return 0;
}

}  // namespace

Program::Program(const KernelTable& kernels, std::shared_ptr<ThreadPool> pool) : kernels_(kernels), pool_(std::move(pool)) {
  scratch_.resize(size_t(pool_->num_threads()));
  upcoming_.resize(size_t(pool_->num_threads()));
}

// --- building --------------------------------------------------------------------------------------------------------

int Program::buffer(RowKind kind, int64_t size) {
  require(size >= 1, "a buffer has at least one column");
  require(kind != RowKind::kQuantized || size % kBlock == 0, "quantised rows need a multiple of 32 columns");
  Buffer buffer;
  buffer.rows = Rows{};
  buffer.rows.kind = kind;
  buffer.rows.size = size;
  buffers_.push_back(std::move(buffer));
  capacity_ = num_rows_ = 0;
  return int(buffers_.size()) - 1;
}

void Program::check_buffer(int buffer) const {
  require(buffer >= 0 && size_t(buffer) < buffers_.size(), "there is no such buffer");
}

void Program::check_float(int buffer, int64_t least_size) const {
  check_buffer(buffer);
  require(rows(buffer).kind == RowKind::kFloat, "this buffer must be of floats");
  require(rows(buffer).size >= least_size, "the buffer is too narrow");
}

void Program::embed(Weight weight, int output) {
  check_float(output, weight->view().inputs);
  require(rows(output).size == weight->view().inputs, "embeddings have another size than the buffer");
  instructions_.emplace_back(Embed{std::move(weight), output});
}

void Program::gather(int output) {
  check_float(output, 1);
  instructions_.emplace_back(Gather{output});
}

void Program::rms_norm(int input, Vector weight, float eps, int output) {
  check_buffer(output);
  check_float(input, int64_t(weight->size()));
  require(rows(input).size == int64_t(weight->size()) && rows(output).size == rows(input).size,
          "a norm's input, weight and output differ in size");
  instructions_.emplace_back(RmsNorm{input, std::move(weight), eps, output});
}

void Program::convert(int input, int64_t first_column, int output) {
  require(first_column >= 0, "columns count from 0");
  check_buffer(output);
  check_float(input, first_column + rows(output).size);
  require(input != output, "a conversion needs two buffers");
  instructions_.emplace_back(Convert{input, first_column, output});
}

void Program::silu_and_mul(int input, int output) {
  check_buffer(output);
  check_float(input, 2 * rows(output).size);
  instructions_.emplace_back(SiluAndMul{input, output});
}

void Program::add(int input, int output) {
  check_float(input, 1);
  check_float(output, 1);
  require(rows(input).size == rows(output).size && input != output, "an addition needs two buffers of one size");
  instructions_.emplace_back(Add{input, output});
}

void Program::matmul(int input, Weight weight, Vector bias, Epilogue epilogue, int output, int64_t first_column) {
  const PackedWeight& view = weight->view();
  const int64_t columns = epilogue == Epilogue::kSiluAndMul ? view.columns / 2 : view.columns;
  require(first_column >= 0, "columns count from 0");
  require(epilogue != Epilogue::kSiluAndMul || view.columns % 2 == 0, "two matrices in turn have an even number of columns");
  check_buffer(input);
  check_float(output, first_column + columns);
  require(rows(input).kind == kernels_.row_kind(view.format), "the weight multiplies rows of another kind");
  require(rows(input).size == view.inputs, "the weight has another number of inputs than the rows");
  require(bias == nullptr || (int64_t(bias->size()) == view.columns && epilogue != Epilogue::kSiluAndMul),
          "the bias does not fit the weight");
  require(input != output, "a product needs two buffers");
  if (view.columns >= kManyColumns * view.inputs) buffers_[size_t(input)].rows.num_scales = kScalesForMany;
  instructions_.emplace_back(Matmul{input, std::move(weight), std::move(bias), epilogue, output, first_column});
}

void Program::attention(int qkv, int64_t num_heads, float query_scale, Vector cos_sin,
                        std::shared_ptr<const KvCache> cache, int64_t layer, int output) {
  require(layer >= 0 && layer < cache->num_layers(), "the cache has no such layer");
  const KvLayer& kv = cache->layer(layer);
  require(num_heads >= 1 && num_heads % kv.num_kv_heads == 0, "query heads are a multiple of key/value heads");
  check_float(qkv, (num_heads + 2 * kv.num_kv_heads) * kv.head_dim);
  check_float(output, num_heads * kv.head_dim);
  require(rows(output).size == num_heads * kv.head_dim, "attention's output is as wide as its queries");
  require(qkv != output, "attention needs two buffers");
  require(cos_sin->size() % size_t(kv.head_dim) == 0, "the rotary table has another head size");
  int queries = -1;
  for (const Instruction& instruction : instructions_)
    if (const auto* other = std::get_if<Attention>(&instruction)) queries = other->queries;
  require(queries < 0 || (num_heads_ == num_heads && num_kv_heads_ == kv.num_kv_heads &&
                          rows(queries).size == num_heads * kv.padded_dim),
          "all layers have the same heads");
  if (queries < 0) queries = buffer(RowKind::kBf16, num_heads * kv.padded_dim);
  num_heads_ = num_heads;
  num_kv_heads_ = kv.num_kv_heads;
  for (Pages& scratch : scratch_)
    if (scratch.size() < kernels_.attention_scratch_bytes(kv))
      scratch = Pages(kernels_.attention_scratch_bytes(kv), Pages::Size::kHuge);
  instructions_.emplace_back(
      Attention{qkv, num_heads, query_scale, std::move(cos_sin), std::move(cache), layer, queries, output});
}

// --- running ---------------------------------------------------------------------------------------------------------

void Program::run(const Inputs& inputs) {
  check(inputs);
  num_rows_ = inputs.rows.num_rows;
  if (num_rows_ == 0) return;
  reserve(num_rows_);
  if (num_kv_heads_ > 0) plan_attention(inputs.rows);
  if (next_weights_.size() != instructions_.size()) find_upcoming();
  for (Upcoming& upcoming : upcoming_) upcoming.layer = nullptr;
  pool_->run([&](int thread) {
    for (size_t index = 0; index < instructions_.size(); ++index) {
      look_ahead(index, thread);
      std::visit([&](const auto& instruction) { execute(instruction, inputs, thread); }, instructions_[index]);
    }
  });
}

const float* Program::values(int buffer) const {
  check_float(buffer, 1);
  return rows(buffer).floats;
}

void Program::check(const Inputs& inputs) const {
  const int64_t count = inputs.rows.num_rows;
  if (count == 0) return;
  const Attention* checked = nullptr;  // layers mostly share cache and table
  for (const Instruction& instruction : instructions_) {
    if (const auto* embed = std::get_if<Embed>(&instruction)) {
      require(inputs.token_ids != nullptr, "the program needs token ids");
      for (int64_t row = 0; row < count; ++row)
        require(inputs.token_ids[row] >= 0 && inputs.token_ids[row] < embed->weight->view().columns,
                "a token id is outside the vocabulary");
    } else if (const auto* gather = std::get_if<Gather>(&instruction)) {
      require(inputs.gathered_rows != nullptr, "the program needs rows of another program");
      require(inputs.gathered_size == rows(gather->output).size, "the rows to gather have another size");
      for (int64_t row = 0; row < count; ++row)
        require(inputs.gathered_rows[row] >= 0 && inputs.gathered_rows[row] < inputs.gathered_count,
                "a row to gather is outside the source");
    } else if (const auto* attention = std::get_if<Attention>(&instruction)) {
      require(inputs.rows.positions != nullptr, "the program needs positions and slots");
      if (checked == nullptr || checked->cache != attention->cache || checked->cos_sin != attention->cos_sin)
        check_attention(*attention, inputs.rows);
      checked = attention;
    }
  }
}

void Program::check_attention(const Attention& instruction, const StepRows& step) const {
  const KvLayer& layer = instruction.cache->layer(instruction.layer);
  const int64_t num_positions = int64_t(instruction.cos_sin->size()) / layer.head_dim;
  for (int64_t row = 0; row < step.num_rows; ++row) {
    require(step.positions[row] >= 0 && step.positions[row] < num_positions, "a position is outside the context");
    require(step.slots[row] >= 0 && step.slots[row] < layer.num_slots, "a slot is outside the cache");
  }
  int64_t next_row = 0;
  for (int64_t sequence = 0; sequence < step.num_sequences; ++sequence) {
    require(step.first_row[sequence] == next_row && step.row_count[sequence] >= 1 &&
                step.row_count[sequence] <= step.num_rows - next_row,
            "sequences do not add up to the rows");
    next_row += step.row_count[sequence];
    int64_t length = 0;
    for (int64_t run = step.run_begin[sequence]; run < step.run_begin[sequence + 1]; ++run) {
      require(step.run_start[run] >= 0 && step.run_start[run] < layer.num_slots && step.run_length[run] >= 1 &&
                  step.run_length[run] <= layer.num_slots - step.run_start[run],
              "a run of slots is outside the cache");
      length += step.run_length[run];
    }
    const int64_t first = next_row - step.row_count[sequence];
    for (int64_t row = first; row < next_row; ++row) {
      require(step.positions[row] < length, "a row's position is outside its sequence");
      require(row == first || step.positions[row] > step.positions[row - 1], "rows of a sequence are out of order");
    }
  }
  require(next_row == step.num_rows, "sequences do not add up to the rows");
}

void Program::reserve(int64_t num_rows) {
  if (num_rows <= capacity_) return;
  capacity_ = std::max(num_rows, 2 * capacity_);
  for (Buffer& buffer : buffers_) {
    buffer.memory = Pages(place_rows(&buffer.rows, capacity_, nullptr), Pages::Size::kHuge);
    place_rows(&buffer.rows, capacity_, buffer.memory.data());
  }
}

void Program::find_upcoming() {
  next_weights_.assign(instructions_.size(), nullptr);
  next_layers_.assign(instructions_.size(), nullptr);
  const PackedWeight* weight = nullptr;
  const KvLayer* layer = nullptr;
  for (size_t index = instructions_.size(); index-- > 0;) {
    next_weights_[index] = weight;
    next_layers_[index] = layer;
    if (const auto* matmul = std::get_if<Matmul>(&instructions_[index])) weight = &matmul->weight->view();
    if (const auto* attention = std::get_if<Attention>(&instructions_[index]))
      layer = &attention->cache->layer(attention->layer);
  }
}

// A prompt's rows go in groups, its later ones, which take longer, first. Larger groups read keys and values less often;
// smaller ones keep all threads at work, and where even the smallest are few, each query head is a task of its own.
void Program::plan_attention(const StepRows& step) {
  tasks_.clear();
  const int64_t group = num_heads_ / num_kv_heads_, threads = pool_->num_threads();
  const auto num_groups = [&](int64_t sequence, int64_t rows) { return (step.row_count[sequence] + rows - 1) / rows; };
  const auto num_tasks = [&](int64_t rows) {
    int64_t tasks = 0;
    for (int64_t sequence = 0; sequence < step.num_sequences; ++sequence)
      tasks += num_groups(sequence, rows) * num_kv_heads_;
    return tasks;
  };
  int64_t rows = std::max(kAttentionQueries / group, kFewAttentionRows);
  while (rows > kFewAttentionRows && num_tasks(rows) < kPartsPerThread * threads)
    rows = std::max(rows / 2, kFewAttentionRows);
  const int64_t heads_per_task = num_tasks(rows) < threads ? 1 : group;
  for (int64_t sequence = 0; sequence < step.num_sequences; ++sequence) {
    const int64_t first = step.first_row[sequence], count = step.row_count[sequence], groups = num_groups(sequence, rows);
    for (int64_t part = groups; part-- > 0;)
      for (int64_t head = 0; head < num_heads_; head += heads_per_task)
        tasks_.push_back(AttentionTask{int32_t(sequence), int32_t(first + count * part / groups),
                                       int32_t(first + count * (part + 1) / groups), int32_t(head / group),
                                       int32_t(head), int32_t(head + heads_per_task)});
  }
  plan_contexts(step);
}

// The blocks of slots that each thread's share of the attention tasks reads, each block once. The last to be read are the
// first to be fetched, so that the first to be read are still in the thread's own cache.
void Program::plan_contexts(const StepRows& step) {
  is_planned_.clear();
  const int64_t num_tasks = int64_t(tasks_.size());
  for (int thread = 0; thread < pool_->num_threads(); ++thread) {
    std::vector<Prefetcher::Run>& runs = upcoming_[size_t(thread)].context_runs;
    runs.clear();
    int64_t planned = -1;
    for (int64_t task = pool_->share(thread + 1, num_tasks); task-- > pool_->share(thread, num_tasks);) {
      const int64_t sequence = tasks_[size_t(task)].sequence;
      if (sequence != planned) plan_context(step, sequence, runs);
      planned = sequence;
    }
  }
}

void Program::plan_context(const StepRows& step, int64_t sequence, std::vector<Prefetcher::Run>& runs) {
  for (int64_t run = step.run_begin[sequence]; run < step.run_begin[sequence + 1]; ++run) {
    const int64_t last = (step.run_start[run] + step.run_length[run] - 1) / kSlotBlock;
    if (int64_t(is_planned_.size()) <= last) is_planned_.resize(size_t(last) + 1);
    for (int64_t block = step.run_start[run] / kSlotBlock; block <= last; ++block) {
      if (is_planned_[size_t(block)]) continue;
      is_planned_[size_t(block)] = true;
      if (!runs.empty() && runs.back().first + runs.back().count == block)
        ++runs.back().count;
      else
        runs.push_back({block, 1});
    }
  }
}

template <class Body>
void Program::for_parts(int thread, int64_t count, int64_t grain, Body&& body) {
  Upcoming& upcoming = upcoming_[size_t(thread)];
  pool_->for_each(thread, count, grain, body, [&] {
    return upcoming.weights.fetch(kLinesWhileWaiting) || upcoming.contexts.fetch(kLinesWhileWaiting);
  });
}

template <class Body>
void Program::for_rows(int thread, Body&& body) {
  for_parts(thread, num_rows_, std::max<int64_t>(1, num_rows_ / (kPartsPerThread * pool_->num_threads())), body);
}

void Program::look_ahead(size_t instruction, int thread) {
  Upcoming& upcoming = upcoming_[size_t(thread)];
  const PackedWeight* weight = num_rows_ <= kStreamedRows ? next_weights_[instruction] : nullptr;
  if (weight != upcoming.weight) aim_at_weight(weight, thread);
  const KvLayer* layer = next_layers_[instruction];
  if (layer == upcoming.layer) return;
  upcoming.layer = layer;
  upcoming.contexts = Prefetcher{};
  if (layer == nullptr) return;
  const Prefetcher::Run* runs = upcoming.context_runs.data();
  upcoming.contexts = Prefetcher{static_cast<const uint8_t*>(layer->blocks), size_t(slot_block_bytes(*layer)), runs,
                                 runs + upcoming.context_runs.size()};
}

void Program::aim_at_weight(const PackedWeight* weight, int thread) {
  Upcoming& upcoming = upcoming_[size_t(thread)];
  upcoming.weight = weight;
  upcoming.weights = Prefetcher{};
  if (weight == nullptr) return;
  const int64_t tiles = num_tiles(*weight), first = pool_->share(thread, tiles);
  const int64_t most = int64_t((kWeightsAhead + weight->tile_bytes - 1) / weight->tile_bytes);
  upcoming.weight_run = {first, std::min(pool_->share(thread + 1, tiles) - first, most)};
  upcoming.weights = Prefetcher{weight->tiles, weight->tile_bytes, &upcoming.weight_run, &upcoming.weight_run + 1};
}

void Program::execute(const Embed& instruction, const Inputs& inputs, int thread) {
  for_rows(thread, [&](int64_t begin, int64_t end) {
    kernels_.embed(instruction.weight->view(), inputs.token_ids, rows(instruction.output).floats, begin, end);
  });
}

void Program::execute(const Gather& instruction, const Inputs& inputs, int thread) {
  const Rows& target = rows(instruction.output);
  for_rows(thread, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      std::memcpy(target.floats + row * target.size, inputs.gathered + inputs.gathered_rows[row] * target.size,
                  size_t(target.size) * sizeof(float));
  });
}

void Program::execute(const RmsNorm& instruction, const Inputs&, int thread) {
  const Rows& source = rows(instruction.input);
  for_rows(thread, [&](int64_t begin, int64_t end) {
    kernels_.rms_norm(source.floats, source.size, instruction.weight->data(), instruction.eps, rows(instruction.output),
                      begin, end);
  });
}

void Program::execute(const Convert& instruction, const Inputs&, int thread) {
  const Rows& source = rows(instruction.input);
  for_rows(thread, [&](int64_t begin, int64_t end) {
    kernels_.convert(source.floats + instruction.first_column, source.size, rows(instruction.output), begin, end);
  });
}

void Program::execute(const SiluAndMul& instruction, const Inputs&, int thread) {
  const Rows& source = rows(instruction.input);
  for_rows(thread, [&](int64_t begin, int64_t end) {
    kernels_.silu_and_mul(source.floats, source.size, rows(instruction.output), begin, end);
  });
}

void Program::execute(const Add& instruction, const Inputs&, int thread) {
  const Rows &source = rows(instruction.input), &target = rows(instruction.output);
  for_rows(thread, [&](int64_t begin, int64_t end) { kernels_.add(source.floats, target.floats, target.size, begin, end); });
}

// Parts are (chunk of rows, tile of columns), all tiles of a chunk before the next chunk.
void Program::execute(const Matmul& instruction, const Inputs&, int thread) {
  const PackedWeight& weight = instruction.weight->view();
  const Rows& target = rows(instruction.output);
  const MatmulArgs args{rows(instruction.input), &weight,
                        instruction.bias ? instruction.bias->data() : nullptr, instruction.epilogue,
                        target.floats + instruction.first_column, target.size, &upcoming_[size_t(thread)].contexts};
  const int64_t tiles = num_tiles(weight);
  const int64_t threads = pool_->num_threads();
  const int64_t chunks = std::max((num_rows_ + kRowChunk - 1) / kRowChunk,
                                  std::min((num_rows_ + 5) / 6, (2 * threads + tiles - 1) / tiles));
  const int64_t grain = std::max<int64_t>(1, tiles * chunks / (kPartsPerThread * threads));
  for_parts(thread, tiles * chunks, chunks > 1 ? 1 : grain, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t chunk = begin / tiles, tile = begin % tiles;
      const int64_t tile_end = std::min(tiles, tile + end - begin);
      kernels_.matmul(args, tile, tile_end, chunk * num_rows_ / chunks, (chunk + 1) * num_rows_ / chunks);
      begin += tile_end - tile;
    }
  });
}

// Every key and value of the step is stored before any row attends: a row may read what another row writes.
void Program::execute(const Attention& instruction, const Inputs& inputs, int thread) {
  const KvLayer& layer = instruction.cache->layer(instruction.layer);
  const Rows& qkv = rows(instruction.qkv);
  uint16_t* queries = rows(instruction.queries).bf16;
  const RotaryArgs rotary{qkv.floats, qkv.size, instruction.num_heads, instruction.cos_sin->data(),
                          instruction.query_scale * kLog2E, queries};
  for_rows(thread, [&](int64_t begin, int64_t end) { kernels_.rotate_and_store(rotary, layer, inputs.rows, begin, end); });
  const AttentionArgs args{queries, instruction.num_heads, rows(instruction.output).floats};
  void* scratch = scratch_[size_t(thread)].data();
  for_parts(thread, int64_t(tasks_.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task)
      kernels_.attend(args, layer, inputs.rows, tasks_[size_t(task)], scratch);
  });
}

}  // namespace sgl
