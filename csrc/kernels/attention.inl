// Keys and values: turning and storing them, and attention over them.
//
// A row's context is read in blocks of kContextBlock positions aligned to position 0. Per block and query: scores, which
// are exponents of 2, their maximum, powers relative to it, and the weighted sum of values. Blocks are joined in order of
// position, both sides scaled to the greater maximum. The order of operations of one query is fixed by positions alone: a
// score adds pairs of dimensions ascending; powers are summed in pairs of positions (2j, 2j + 1) by j mod 16, and these
// 16 sums in a tree at the very end; a weighted value adds such pairs ascending. Which other queries share the registers,
// where the slots lie, whether keys and values were copied together before, and which thread reads which blocks, never
// shows in the result. Probabilities are rounded to bfloat16 before they are summed, so that the weights of the values add
// up to one.
//
// Rows of a sequence come in order of position, and head_dim is at most kMaxDim.

namespace attention {

constexpr int64_t kMaxDim = 256;

// The register tile: queries by vectors of 16 scores or values. It takes kSums vectors of running sums.
#if defined(SGL_AVX512)
constexpr int kTileQueries = 6;
constexpr int kTileVectors = 4;
constexpr int kSums = 24;
#else
constexpr int kTileQueries = kRegisters == 2 ? 4 : 2;
constexpr int kTileVectors = kTileQueries;
constexpr int kSums = kTileQueries;
#endif

constexpr int vectors_beside(int queries) {
  return kSums / queries < kTileVectors ? kSums / queries : kTileVectors;
}

// Up to this many queries read keys and values where they are; for more it pays to copy them in order of position once.
// `Element` is that of the cache. Each tile of queries that reads int8 values converts them.
template <class Element>
constexpr int64_t kDirectQueries = sizeof(Element) == sizeof(uint16_t) ? 2 * kTileQueries : kTileQueries;
// Keys and values that are read where they are come from memory, mostly, in pieces too short for the processor to see what
// comes next. So they are asked for a few registers of keys, or so many pairs of values, before they are needed.
constexpr int64_t kPairsAhead = 8;
// Slots in a row whose keys are worth a score vector of their own; fewer are gathered with their neighbours.
constexpr int kFewSlots = 8;
// A gathered vector but the last is full or stands before one of at least kFewSlots positions.
constexpr int kMaxSegments = 2 * int(kContextBlock) / (kFewSlots + 1) + 2;

template <int kValue>
struct Constant {
  static constexpr int value = kValue;
};

// Calls `function` with Constant<value>; 1 <= value <= kMax.
template <int kMax, class Function>
SGL_INLINE void with_constant(int64_t value, const Function& function) {
  if constexpr (kMax > 1) {
    if (value < kMax) return with_constant<kMax - 1>(value, function);
  }
  function(Constant<kMax>{});
}

// --- the storage of one key/value head -------------------------------------------------------------------------------

// `Element` is uint16_t (bfloat16) or int8_t.
template <class Element>
struct KvHead {
  uint8_t* keys;    // the first tile
  uint8_t* values;  // the first tile
  int64_t stride;   // bytes from tile to tile
  int64_t dim;      // padded

  KvHead(const KvLayer& layer, int64_t head)
      : keys((uint8_t*)layer.blocks + head * layer.tile_bytes),
        values(keys + layer.num_kv_heads * layer.tile_bytes),
        stride(2 * layer.num_kv_heads * layer.tile_bytes),
        dim(layer.padded_dim) {}

  Element* key_block(int64_t slot) const { return (Element*)(keys + slot / kSlotBlock * stride); }
  Element* value(int64_t slot) const { return value_block(slot) + slot % kSlotBlock * dim; }

  // bfloat16, int8 only. Of keys those of a block, [groups][16]; of values those of the slot, [groups].
  uint16_t* key_scales(int64_t slot) const { return (uint16_t*)(key_block(slot) + kSlotBlock * dim); }
  uint16_t* value_scales(int64_t slot) const {
    const int64_t groups = (dim + kScaledDims - 1) / kScaledDims;
    return (uint16_t*)(value_block(slot) + kSlotBlock * dim) + slot % kSlotBlock * groups;
  }

