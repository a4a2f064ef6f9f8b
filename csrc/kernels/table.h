// What a dispatch level offers: one table of functions over plain structs. Nothing here depends on the level.
//
// All functions are pure in their arguments, may run on any thread, and compute every output element in one order of
// operations that depends on nothing but the element's own inputs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sgl {

constexpr int kTileColumns = 32;     // output columns of a weight tile: two vectors of 16
constexpr int kBlock = 32;           // inputs that share a scale, in weights and in quantised rows
constexpr int kSegmentBlocks = 64;   // of rows and weights whose products are added up as whole numbers; even
constexpr int kCodeCentre = 8;       // that codes of 4 bits are counted from in products
constexpr float kCentreSteps = 32.0f;  // what a centre code stands for is counted in so many of its column's units
constexpr float kMostCentre = 4.0f;    // times the most that a scale may be
constexpr int kSecondStart = 0x8000;  // keeps the dot product of a pair's second block, which fits 16 bits, above 0
constexpr int kUnitsBytes = 64;      // in front of a tile of 4-bit codes
constexpr int kSlotBlock = 16;       // slots whose keys lie interleaved
constexpr int kScaledDims = 16;      // dimensions of a head that share a scale in an int8 cache; the last may be fewer
constexpr int kAttentionQueries = 192;  // queries that attend together: their running sums are held at a time
constexpr int kContextBlock = 256;   // positions that are weighed together, aligned to position 0

// --- rows of activations ---------------------------------------------------------------------------------------------

// How a matrix product reads its input rows.
enum class RowKind : uint8_t {
  kFloat,      // float32
  kBf16,       // bfloat16, an odd row length padded by a zero
  kQuantized,  // int8 with a scale per block of 32
};

// Two blocks of a quantised row, and their scales in fixed point, the second block's first: counted in 2^-15 of the unit of
// their segment, which is kSegmentBlocks blocks. The second block of a row's last pair may be missing: its scale is 0. In
// fixed_point.inl is what fixed point is for; that nothing overflows there is the work of elementwise.inl.
struct QuantizedPair {
  int8_t codes[2 * kBlock];  // -127..127
  int32_t starts[2];         // what the blocks' dot products begin with
  int16_t scales[2];
  int16_t sums[2];           // scale times the sum of the block's codes, 2^10 times smaller
};

constexpr int64_t num_pairs(int64_t size) { return (size / kBlock + 1) / 2; }
constexpr int64_t num_segments(int64_t size) { return (size / kBlock + kSegmentBlocks - 1) / kSegmentBlocks; }

struct QuantizedRows {
  QuantizedPair* pairs;  // [rows, num_pairs(size)]
  float* units;          // [rows, num_segments(size)]
  uint8_t* is_uneven;    // [rows]: some scales are so far below the largest of their segment that they need floats
  float* scales;         // [rows, size / 32]
  float* sums;           // [rows, size / 32]: scale times the sum of the block's codes
  int32_t* halves;       // [rows, size / 16]: sums of 16 codes
};

// Rows of one kind; the members of the other kinds are null. `size` values each.
struct Rows {
  RowKind kind;
  int64_t size;
  float* floats;    // [rows, size]
  uint16_t* bf16;   // [rows, size rounded up to even]
  QuantizedRows quantized;
  int num_scales;   // each block of quantised rows takes the best of so many scales; 0 stands for the usual one
};

// --- packed weights --------------------------------------------------------------------------------------------------

// A tile holds 32 output columns, all inputs, contiguous; see packing.h for the bytes.
enum class WeightFormat : uint8_t {
  kU4HalfOffset,  // 4-bit codes, fp16 scale per 32: (code - offset) * scale              GGUF Q4_0
  kU4HalfMin,     // 4-bit codes, fp16 scale and minimum per 32: code * scale + minimum    GGUF Q4_1
  kU4FloatMin,    // the same with float32                                                 GGUF Q4_K
  kU8HalfOffset,  // 8-bit codes, fp16 scale per 32                                        GGUF Q8_0
  kU8FloatMin,    // 8-bit codes, float32 scale and minimum per 32                         GGUF Q5_K
  kU8FloatOffset16,  // 8-bit codes, float32 scale per 16                                  GGUF Q6_K
  kBf16,
  kHalf,
  kFloat,
};

