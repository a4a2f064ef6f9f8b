#include "program.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace sgl {

namespace {

constexpr int64_t kRowChunk = 192;      // rows of a product that go through all weights together: they fit in L2
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
      const size_t blocks = size / kBlock;
      size_t bytes = 0;
      const auto place = [&](auto** array, size_t row_size) {
        *array = reinterpret_cast<std::remove_pointer_t<decltype(array)>>(start + bytes);
        bytes += aligned(n * row_size * sizeof(**array));
      };
      place(&rows->quantized.pairs, size_t(num_pairs(rows->size)));
      place(&rows->quantized.units, size_t(num_segments(rows->size)));
      place(&rows->quantized.is_uneven, 1);
      place(&rows->quantized.scales, blocks);
      place(&rows->quantized.sums, blocks);
      place(&rows->quantized.halves, 2 * blocks);
      return bytes;
    }
  }
  return 0;
}

}  // namespace

Program::Program(const KernelTable& kernels, std::shared_ptr<ThreadPool> pool)
    : kernels_(kernels), pool_(std::move(pool)), planner_(*pool_) {
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
  capacity_ = num_results_ = 0;
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
  require(narrow_at_ < 0, "rows are embedded before they are narrowed");
  require(rows(output).size == weight->view().inputs, "embeddings have another size than the buffer");
  instructions_.emplace_back(Embed{std::move(weight), output});
}

void Program::gather(int output) {
  check_float(output, 1);
  require(narrow_at_ < 0, "rows are gathered before they are narrowed");
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
  need_scratch(matmul_scratch_bytes(view.inputs));
  if (view.columns >= kManyColumns * view.inputs) buffers_[size_t(input)].rows.num_scales = kScalesForMany;
  instructions_.emplace_back(Matmul{input, std::move(weight), std::move(bias), epilogue, output, first_column});
}

void Program::highest(int input, std::shared_ptr<const SplitHead> head, int output) {
  check_buffer(input);
  check_float(output, 1);
  require(rows(input).kind == RowKind::kQuantized, "the head multiplies rows of another kind");
  require(rows(input).size == head->whole().inputs, "the head has another number of inputs than the rows");
  require(rows(output).size == 1, "a row has one highest column");
  if (head->whole().columns >= kManyColumns * head->whole().inputs) buffers_[size_t(input)].rows.num_scales = kScalesForMany;
  instructions_.emplace_back(Highest{input, std::make_shared<HighestSearch>(kernels_, std::move(head)), output});
}

void Program::attention(int qkv, int64_t num_heads, float query_scale, Vector cos_sin,
                        std::shared_ptr<const KvCache> cache, int64_t layer, int output) {
  require(narrow_at_ < 0, "rows attend before they are narrowed");
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
  need_scratch(kernels_.attention_scratch_bytes(kv));
  partial_bytes_ = std::max(partial_bytes_, size_t(partial_size(kv.padded_dim)) * sizeof(float));
  instructions_.emplace_back(
      Attention{qkv, num_heads, query_scale, std::move(cos_sin), std::move(cache), layer, queries, output});
}

void Program::need_scratch(size_t bytes) {
  for (Pages& scratch : scratch_)
    if (scratch.size() < bytes) scratch = Pages(bytes, Pages::Size::kHuge);
}

void Program::narrow(std::vector<int> buffers) {
  require(narrow_at_ < 0, "rows are narrowed once");
  for (int buffer : buffers) check_float(buffer, 1);
  auto* last = instructions_.empty() ? nullptr : std::get_if<Attention>(&instructions_.back());
  if (last != nullptr) last->is_narrow = true;
  narrow_at_ = num_instructions();
  instructions_.emplace_back(Narrow{std::move(buffers)});
}

// --- running ---------------------------------------------------------------------------------------------------------

void Program::run(const Inputs& inputs) {
  check(inputs);
  const int64_t num_rows = inputs.rows.num_rows;
  num_results_ = narrow_at_ < 0 ? num_rows : inputs.num_read;
  if (num_rows == 0) return;
  reserve(num_rows);
  if (num_kv_heads_ > 0) plan_attention(inputs);
  if (next_weights_.size() != instructions_.size()) find_upcoming();
  for (Upcoming& upcoming : upcoming_) upcoming.attention = nullptr;
  const size_t wide_end = narrow_at_ < 0 ? instructions_.size() : size_t(narrow_at_);
  const size_t end = num_results_ == 0 ? wide_end : instructions_.size();
  pool_->run([&](int thread) {
    for (size_t index = 0; index < end; ++index) {
      const Turn turn{inputs, thread, index < wide_end ? num_rows : num_results_};
      look_ahead(index, turn);
      if (!std::visit([&](const auto& instruction) { return execute(instruction, turn); }, instructions_[index])) return;
    }
  });
}

const float* Program::values(int buffer) const {
  check_float(buffer, 1);
  return rows(buffer).floats;
}