 private:
  Element* value_block(int64_t slot) const { return (Element*)(values + slot / kSlotBlock * stride); }
};

// --- turning and storing ---------------------------------------------------------------------------------------------

// Turns the pairs (x[i], x[i + half]) by the angles whose cosines and sines are given, then multiplies by `factor`.
SGL_INLINE void turn(const float* x, const float* cos_sin, int64_t half, float factor, float* out) {
  const float *cosines = cos_sin, *sines = cos_sin + half;
  for (int64_t i = 0; i < half; ++i) {
    out[i] = (x[i] * cosines[i] - x[half + i] * sines[i]) * factor;
    out[half + i] = (x[half + i] * cosines[i] + x[i] * sines[i]) * factor;
  }
}

// `size` is a multiple of 16 in the following.
SGL_INLINE void put_bf16(const float* x, int64_t size, uint16_t* out) {
  for (int64_t i = 0; i < size; i += kLanes) store_bf16(out + i, load<F32x16>(x + i));
}

// Codes of x in units of the returned scale, the largest magnitude / 127 rounded to bfloat16: 127.3 units at most, which
// round to 127. Magnitudes are compared as integers, which puts infinity and NaN above all numbers: their scale is not
// finite, so that what is read back is NaN.
SGL_INLINE uint16_t put_group(const float* x, int64_t size, int8_t* out) {
  int32_t largest = 0;
  for (int64_t i = 0; i < size; ++i) {
    const int32_t magnitude = load<int32_t>(x + i) & 0x7fffffff;
    largest = magnitude > largest ? magnitude : largest;
  }
  const uint16_t rounded = float_to_bf16(load<float>(&largest) / 127.0f);
  const float scale = bf16_to_float(rounded);
  const bool is_normal = scale >= 1.17549435e-38f && scale <= 3.40282347e38f;  // not subnormal, infinite or NaN
  for (int64_t i = 0; i < size; i += kLanes)
    store_int8(out + i, is_normal ? round_to_int(load<F32x16>(x + i) / splat(scale)) : splat(0));
  return rounded;
}

// The scales of the groups lie `stride` apart.
SGL_INLINE void put_int8(const float* x, int64_t size, int8_t* codes, uint16_t* scales, int64_t stride) {
  for (int64_t dim = 0; dim < size; dim += kScaledDims, scales += stride)
    *scales = put_group(x + dim, smaller(kScaledDims, size - dim), codes + dim);
}

// One token's key, pair by pair, into its lane of a block of 16 slots.
template <class Element>
SGL_INLINE void spread_key(const Element* key, int64_t size, int64_t lane, Element* block) {
  for (int64_t pair = 0; pair < size / 2; ++pair)
    std::memcpy(block + 2 * (pair * kSlotBlock + lane), key + 2 * pair, 2 * sizeof(Element));
}

SGL_INLINE void store_token(const KvHead<uint16_t>& head, int64_t slot, const float* key, const float* value) {
  uint16_t rounded[kMaxDim];
  put_bf16(key, head.dim, rounded);
  spread_key(rounded, head.dim, slot % kSlotBlock, head.key_block(slot));
  put_bf16(value, head.dim, head.value(slot));
}

SGL_INLINE void store_token(const KvHead<int8_t>& head, int64_t slot, const float* key, const float* value) {
  int8_t codes[kMaxDim];
  put_int8(key, head.dim, codes, head.key_scales(slot) + slot % kSlotBlock, kSlotBlock);
  spread_key(codes, head.dim, slot % kSlotBlock, head.key_block(slot));
  put_int8(value, head.dim, head.value(slot), head.value_scales(slot), 1);
}

template <class Element>
void rotate_and_store_rows(const RotaryArgs& args, const KvLayer& layer, const StepRows& rows, int64_t begin,
                           int64_t end) {
  const int64_t dim = layer.head_dim, half = dim / 2, padded = layer.padded_dim, heads = args.num_heads;
  float key[kMaxDim] = {}, value[kMaxDim] = {};  // the padding stays zero
  float query[kMaxDim] = {};
  for (int64_t row = begin; row < end; ++row) {
    const float* queries = args.qkv + row * args.qkv_stride;
    const float *keys = queries + heads * dim, *values = keys + layer.num_kv_heads * dim;
    const float* cos_sin = args.cos_sin + rows.positions[row] * dim;
    for (int64_t head = 0; head < heads; ++head) {
      turn(queries + head * dim, cos_sin, half, args.query_scale, query);
      put_bf16(query, padded, args.queries + (row * heads + head) * padded);
    }
    for (int64_t head = 0; head < layer.num_kv_heads; ++head) {
      turn(keys + head * dim, cos_sin, half, 1.0f, key);
      std::memcpy(value, values + head * dim, size_t(dim) * sizeof(float));
      store_token(KvHead<Element>(layer, head), rows.slots[row], key, value);
    }
  }
}

// --- scratch memory --------------------------------------------------------------------------------------------------

// A vector of keys. Lanes [lane, lane + count) belong to consecutive positions of the block, from `offset` on.
struct KeySegment {
  const uint16_t* keys;  // [dim / 2][16][2]
  int lane;
  int count;
  int offset;
};

struct Query {
  const uint16_t* vector;  // [dim]
  int64_t length;          // positions it attends to
  float* output;           // [head_dim]
};

// What a thread needs while it works on a task. Offsets are multiples of 64 bytes.
struct Scratch {
  uint16_t* copied_keys;    // [kMaxSegments][dim / 2][16][2]
  uint16_t* packed_values;  // [kContextBlock / 2][dim][2]
  int64_t* slots;           // [kContextBlock], of the positions of the block
  KeySegment* segments;     // [kMaxSegments]
  float* scores;            // [kTileQueries][kContextBlock]
  uint16_t* probabilities;  // [kTileQueries][kContextBlock]
  Query* queries;           // [kAttentionQueries]
  float* powers;            // [kTileQueries][16], their sums in a block
  float* outputs;           // [kTileQueries][dim], sums of values in a block
  float* sums;              // [kAttentionQueries][16 + dim], of powers and of values, of all blocks so far
  float* maxima;            // [kAttentionQueries]
  uint16_t* last_pair;      // [dim][2]
  int64_t dim;
  size_t bytes;