struct PackedWeight {
  WeightFormat format;
  int32_t offset;       // of the codes; 0 where the format has none
  int64_t inputs;       // K
  int64_t columns;      // N; the last tile is padded with zeros
  const uint8_t* tiles;
  size_t tile_bytes;
};

// What becomes of a product.
enum class Epilogue : uint8_t {
  kStore,
  kAdd,         // out += product
  kSiluAndMul,  // tiles hold 16 columns of a gate and the same 16 of an up projection: out = silu(gate) * up
};

// Memory that a thread will read soon: what `demand` names, then runs of units from `base` on. It is fetched a
// few cache lines at a time by whoever has the memory to himself, because he computes or waits.
struct Prefetcher {
  struct Run {
    int64_t first, count;  // units
  };
  const uint8_t* base = nullptr;
  size_t unit_bytes = 0;
  const Run* run = nullptr;  // the next one
  const Run* runs_end = nullptr;
  const uint8_t* next = nullptr;  // of the present run
  const uint8_t* end = nullptr;
  const uint8_t* urgent = nullptr;
  const uint8_t* urgent_end = nullptr;

  // What is left of an earlier demand is dropped: it has been read by now.
  void demand(const uint8_t* begin, size_t bytes) {
    urgent = begin;
    urgent_end = begin + bytes;
  }

  // Asks for `lines` cache lines, and perhaps for some beyond the end of a run. Returns whether there were any.
  __attribute__((always_inline)) bool fetch(int lines) {
    constexpr int kCacheLine = 64;
    if (urgent < urgent_end) {
      for (int line = 0; line < lines; ++line) __builtin_prefetch(urgent + line * kCacheLine, 0, 2);
      urgent += lines * kCacheLine;
      return true;
    }
    if (next >= end) {
      if (run == runs_end) return false;
      next = base + size_t(run->first) * unit_bytes;
      end = next + size_t(run->count) * unit_bytes;
      ++run;
    }
    for (int line = 0; line < lines; ++line) __builtin_prefetch(next + line * kCacheLine, 0, 2);
    next += lines * kCacheLine;
    return true;
  }
};

struct MatmulArgs {
  Rows input;
  const PackedWeight* weight;
  const float* bias;     // [columns] or null
  Epilogue epilogue;
  float* output;         // [rows, output_stride]
  int64_t output_stride;
  Prefetcher* ahead;     // what to fetch meanwhile
  void* scratch;         // the thread's own, matmul_scratch_bytes(weight's inputs) long and 64-byte aligned
};

// For a tile's scales in fixed point.
constexpr size_t matmul_scratch_bytes(int64_t inputs) { return size_t(num_pairs(inputs)) * 2 * kTileColumns * 4; }

// --- keys, values, attention -----------------------------------------------------------------------------------------

enum class KvDtype : uint8_t { kBf16, kInt8 };

// One layer's keys and values. head_dim is padded to a multiple of 16 here (`padded_dim`), the padding zero.
struct KvLayer {
  KvDtype dtype;
  int64_t num_kv_heads;
  int64_t head_dim;
  int64_t padded_dim;
  int64_t num_slots;   // a multiple of 16
  int64_t tile_bytes;  // of the keys or the values of one head and 16 slots
  // [slot / 16][2 * kv_heads][tile_bytes]: the keys of all heads, then the values of all heads. A tile of keys is
  // [padded_dim / 2][16][2], of values [16][padded_dim]. bfloat16, or int8 and then as bfloat16 the scales of groups of
  // kScaledDims dimensions: of keys [groups][16], of values [16][groups].
  void* blocks;
};

// The rows of a step, as attention sees them.
struct StepRows {
  int64_t num_rows;
  const int64_t* positions;  // [rows]
  const int64_t* slots;      // [rows], where each row's key and value go
  int64_t num_sequences;
  const int64_t* first_row;  // [sequences]
  const int64_t* row_count;  // [sequences]
  const int64_t* run_begin;  // [sequences + 1], into the next two
  const int64_t* run_start;  // slots of a sequence in order of position: runs (start, length)
  const int64_t* run_length;
};