void Program::check(const Inputs& inputs) const {
  const int64_t count = inputs.rows.num_rows;
  if (narrow_at_ >= 0) check_read_rows(inputs);
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

void Program::check_read_rows(const Inputs& inputs) const {
  for (int64_t i = 0; i < inputs.num_read; ++i)
    require(inputs.read_rows[i] > (i > 0 ? inputs.read_rows[i - 1] : -1) && inputs.read_rows[i] < inputs.rows.num_rows,
            "the rows to be read are not rows of the step in order");
}

void Program::reserve(int64_t num_rows) {
  if (num_rows <= capacity_) return;
  capacity_ = std::max(num_rows, 2 * capacity_);
  for (Buffer& buffer : buffers_) {
    buffer.memory = Pages(place_rows(&buffer.rows, capacity_, nullptr), Pages::Size::kHuge);
    place_rows(&buffer.rows, capacity_, buffer.memory.data());
  }
  for (const Instruction& instruction : instructions_)
    if (const auto* highest = std::get_if<Highest>(&instruction)) highest->search->reserve(capacity_);
}

void Program::find_upcoming() {
  next_weights_.assign(instructions_.size(), nullptr);
  next_attentions_.assign(instructions_.size(), nullptr);
  const PackedWeight* weight = nullptr;
  const Attention* attention = nullptr;
  for (size_t index = instructions_.size(); index-- > 0;) {
    next_weights_[index] = weight;
    next_attentions_[index] = attention;
    if (const auto* matmul = std::get_if<Matmul>(&instructions_[index])) weight = &matmul->weight->view();
    if (const auto* highest = std::get_if<Highest>(&instructions_[index])) weight = &highest->search->high();
    if (const auto* next = std::get_if<Attention>(&instructions_[index])) attention = next;
  }
}

void Program::plan_attention(const Inputs& inputs) {
  planner_.plan(inputs.rows, all_rows(inputs.rows), num_heads_, num_kv_heads_, &plan_);
  if (narrow_at_ >= 0)
    planner_.plan(inputs.rows, rows_in_ranges(inputs.rows, inputs.read_rows, inputs.num_read), num_heads_, num_kv_heads_,
                  &narrow_plan_);
  const size_t bytes = size_t(std::max(plan_.num_partials, narrow_plan_.num_partials)) * partial_bytes_;
  if (partials_.size() < bytes) partials_ = Pages(2 * bytes, Pages::Size::kSmall);
}

template <class Body>
bool Program::for_parts(int thread, int64_t count, int64_t grain, Body&& body) {
  Upcoming& upcoming = upcoming_[size_t(thread)];
  return pool_->for_each(thread, count, grain, body, [&] {
    return upcoming.weights.fetch(kLinesWhileWaiting) || upcoming.contexts.fetch(kLinesWhileWaiting);
  });
}

template <class Body>
bool Program::for_rows(const Turn& turn, Body&& body) {
  const int64_t parts = kPartsPerThread * pool_->num_threads();
  return for_parts(turn.thread, turn.num_rows, std::max<int64_t>(1, turn.num_rows / parts), body);
}

void Program::look_ahead(size_t instruction, const Turn& turn) {
  Upcoming& upcoming = upcoming_[size_t(turn.thread)];
  const PackedWeight* weight = turn.num_rows <= kStreamedRows ? next_weights_[instruction] : nullptr;
  if (weight != upcoming.weight) aim_at_weight(weight, turn.thread);
  const Attention* attention = next_attentions_[instruction];
  if (attention == upcoming.attention) return;
  upcoming.attention = attention;
  upcoming.contexts = Prefetcher{};
  if (attention == nullptr) return;
  const KvLayer& layer = attention->cache->layer(attention->layer);
  const std::vector<Prefetcher::Run>& runs = plan(*attention).context_runs[size_t(turn.thread)];
  upcoming.contexts = Prefetcher{static_cast<const uint8_t*>(layer.blocks), size_t(slot_block_bytes(layer)), runs.data(),
                                 runs.data() + runs.size()};
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

bool Program::execute(const Embed& instruction, const Turn& turn) {
  return for_rows(turn, [&](int64_t begin, int64_t end) {
    kernels_.embed(instruction.weight->view(), turn.inputs.token_ids, rows(instruction.output).floats, begin, end);
  });
}

bool Program::execute(const Gather& instruction, const Turn& turn) {
  const Rows& target = rows(instruction.output);
  const Inputs& inputs = turn.inputs;
  return for_rows(turn, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      std::memcpy(target.floats + row * target.size, inputs.gathered + inputs.gathered_rows[row] * target.size,
                  size_t(target.size) * sizeof(float));
  });
}

bool Program::execute(const RmsNorm& instruction, const Turn& turn) {
  const Rows& source = rows(instruction.input);
  return for_rows(turn, [&](int64_t begin, int64_t end) {
    kernels_.rms_norm(source.floats, source.size, instruction.weight->data(), instruction.eps, rows(instruction.output),
                      begin, end);
  });
}

bool Program::execute(const Convert& instruction, const Turn& turn) {
  const Rows& source = rows(instruction.input);
  return for_rows(turn, [&](int64_t begin, int64_t end) {
    kernels_.convert(source.floats + instruction.first_column, source.size, rows(instruction.output), begin, end);
  });
}

bool Program::execute(const SiluAndMul& instruction, const Turn& turn) {
  const Rows& source = rows(instruction.input);
  return for_rows(turn, [&](int64_t begin, int64_t end) {
    kernels_.silu_and_mul(source.floats, source.size, rows(instruction.output), begin, end);
  });
}

bool Program::execute(const Add& instruction, const Turn& turn) {
  const Rows &source = rows(instruction.input), &target = rows(instruction.output);
  return for_rows(turn, [&](int64_t begin, int64_t end) { kernels_.add(source.floats, target.floats, target.size, begin, end); });
}

// Parts are (chunk of rows, tile of columns), all tiles of a chunk before the next chunk.
bool Program::execute(const Matmul& instruction, const Turn& turn) {
  const PackedWeight& weight = instruction.weight->view();
  const Rows& target = rows(instruction.output);
  const MatmulArgs args{rows(instruction.input), &weight,
                        instruction.bias ? instruction.bias->data() : nullptr, instruction.epilogue,
                        target.floats + instruction.first_column, target.size, &upcoming_[size_t(turn.thread)].contexts,
                        scratch_[size_t(turn.thread)].data()};
  const int64_t tiles = num_tiles(weight);
  const int64_t threads = pool_->num_threads();
  const int64_t chunks = std::max((turn.num_rows + kRowChunk - 1) / kRowChunk,
                                  std::min((turn.num_rows + 5) / 6, (2 * threads + tiles - 1) / tiles));
  const int64_t grain = std::max<int64_t>(1, tiles * chunks / (kPartsPerThread * threads));
  return for_parts(turn.thread, tiles * chunks, chunks > 1 ? 1 : grain, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t chunk = begin / tiles, tile = begin % tiles;
      const int64_t tile_end = std::min(tiles, tile + end - begin);
      kernels_.matmul(args, tile, tile_end, chunk * turn.num_rows / chunks, (chunk + 1) * turn.num_rows / chunks);
      begin += tile_end - tile;
    }
  });
}