  Scratch(void* start, int64_t padded_dim) : dim(padded_dim), bytes(0) {
    take(start, copied_keys, kMaxSegments * kSlotBlock * dim);
    take(start, packed_values, kContextBlock * dim);
    take(start, slots, kContextBlock);
    take(start, segments, kMaxSegments);
    take(start, scores, kTileQueries * kContextBlock);
    take(start, probabilities, kTileQueries * kContextBlock);
    take(start, queries, kAttentionQueries);
    take(start, powers, kTileQueries * kLanes);
    take(start, outputs, kTileQueries * dim);
    take(start, sums, kAttentionQueries * sums_size());
    take(start, maxima, kAttentionQueries);
    take(start, last_pair, 2 * dim);
  }

  int64_t sums_size() const { return kLanes + dim; }

 private:
  template <class Item>
  void take(void* start, Item*& items, int64_t count) {
    items = start == nullptr ? nullptr : (Item*)((uint8_t*)start + bytes);
    bytes += (size_t(count) * sizeof(Item) + 63) / 64 * 64;
  }
};

// --- one block of the context ----------------------------------------------------------------------------------------

struct ContextBlock {
  int64_t start;  // position
  int64_t count;
  int num_segments;
};

// Walks through the slots of a sequence in order of position.
struct RunCursor {
  const int64_t* start;
  const int64_t* length;
  int64_t taken;  // slots of the present run

  // The next at most `limit` slots that follow one another, from *slot on; returns how many.
  int64_t take(int64_t limit, int64_t* slot) {
    for (; taken == *length; ++start, ++length) taken = 0;
    const int64_t count = smaller(limit, *length - taken);
    *slot = *start + taken;
    taken += count;
    return count;
  }

  void skip(int64_t count) {
    int64_t slot;
    while (count > 0) count -= take(count, &slot);
  }
};

// Copies the keys of `count` slots of one block of 16, as bfloat16, to the lanes from `target` on.
SGL_INLINE void copy_keys(const KvHead<uint16_t>& head, int64_t slot, int count, uint16_t* target) {
  const uint16_t* source = head.key_block(slot);
  for (int64_t dim = 0; dim < head.dim; dim += 2)
    store_lanes(target + kSlotBlock * dim, load<I32x16>(source + kSlotBlock * dim), int(slot % kSlotBlock), count);
}

SGL_INLINE void copy_keys(const KvHead<int8_t>& head, int64_t slot, int count, uint16_t* target) {
  const int8_t* source = head.key_block(slot);
  const uint16_t* group_scales = head.key_scales(slot);
  for (int64_t group = 0; group < head.dim; group += kScaledDims, group_scales += kSlotBlock) {
    const F32x16 scales = load_bf16(group_scales);
    const int64_t end = smaller(group + kScaledDims, head.dim);
    for (int64_t dim = group; dim < end; dim += 2) {
      I32x16 first, second;
      load_int8_pairs(source + kSlotBlock * dim, first, second);
      store_lanes(target + kSlotBlock * dim, interleave(to_float(first) * scales, to_float(second) * scales),
                  int(slot % kSlotBlock), count);
    }
  }
}

// The keys of a block of 16 slots as bfloat16: where they lie, or else copied to `target`.
SGL_INLINE const uint16_t* whole_block(const KvHead<uint16_t>& head, int64_t slot, uint16_t*) {
  return head.key_block(slot);
}

SGL_INLINE const uint16_t* whole_block(const KvHead<int8_t>& head, int64_t slot, uint16_t* target) {
  copy_keys(head, slot / kSlotBlock * kSlotBlock, kSlotBlock, target);
  return target;
}

SGL_INLINE Bf16x32 value_pair(const KvHead<uint16_t>& head, int64_t first, int64_t second, int64_t dim) {
  return interleave(head.value(first) + dim, head.value(second) + dim);
}

SGL_INLINE F32x16 scaled_values(const KvHead<int8_t>& head, int64_t slot, int64_t dim) {
  return to_float(load_int8(head.value(slot) + dim)) * splat(bf16_to_float(head.value_scales(slot)[dim / kScaledDims]));
}

SGL_INLINE Bf16x32 value_pair(const KvHead<int8_t>& head, int64_t first, int64_t second, int64_t dim) {
  return interleave(scaled_values(head, first, dim), scaled_values(head, second, dim));
}

// Collects the key segments of one block of positions and notes the slots.
template <class Element>
struct BlockReader {
  const KvHead<Element>& head;
  const Scratch& scratch;
  int whole_lanes;  // a block of slots is used whole for as many of its lanes; fewer are gathered with others
  int num_segments = 0;
  bool is_open = false;  // the last segment is gathered and has room