struct RotaryArgs {
  const float* qkv;      // [rows, (heads + 2 * kv_heads) * head_dim], queries first
  int64_t qkv_stride;
  int64_t num_heads;
  const float* cos_sin;  // [max positions, head_dim]: head_dim / 2 cosines, then as many sines
  float query_scale;     // queries are multiplied by it after turning; scores are exponents of 2
  uint16_t* queries;     // [rows, heads, padded_dim] bfloat16
};

// Rows [row_begin, row_end) of one sequence, query heads [head_begin, head_end) which all read key/value head `kv_head`.
struct AttentionTask {
  int32_t sequence;
  int32_t row_begin, row_end;  // rows of the step
  int32_t kv_head;
  int32_t head_begin, head_end;
  // Part of a task: blocks [block_begin, block_end) of the context, of `num_blocks`. What they come to is written to the
  // partial results from `first_partial` on: of the first row's first head block by block, then of its next head, and so
  // on. num_blocks is 0 for a task that reads all of the context and writes the output.
  int32_t block_begin, block_end, num_blocks;
  int32_t first_partial;

  int64_t num_queries() const { return int64_t(row_end - row_begin) * (head_end - head_begin); }
};

struct AttentionArgs {
  const uint16_t* queries;  // [rows, heads, padded_dim] bfloat16, scaled
  int64_t num_heads;
  float* output;            // [rows, heads * head_dim]
  float* partials;          // [partial results, partial_size(padded_dim)], 64-byte aligned; null where no task is a part
};

// A block's maximum in 16 lanes, its sums of powers and its sums of weighted values.
constexpr int64_t partial_size(int64_t padded_dim) { return 32 + padded_dim; }

// --- sampling --------------------------------------------------------------------------------------------------------

constexpr int kVocabBlock = 256;  // tokens whose weights are summed before blocks are

// The first of equal ones; NaN and no token if any logit is NaN.
struct HighestLogit {
  int64_t token_id;
  float value;
};

struct Weighing {
  float highest;      // of the logits
  float temperature;  // above 0
  float least;        // a token with a log-weight below it has no weight
};

// Of each token its log-weight (logit - highest) / temperature and the weight e^log-weight. The arrays of tokens are
// padded to whole blocks with log-weights of -infinity.
struct TokenWeights {
  int64_t size;
  float* log_weights;
  float* weights;
  double* block_sums;   // of weights, by block
  float* block_maxima;  // of log-weights, by block
};

constexpr int kGatherSlack = 16;  // whole vectors are written

struct GatheredTokens {
  int64_t count;
  double weight;
};

// --- the highest logit, without all of them ---------------------------------------------------------------------------

constexpr int kSearchGroup = 256;  // columns that are searched together

// A head of 8-bit codes in two halves. `high`: the high halves of the codes, in tiles as those of kU4HalfOffset but with
// nothing in front of them, and with the head's own scales. `low`: the low halves column by column, so that those of a few
// columns can be read alone. A column has 16 bytes for each block of inputs, the first 16 inputs in the low halves of the
// bytes, up to a multiple of 4 blocks; then the fp16 scales of its blocks, up to a multiple of 16.
struct HeadHalves {
  PackedWeight high;
  const uint8_t* low;
  size_t column_bytes;  // in `low`, from one to the next
};

// What a block of a row's inputs x, with codes c and a scale, does to a logit, each to be multiplied by the weight's scale.
// A weight's code is 16 * (u - 8) + v, where u is its high half and v, 0 to 15, its low one.
struct BlockShares {
  float high;    // 16 * scale: of u . c - centre
  float centre;  // 7.53125 * sum(c): as if each v were 7.5
  float spread;  // 7.5 * scale * sum(|c|): more or less than that the v can make
};

// The column whose estimate is the highest of some; -1 where not all bounds are finite.
struct LogitGuess {
  int64_t column;
  float estimate, upper;
};