// Each part of a phase goes through all rows, so that the weights are read once for all of them.
bool Program::execute(const Highest& instruction, const Turn& turn) {
  HighestSearch& search = *instruction.search;
  const Rows& source = rows(instruction.input);
  float* output = rows(instruction.output).floats;
  const int64_t rows = turn.num_rows, groups = search.num_groups();
  const int64_t grain = std::max<int64_t>(1, groups / (kPartsPerThread * pool_->num_threads()));
  return for_rows(turn, [&](int64_t begin, int64_t end) { search.begin(source, begin, end); }) &&
         for_parts(turn.thread, groups, grain, [&](int64_t begin, int64_t end) { search.estimate(rows, begin, end); }) &&
         for_parts(turn.thread, groups, grain, [&](int64_t begin, int64_t end) { search.refine(rows, begin, end); }) &&
         for_rows(turn, [&](int64_t begin, int64_t end) {
           for (int64_t row = begin; row < end; ++row) output[row] = float(search.highest(source, row));
         });
}

// Every key and value of the step is stored before any row attends: a row may read what another row writes.
bool Program::execute(const Attention& instruction, const Turn& turn) {
  const KvLayer& layer = instruction.cache->layer(instruction.layer);
  const Rows& qkv = rows(instruction.qkv);
  uint16_t* queries = rows(instruction.queries).bf16;
  const RotaryArgs rotary{qkv.floats, qkv.size, instruction.num_heads, instruction.cos_sin->data(),
                          instruction.query_scale * kLog2E, queries};
  if (!for_rows(turn, [&](int64_t begin, int64_t end) {
        kernels_.rotate_and_store(rotary, layer, turn.inputs.rows, begin, end);
      }))
    return false;
  const AttentionArgs args{queries, instruction.num_heads, rows(instruction.output).floats,
                           reinterpret_cast<float*>(partials_.data())};
  void* scratch = scratch_[size_t(turn.thread)].data();
  AttentionPlan& attention = plan(instruction);
  return for_parts(turn.thread, int64_t(attention.tasks.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const PlannedTask& planned = attention.tasks[size_t(index)];
      kernels_.attend(args, layer, turn.inputs.rows, planned.task, scratch);
      if (planned.whole >= 0 && attention.is_last_part(size_t(planned.whole)))
        kernels_.join_parts(args, layer, turn.inputs.rows, planned.task, scratch);
    }
  });
}

// In place, in order: a row moves to where a row before it was.
bool Program::execute(const Narrow& instruction, const Turn& turn) {
  return for_parts(turn.thread, int64_t(instruction.buffers.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const Rows& moved = rows(instruction.buffers[size_t(index)]);
      for (int64_t row = 0; row < turn.num_rows; ++row)
        if (const int64_t from = turn.inputs.read_rows[row]; from != row)
          std::copy_n(moved.floats + from * moved.size, moved.size, moved.floats + row * moved.size);
    }
  });
}

}  // namespace sgl