  void read(RunCursor& cursor, int64_t count) {
    for (int64_t offset = 0; offset < count;) {
      int64_t slot;
      const int64_t length = cursor.take(count - offset, &slot);
      for (int64_t i = 0; i < length; ++i) scratch.slots[offset + i] = slot + i;
      add_run(slot, length, offset);
      offset += length;
    }
    if (count % 2 != 0) scratch.slots[count] = scratch.slots[count - 1];  // so that the last pair can be read
  }

 private:
  void add_run(int64_t slot, int64_t length, int64_t offset) {
    while (length > 0) {
      const int64_t lane = slot % kSlotBlock, count = smaller(kSlotBlock - lane, length);
      add_lanes(slot, int(count), int(offset));
      slot += count;
      offset += count;
      length -= count;
    }
  }

  void add_lanes(int64_t slot, int count, int offset) {
    if (count < whole_lanes) return gather(slot, count, offset);
    const uint16_t* keys = whole_block(head, slot, copy_of(num_segments));
    scratch.segments[num_segments++] = {keys, int(slot % kSlotBlock), count, offset};
    is_open = false;
  }

  void gather(int64_t slot, int count, int offset) {
    while (count > 0) {
      if (!is_open) {
        scratch.segments[num_segments] = {copy_of(num_segments), 0, 0, offset};
        ++num_segments;
      }
      KeySegment& segment = scratch.segments[num_segments - 1];
      const int copied = int(smaller(kSlotBlock - segment.count, count));
      copy_keys(head, slot, copied, copy_of(num_segments - 1) + 2 * segment.count);
      segment.count += copied;
      is_open = segment.count < kSlotBlock;
      slot += copied;
      offset += copied;
      count -= copied;
    }
  }

  uint16_t* copy_of(int segment) const { return scratch.copied_keys + segment * kSlotBlock * head.dim; }
};

// Values as pairs of positions of the block, read where they lie.
template <class Element>
struct DirectValues {
  static constexpr bool kAreKeysDirect = sizeof(Element) == sizeof(uint16_t);  // others are copied
  const KvHead<Element>& head;
  const int64_t* slots;

  // Asks for `size` dimensions of a pair.
  SGL_INLINE void fetch(int64_t index, int64_t dim, int64_t size) const {
    for (int64_t position = 2 * index; position < 2 * index + 2; ++position) {
      const Element* value = head.value(slots[position]) + dim;
      for (int64_t i = 0; i < size; i += kCacheLine / int64_t(sizeof(Element))) __builtin_prefetch(value + i);
    }
  }

  SGL_INLINE Bf16x32 pair(int64_t index, int64_t dim) const {
    return value_pair(head, slots[2 * index], slots[2 * index + 1], dim);
  }
};

// The same, copied together.
struct PackedValues {
  static constexpr bool kAreKeysDirect = false;
  const uint16_t* pairs;  // [kContextBlock / 2][dim][2]
  int64_t size;

  SGL_INLINE void fetch(int64_t, int64_t, int64_t) const {}