struct LogitBounds {
  float lower, upper;
};

// The search for one row. Arrays by block are padded with zeros to a multiple of 16 blocks.
struct LogitSearch {
  const HeadHalves* head;
  const QuantizedPair* pairs;  // of the row
  const float* row_scales;    // [blocks]
  BlockShares* shares;        // [blocks]
  float *scales, *low_centres;  // [blocks]: the row's, and -7.5 * scale * sum(c)
  int8_t* low_order;          // the row's codes in the order of 64 bytes of `low`: their low halves, then their high ones
  float *estimates, *uppers;  // [groups, kSearchGroup]: of each logit; past the columns -infinity
  LogitGuess* guesses;        // [groups]
  LogitBounds* bounds;        // [groups]: the highest lower bound, and the highest upper bound of columns that were refined
};

// --- the table -------------------------------------------------------------------------------------------------------

struct KernelTable {
  const char* name;

  RowKind (*row_kind)(WeightFormat format);  // the kind of input rows that a format multiplies

  // Elementwise, over rows [begin, end).
  void (*convert)(const float* source, int64_t source_stride, const Rows& target, int64_t begin, int64_t end);
  void (*rms_norm)(const float* source, int64_t source_stride, const float* weight, float eps, const Rows& target,
                   int64_t begin, int64_t end);
  void (*silu_and_mul)(const float* source, int64_t source_stride, const Rows& target, int64_t begin, int64_t end);
  void (*add)(const float* source, float* target, int64_t size, int64_t begin, int64_t end);
  void (*embed)(const PackedWeight& weight, const int64_t* token_ids, float* output, int64_t begin, int64_t end);

  // Tiles [tile_begin, tile_end) of the weight times rows [row_begin, row_end).
  void (*matmul)(const MatmulArgs& args, int64_t tile_begin, int64_t tile_end, int64_t row_begin, int64_t row_end);

  // Attention. `scratch` is at least attention_scratch_bytes(...) long and 64-byte aligned, one per thread.
  void (*rotate_and_store)(const RotaryArgs& args, const KvLayer& layer, const StepRows& rows, int64_t begin,
                           int64_t end);
  size_t (*attention_scratch_bytes)(const KvLayer& layer);
  void (*attend)(const AttentionArgs& args, const KvLayer& layer, const StepRows& rows, const AttentionTask& task,
                 void* scratch);
  // The output of a task whose parts have all been attended to; `task` is any of them.
  void (*join_parts)(const AttentionArgs& args, const KvLayer& layer, const StepRows& rows, const AttentionTask& task,
                     void* scratch);

  // Sampling, one row of `size` logits.
  HighestLogit (*highest_logit)(const float* logits, int64_t size);
  // target: padded to a multiple of 16. A token without its bit in the mask, or past it, gets -infinity.
  void (*copy_allowed_logits)(const float* logits, int64_t size, const uint32_t* mask, int64_t num_words,
                              float* target);
  // `logits` may be `out.log_weights` itself.
  void (*weigh_logits)(const float* logits, const Weighing& how, const TokenWeights& out);
  // Writes the ids, rising, of the tokens with low <= log-weight < high. `ids` has room for all, the padding included,
  // and kGatherSlack more.
  GatheredTokens (*gather_tokens)(const TokenWeights& from, float low, float high, uint32_t* ids);

  // Towards the highest logit, each after all of the one before it: after `refine_logits` it is among the columns whose
  // upper bound reaches the highest lower one. Bounds are those of what `matmul` gives, its rounding included.
  void (*share_blocks)(const LogitSearch& search);
  void (*estimate_logits)(const LogitSearch& search, int64_t group_begin, int64_t group_end);
  void (*refine_logits)(const LogitSearch& search, int64_t group_begin, int64_t group_end);
};

// The tables; those for x86 exist where SGL_BUILD_AVX2 and SGL_BUILD_AVX512 say so.
const KernelTable* portable_table();
const KernelTable* avx2_table();
const KernelTable* avx_vnni_table();
const KernelTable* avx512_table();

}  // namespace sgl