  SGL_INLINE Bf16x32 pair(int64_t index, int64_t dim) const {
    return load<Bf16x32>(pairs + 2 * (index * size + dim));
  }
};

template <class Element>
void pack_values(const KvHead<Element>& head, const Scratch& scratch, int64_t count) {
  for (int64_t i = 0; i < count; i += 2) {
    for (int64_t dim = 0; dim < head.dim; dim += kLanes)
      store(scratch.packed_values + i * head.dim + 2 * dim,
            value_pair(head, scratch.slots[i], scratch.slots[i + 1], dim));
  }
}

// --- a tile of queries over a block ----------------------------------------------------------------------------------

// num_later: of the segments that come after these, so many are asked for.
template <int kQueries, int kVectors>
SGL_INLINE void score_vectors(const Query* queries, const KeySegment* segments, int num_later, int64_t dim, float* scores) {
  F32x16 sums[kQueries][kVectors];
#pragma GCC unroll 6
  for (int query = 0; query < kQueries; ++query)
#pragma GCC unroll 4
    for (int vector = 0; vector < kVectors; ++vector) sums[query][vector] = splat(0.0f);
  for (int64_t pair = 0; pair < dim / 2; ++pair) {
    for (int later = 0; later < num_later; ++later)
      __builtin_prefetch(segments[kVectors + later].keys + 2 * kSlotBlock * pair);
    Bf16x32 keys[kVectors];
#pragma GCC unroll 4
    for (int vector = 0; vector < kVectors; ++vector)
      keys[vector] = load<Bf16x32>(segments[vector].keys + 2 * kSlotBlock * pair);
#pragma GCC unroll 6
    for (int query = 0; query < kQueries; ++query) {
      const Bf16x32 factor = splat_pair(load<int32_t>(queries[query].vector + 2 * pair));
#pragma GCC unroll 4
      for (int vector = 0; vector < kVectors; ++vector)
        sums[query][vector] = dot(sums[query][vector], keys[vector], factor);
    }
  }
#pragma GCC unroll 4
  for (int vector = 0; vector < kVectors; ++vector) {
    const KeySegment segment = segments[vector];
#pragma GCC unroll 6
    for (int query = 0; query < kQueries; ++query)
      store_lanes(scores + query * kContextBlock + segment.offset, sums[query][vector], segment.lane, segment.count);
  }
}

// Scores of the first `count` positions of the block and perhaps more.
template <int kQueries, bool kAreKeysDirect>
SGL_INLINE void score(const Query* queries, const Scratch& scratch, int num_segments, int64_t count) {
  constexpr int kVectors = vectors_beside(kQueries);
  for (int i = 0; i < num_segments && scratch.segments[i].offset < count; i += kVectors)
    with_constant<kVectors>(num_segments - i, [&](auto vectors) {
      const int left = num_segments - i - kVectors, num_later = left < 0 ? 0 : left < kVectors ? left : kVectors;
      score_vectors<kQueries, decltype(vectors)::value>(queries, scratch.segments + i, kAreKeysDirect ? num_later : 0,
                                                        scratch.dim, scratch.scores);
    });
}

constexpr int kTwoVectors = 2 * kLanes;

// The greatest of the first `count` scores. Fills up the last two vectors with -infinity.
SGL_INLINE float greatest(float* scores, int64_t count) {
  const int64_t whole = (count + kLanes - 1) & -kLanes;
  store_lanes(scores + count, splat(-INFINITY), 0, int(whole - count));
  if (whole % kTwoVectors != 0) store(scores + whole, splat(-INFINITY));
  F32x16 result = splat(-INFINITY);
  for (int64_t i = 0; i < count; i += kLanes) result = max(load<F32x16>(scores + i), result);
  return max_lanes(result);
}

// Probabilities of `count` positions relative to `maximum`, and their 16 sums.
SGL_INLINE void exponentiate(const float* scores, int64_t count, float maximum, float* sums, uint16_t* probabilities) {
  const Bf16x32 ones = splat_pair(0x3f803f80);
  F32x16 total = splat(0.0f);
  for (int64_t i = 0; i < count; i += kTwoVectors) {
    const F32x16 first = exp2(load<F32x16>(scores + i) - splat(maximum));
    const F32x16 second = exp2(load<F32x16>(scores + i + kLanes) - splat(maximum));
    const Bf16x32 both = pack_bf16(first, second);
    store(probabilities + i, both);
    total = dot(total, both, ones);
  }
  store(sums, total);
}

// Adds pairs [begin, end) of the block in dimensions [dim, dim + 16 * kVectors) to what `sums` begins with, and gives the
// result back to it.
template <int kQueries, int kVectors, class Values, class Sums>
SGL_INLINE void add_columns(const Values& values, const uint16_t* probabilities, int64_t begin, int64_t end,
                            int64_t dim, const Sums& sums) {
  F32x16 columns[kQueries][kVectors];
#pragma GCC unroll 6
  for (int query = 0; query < kQueries; ++query)
#pragma GCC unroll 4
    for (int vector = 0; vector < kVectors; ++vector)
      columns[query][vector] = sums.first(query, dim + vector * kLanes);
  for (int64_t pair = begin; pair < end; ++pair) {
    if (pair + kPairsAhead < end) values.fetch(pair + kPairsAhead, dim, kVectors * kLanes);
    Bf16x32 row[kVectors];
#pragma GCC unroll 4
    for (int vector = 0; vector < kVectors; ++vector) row[vector] = values.pair(pair, dim + vector * kLanes);
#pragma GCC unroll 6
    for (int query = 0; query < kQueries; ++query) {
      const Bf16x32 factor = splat_pair(load<int32_t>(probabilities + query * kContextBlock + 2 * pair));
#pragma GCC unroll 4
      for (int vector = 0; vector < kVectors; ++vector)
        columns[query][vector] = dot(columns[query][vector], row[vector], factor);
    }
  }
#pragma GCC unroll 6
  for (int query = 0; query < kQueries; ++query)
#pragma GCC unroll 4
    for (int vector = 0; vector < kVectors; ++vector)
      sums.last(query, dim + vector * kLanes, columns[query][vector]);
}

template <int kQueries, class Values, class Sums>
SGL_INLINE void add_pairs(const Values& values, const uint16_t* probabilities, int64_t begin, int64_t end, int64_t size,
                          const Sums& sums) {
  constexpr int kVectors = vectors_beside(kQueries);
  int64_t dim = 0;
  for (; dim + kVectors * kLanes <= size; dim += kVectors * kLanes)
    add_columns<kQueries, kVectors>(values, probabilities, begin, end, dim, sums);
  if constexpr (kVectors > 1) {
    for (; dim < size; dim += kLanes) add_columns<kQueries, 1>(values, probabilities, begin, end, dim, sums);
  }
}

// Sums of values in memory, [queries][dim], that begin here.
struct New {
  float* outputs;
  int64_t dim;

  SGL_INLINE F32x16 first(int, int64_t) const { return splat(0.0f); }
  SGL_INLINE void last(int query, int64_t at, const F32x16& sum) const { store(outputs + query * dim + at, sum); }
};

// Those of one query that grow.
struct Growing {
  float* output;

  SGL_INLINE F32x16 first(int, int64_t at) const { return load<F32x16>(output + at); }
  SGL_INLINE void last(int, int64_t at, const F32x16& sum) const { store(output + at, sum); }
};

// Adds positions [2 * begin, end) of the block for one query. Where its last pair has a position beyond its context,
// that value counts as zero whatever it is.
template <class Values>
SGL_INLINE void add_rest(const Values& values, const Scratch& scratch, const uint16_t* probabilities, int64_t begin,
                         int64_t end, float* output) {
  const Growing sums{output};
  add_pairs<1>(values, probabilities, begin, end / 2, scratch.dim, sums);
  if (end % 2 == 0) return;
  for (int64_t dim = 0; dim < scratch.dim; dim += kLanes)
    store(scratch.last_pair + 2 * dim, first_of_two(values.pair(end / 2, dim)));
  add_pairs<1>(PackedValues{scratch.last_pair, scratch.dim}, probabilities + end - 1, 0, 1, scratch.dim, sums);
}

// --- what becomes of a block -----------------------------------------------------------------------------------------

// By what the sums so far and those of the next block are multiplied, and the maximum that both are relative to then.
template <int kQueries>
struct Joint {
  static_assert(2 * kQueries <= kLanes);
  float factors[kLanes] = {};  // of the sums so far, and then of the block's

  SGL_INLINE Joint(const float* maxima, float* maxima_so_far) {
    for (int query = 0; query < kQueries; ++query) {
      float& so_far = maxima_so_far[query];
      const float greater = maxima[query] > so_far ? maxima[query] : so_far;
      factors[query] = so_far - greater;
      factors[kQueries + query] = maxima[query] - greater;
      so_far = greater;
    }
    store(factors, exp2(load<F32x16>(factors)));
  }

  SGL_INLINE F32x16 sum(int query, const float* so_far, const F32x16& block) const {
    return fma(load<F32x16>(so_far), splat(factors[query]), block * splat(factors[kQueries + query]));
  }
};

// Joined with the blocks before it. Queries are numbered from `first` of those in scratch on.
template <int kQueries>
struct Totals {
  float* sums;  // [queries][16 + dim]
  int64_t size;
  Joint<kQueries> joint;

  SGL_INLINE Totals(const Scratch& scratch, int64_t first, const float* maxima, const float* powers)
      : sums(scratch.sums + first * scratch.sums_size()), size(scratch.sums_size()), joint(maxima, scratch.maxima + first) {
    for (int query = 0; query < kQueries; ++query) {
      float* total = sums + query * size;
      store(total, joint.sum(query, total, load<F32x16>(powers + query * kLanes)));
    }
  }

  SGL_INLINE void take(int query, int64_t dim, const F32x16& block) const {
    float* total = sums + query * size + kLanes + dim;
    store(total, joint.sum(query, total, block));
  }
};

// The partial results of a task's queries, block by block.
struct PartialResults {
  float* start;
  int64_t num_blocks;
  int64_t dim;

  float* at(int64_t query, int64_t block) const { return start + (query * num_blocks + block) * partial_size(dim); }
};

// Written to be joined later.
template <int kQueries>
struct Partials {
  float* start;    // of the first query
  int64_t stride;  // from query to query

  SGL_INLINE Partials(const PartialResults& results, int64_t first, int64_t block, const float* maxima, const float* powers)
      : start(results.at(first, block)), stride(results.num_blocks * partial_size(results.dim)) {
    for (int query = 0; query < kQueries; ++query) {
      store(start + query * stride, splat(maxima[query]));
      store(start + query * stride + kLanes, load<F32x16>(powers + query * kLanes));
    }
  }

  SGL_INLINE void take(int query, int64_t dim, const F32x16& block) const {
    store(start + query * stride + 2 * kLanes + dim, block);
  }
};

// The sums of the values of a block. reach(query): positions of the block that it attends to.
template <int kQueries, class Values, class Reach>
SGL_INLINE void add_values(const Values& values, const Scratch& scratch, const Reach& reach) {
  const int64_t common = reach(0) / 2;
  add_pairs<kQueries>(values, scratch.probabilities, 0, common, scratch.dim, New{scratch.outputs, scratch.dim});
  for (int query = 0; query < kQueries; ++query)
    if (2 * common < reach(query))
      add_rest(values, scratch, scratch.probabilities + query * kContextBlock, common, reach(query),
               scratch.outputs + query * scratch.dim);
}

template <int kQueries, class Target>
SGL_INLINE void give(const Scratch& scratch, const Target& target) {
  for (int query = 0; query < kQueries; ++query)
    for (int64_t dim = 0; dim < scratch.dim; dim += kLanes)
      target.take(query, dim, load<F32x16>(scratch.outputs + query * scratch.dim + dim));
}

// Queries [first, first + kQueries) of the group over one block. All of them reach into it; their lengths do not
// decrease. results: null if all of the context is read here.
template <int kQueries, class Values>
void attend_tile(const Values& values, const Scratch& scratch, const ContextBlock& block, int64_t first,
                 const PartialResults* results) {
  const Query* queries = scratch.queries + first;
  const auto reach = [&](int query) { return smaller(queries[query].length - block.start, block.count); };
  score<kQueries, Values::kAreKeysDirect>(queries, scratch, block.num_segments, reach(kQueries - 1));
  float maxima[kQueries];
  for (int query = 0; query < kQueries; ++query) {
    float* scores = scratch.scores + query * kContextBlock;
    maxima[query] = greatest(scores, reach(query));
    exponentiate(scores, reach(query), maxima[query], scratch.powers + query * kLanes,
                 scratch.probabilities + query * kContextBlock);
  }
  add_values<kQueries>(values, scratch, reach);
  const float* powers = scratch.powers;
  if (results == nullptr)
    give<kQueries>(scratch, Totals<kQueries>(scratch, first, maxima, powers));
  else
    give<kQueries>(scratch, Partials<kQueries>(*results, first, block.start / kContextBlock, maxima, powers));
}

// --- a group of queries ----------------------------------------------------------------------------------------------

template <class Values>
void attend_block(const Values& values, const Scratch& scratch, const ContextBlock& block, int64_t num_queries,
                  const PartialResults* results) {
  int64_t first = 0;
  while (scratch.queries[first].length <= block.start) ++first;
  for (; first < num_queries; first += kTileQueries)
    with_constant<kTileQueries>(num_queries - first, [&](auto queries) {
      attend_tile<decltype(queries)::value>(values, scratch, block, first, results);
    });
}

// Positions [begin, end) of the context, `begin` that of a block; `cursor` is there. `queries` are in scratch; the longest
// is the last, and reaches to `end`.
template <class Element>
void attend_group(const KvHead<Element>& head, const Scratch& scratch, RunCursor cursor, int64_t begin, int64_t end,
                  int64_t num_queries, const PartialResults* results) {
  const bool is_direct = num_queries <= kDirectQueries<Element>;
  for (int64_t start = begin; start < end; start += kContextBlock) {
    const int64_t count = smaller(kContextBlock, end - start);
    BlockReader<Element> reader{head, scratch, is_direct ? kFewSlots : kSlotBlock};
    reader.read(cursor, count);
    const ContextBlock block{start, count, reader.num_segments};
    if (is_direct) {
      attend_block(DirectValues<Element>{head, scratch.slots}, scratch, block, num_queries, results);
    } else {
      pack_values(head, scratch, count);
      attend_block(PackedValues{scratch.packed_values, head.dim}, scratch, block, num_queries, results);
    }
  }
}

// Query `index` of the task: heads of a row are neighbours, so that lengths do not decrease.
SGL_INLINE Query query_at(const AttentionArgs& args, const KvLayer& layer, const StepRows& rows,
                          const AttentionTask& task, int64_t index) {
  const int64_t heads = task.head_end - task.head_begin;
  const int64_t row = task.row_begin + index / heads;
  const int64_t at = row * args.num_heads + task.head_begin + index % heads;
  return {args.queries + at * layer.padded_dim, rows.positions[row] + 1, args.output + at * layer.head_dim};
}

// Asks for what write_output will write, which is seldom in a near cache.
SGL_INLINE void fetch_output(const float* output, int64_t head_dim) {
  for (int64_t dim = 0; dim < head_dim; dim += kLanes) __builtin_prefetch(output + dim, 1, 2);
}

SGL_INLINE void write_output(const KvLayer& layer, const Scratch& scratch, int64_t query) {
  float* sums = scratch.sums + query * scratch.sums_size();
  const F32x16 total = splat(sum_lanes(load<F32x16>(sums)));
  float* values = sums + kLanes;
  for (int64_t dim = 0; dim < layer.padded_dim; dim += kLanes) store(values + dim, load<F32x16>(values + dim) / total);
  std::memcpy(scratch.queries[query].output, values, size_t(layer.head_dim) * sizeof(float));
}

SGL_INLINE void begin_totals(const Scratch& scratch, int64_t query) {
  scratch.maxima[query] = -INFINITY;
  std::memset(scratch.sums + query * scratch.sums_size(), 0, size_t(scratch.sums_size()) * sizeof(float));
}

SGL_INLINE PartialResults partials_of(const AttentionArgs& args, const KvLayer& layer, const AttentionTask& task,
                                int64_t first_query) {
  const int64_t first = task.first_partial + first_query * task.num_blocks;
  return {args.partials + first * partial_size(layer.padded_dim), task.num_blocks, layer.padded_dim};
}

// Calls body(first, count) for runs of the task's queries, which are in scratch then.
template <class Body>
SGL_INLINE void for_queries(const AttentionArgs& args, const KvLayer& layer, const StepRows& rows,
                            const AttentionTask& task, const Scratch& scratch, const Body& body) {
  const int64_t total = task.num_queries();
  for (int64_t first = 0; first < total; first += kAttentionQueries) {
    const int64_t count = smaller(kAttentionQueries, total - first);
    for (int64_t i = 0; i < count; ++i) scratch.queries[i] = query_at(args, layer, rows, task, first + i);
    body(first, count);
  }
}

template <class Element>
void attend_task(const AttentionArgs& args, const KvLayer& layer, const StepRows& rows, const AttentionTask& task,
                 void* memory) {
  const Scratch scratch(memory, layer.padded_dim);
  const KvHead<Element> head(layer, task.kv_head);
  const int64_t run = rows.run_begin[task.sequence];
  RunCursor cursor{rows.run_start + run, rows.run_length + run, 0};
  const int64_t begin = task.num_blocks > 0 ? task.block_begin * kContextBlock : 0;
  cursor.skip(begin);
  for_queries(args, layer, rows, task, scratch, [&](int64_t first, int64_t count) {
    const int64_t length = scratch.queries[count - 1].length;
    if (task.num_blocks > 0) {
      const int64_t end = smaller(task.block_end * kContextBlock, length);
      const PartialResults results = partials_of(args, layer, task, first);
      return attend_group(head, scratch, cursor, begin, end, count, &results);
    }
    for (int64_t i = 0; i < count; ++i) {
      fetch_output(scratch.queries[i].output, layer.head_dim);
      begin_totals(scratch, i);
    }
    attend_group(head, scratch, cursor, 0, length, count, nullptr);
    for (int64_t i = 0; i < count; ++i) write_output(layer, scratch, i);
  });
}

}  // namespace attention

void rotate_and_store(const RotaryArgs& args, const KvLayer& layer, const StepRows& rows, int64_t begin, int64_t end) {
  if (layer.dtype == KvDtype::kBf16)
    attention::rotate_and_store_rows<uint16_t>(args, layer, rows, begin, end);
  else
    attention::rotate_and_store_rows<int8_t>(args, layer, rows, begin, end);
}

size_t attention_scratch_bytes(const KvLayer& layer) { return attention::Scratch(nullptr, layer.padded_dim).bytes; }

void attend(const AttentionArgs& args, const KvLayer& layer, const StepRows& rows, const AttentionTask& task,
            void* scratch) {
  if (layer.dtype == KvDtype::kBf16)
    attention::attend_task<uint16_t>(args, layer, rows, task, scratch);
  else
    attention::attend_task<int8_t>(args, layer, rows, task, scratch);
}

void join_parts(const AttentionArgs& args, const KvLayer& layer, const StepRows& rows, const AttentionTask& task,
                void* memory) {
  using namespace attention;
  const Scratch scratch(memory, layer.padded_dim);
  for_queries(args, layer, rows, task, scratch, [&](int64_t first, int64_t count) {
    const PartialResults results = partials_of(args, layer, task, first);
    for (int64_t i = 0; i < count; ++i) {
      begin_totals(scratch, i);
      for (int64_t start = 0; start < scratch.queries[i].length; start += kContextBlock) {
        const float* partial = results.at(i, start / kContextBlock);
        const Totals<1> totals(scratch, i, partial, partial + kLanes);
        for (int64_t dim = 0; dim < layer.padded_dim; dim += kLanes)
          totals.take(0, dim, load<F32x16>(partial + 2 * kLanes + dim));
      }
      write_output(layer, scratch, i);
    }
  });
}
