// Weights, caches and programs for Python.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <string>
#include <vector>

#include "level.h"
#include "program.h"

NB_MAKE_OPAQUE(std::vector<float>)  // FloatVector, which is a class for Python and no list

namespace nb = nanobind;
using namespace sgl;

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Int64s = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using FloatVector = std::vector<float>;
using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;

template <class T>
T one_of(const std::string& name, std::initializer_list<std::pair<const char*, T>> choices, const char* what) {
  for (const auto& [choice, value] : choices)
    if (name == choice) return value;
  throw std::invalid_argument(std::string("no such ") + what + ": " + name);
}

RowKind row_kind(const std::string& name) {
  return one_of<RowKind>(
      name, {{"float", RowKind::kFloat}, {"bf16", RowKind::kBf16}, {"quantized", RowKind::kQuantized}}, "kind of rows");
}

std::string name_of(RowKind kind) {
  return kind == RowKind::kFloat ? "float" : kind == RowKind::kBf16 ? "bf16" : "quantized";
}

Epilogue epilogue(const std::string& name) {
  return one_of<Epilogue>(
      name, {{"store", Epilogue::kStore}, {"add", Epilogue::kAdd}, {"silu_and_mul", Epilogue::kSiluAndMul}}, "epilogue");
}

KvDtype kv_dtype(const std::string& name) {
  return one_of<KvDtype>(name, {{"bfloat16", KvDtype::kBf16}, {"int8", KvDtype::kInt8}}, "cache dtype");
}

void put(WeightStorage& weight, int gguf_type, const Bytes& rows, int64_t first_column, int64_t panel_stride) {
  nb::gil_scoped_release release;
  weight.put(GgufType(gguf_type), rows.data(), rows.size(), int64_t(rows.shape(0)), first_column, panel_stride);
}

nb::ndarray<nb::numpy, const float, nb::ndim<2>> view(const Program& program, int buffer, nb::handle owner) {
  const float* values = program.values(buffer);
  const size_t shape[2] = {size_t(program.num_rows()), size_t(program.size(buffer))};
  return nb::ndarray<nb::numpy, const float, nb::ndim<2>>(values, 2, shape, owner);
}

void require_sizes(bool condition) {
  if (!condition) throw std::invalid_argument("arrays of a step differ in length");
}

StepRows step_rows(const Int64s& positions, const Int64s& slots, const Int64s& first_row, const Int64s& row_count,
                   const Int64s& run_begin, const Int64s& run_start, const Int64s& run_length) {
  require_sizes(positions.size() == slots.size() && first_row.size() == row_count.size() &&
                run_begin.size() == first_row.size() + 1 && run_start.size() == run_length.size());
  require_sizes(run_begin.data()[0] == 0 && run_begin.data()[first_row.size()] == int64_t(run_start.size()));
  for (size_t i = 0; i < first_row.size(); ++i) require_sizes(run_begin.data()[i] <= run_begin.data()[i + 1]);
  return StepRows{int64_t(positions.size()), positions.data(), slots.data(),     int64_t(first_row.size()),
                  first_row.data(),          row_count.data(), run_begin.data(), run_start.data(),
                  run_length.data()};
}

void run_step(Program& program, const Int64s& token_ids, const Int64s& positions, const Int64s& slots,
              const Int64s& first_row, const Int64s& row_count, const Int64s& run_begin, const Int64s& run_start,
              const Int64s& run_length, const Int64s& read_rows) {
  Program::Inputs inputs;
  inputs.rows = step_rows(positions, slots, first_row, row_count, run_begin, run_start, run_length);
  require_sizes(token_ids.size() == positions.size());
  inputs.token_ids = token_ids.data();
  inputs.read_rows = read_rows.data();
  inputs.num_read = int64_t(read_rows.size());
  nb::gil_scoped_release release;
  program.run(inputs);
}

void run_rows(Program& program, const Program& source, int buffer, const Int64s& rows) {
  if (&source == &program) throw std::invalid_argument("rows are gathered from one of two programs into the other");
  Program::Inputs inputs;
  inputs.rows.num_rows = int64_t(rows.size());
  inputs.gathered = source.values(buffer);
  inputs.gathered_rows = rows.data();
  inputs.gathered_count = source.num_rows();
  inputs.gathered_size = source.size(buffer);
  nb::gil_scoped_release release;
  program.run(inputs);
}

void bind_memory(nb::module_& module) {
  nb::class_<ThreadPool>(module, "ThreadPool")
      .def(nb::init<int>(), nb::arg("num_threads"))
      .def_prop_ro("num_threads", &ThreadPool::num_threads);

  nb::class_<WeightStorage>(module, "Weight")
      .def("__init__",
           [](WeightStorage* self, int gguf_type, int64_t inputs, int64_t columns) {
             new (self) WeightStorage(format_of(GgufType(gguf_type)), inputs, columns);
           },
           nb::arg("gguf_type"), nb::arg("inputs"), nb::arg("columns"))
      .def("put", put, nb::arg("gguf_type"), nb::arg("rows"), nb::arg("first_column"), nb::arg("panel_stride") = 1)
      .def_prop_ro("inputs", [](const WeightStorage& weight) { return weight.view().inputs; })
      .def_prop_ro("columns", [](const WeightStorage& weight) { return weight.view().columns; })
      .def_prop_ro("num_bytes", [](const WeightStorage& weight) {
        const PackedWeight& view = weight.view();
        return view.tile_bytes * size_t((view.columns + kTileColumns - 1) / kTileColumns);
      });

  nb::class_<SplitHead>(module, "SplitHead")
      .def("__init__",
           [](SplitHead* self, std::shared_ptr<WeightStorage> weight, ThreadPool& pool) {
             nb::gil_scoped_release release;
             new (self) SplitHead(std::move(weight), pool);
           },
           nb::arg("weight"), nb::arg("pool"))
      .def_static("is_possible", &SplitHead::is_possible, nb::arg("weight"));

  nb::class_<FloatVector>(module, "FloatVector")
      .def("__init__",
           [](FloatVector* self, const Floats& values) {
             new (self) FloatVector(values.data(), values.data() + values.size());
           },
           nb::arg("values"));

  nb::class_<KvCache>(module, "KvCache")
      .def("__init__",
           [](KvCache* self, int64_t num_layers, int64_t num_kv_heads, int64_t head_dim, int64_t num_slots,
              const std::string& dtype) {
             new (self) KvCache(num_layers, num_kv_heads, head_dim, num_slots, kv_dtype(dtype));
           },
           nb::arg("num_layers"), nb::arg("num_kv_heads"), nb::arg("head_dim"), nb::arg("num_slots"), nb::arg("dtype"))
      .def_static("bytes_per_slot",
                  [](int64_t num_layers, int64_t num_kv_heads, int64_t head_dim, const std::string& dtype) {
                    return KvCache::bytes_per_slot(num_layers, num_kv_heads, head_dim, kv_dtype(dtype));
                  },
                  nb::arg("num_layers"), nb::arg("num_kv_heads"), nb::arg("head_dim"), nb::arg("dtype"));
}

}  // namespace

void bind_program(nb::module_& module) {
  bind_memory(module);
  nb::class_<Program>(module, "Program")
      .def("__init__",
           [](Program* self, const std::string& level_name, std::shared_ptr<ThreadPool> pool) {
             new (self) Program(level(level_name), std::move(pool));
           },
           nb::arg("level"), nb::arg("pool"))
      .def("buffer", [](Program& self, const std::string& kind, int64_t size) { return self.buffer(row_kind(kind), size); },
           nb::arg("kind"), nb::arg("size"))
      .def("input_kind", [](const Program& self, const WeightStorage& weight) { return name_of(self.input_kind(weight)); },
           nb::arg("weight"))
      .def("embed", [](Program& self, std::shared_ptr<WeightStorage> weight, int output) { self.embed(weight, output); },
           nb::arg("weight"), nb::arg("output"))
      .def("gather", &Program::gather, nb::arg("output"))
      .def("rms_norm",
           [](Program& self, int input, std::shared_ptr<FloatVector> weight, float eps, int output) {
             self.rms_norm(input, weight, eps, output);
           },
           nb::arg("input"), nb::arg("weight"), nb::arg("eps"), nb::arg("output"))
      .def("convert", &Program::convert, nb::arg("input"), nb::arg("first_column"), nb::arg("output"))
      .def("silu_and_mul", &Program::silu_and_mul, nb::arg("input"), nb::arg("output"))
      .def("add", &Program::add, nb::arg("input"), nb::arg("output"))
      .def("matmul",
           [](Program& self, int input, std::shared_ptr<WeightStorage> weight, std::shared_ptr<FloatVector> bias,
              const std::string& what, int output, int64_t first_column) {
             self.matmul(input, weight, bias, epilogue(what), output, first_column);
           },
           nb::arg("input"), nb::arg("weight"), nb::arg("bias").none(), nb::arg("epilogue"), nb::arg("output"),
           nb::arg("first_column"))
      .def("highest",
           [](Program& self, int input, std::shared_ptr<SplitHead> head, int output) { self.highest(input, head, output); },
           nb::arg("input"), nb::arg("head"), nb::arg("output"))
      .def("attention",
           [](Program& self, int qkv, int64_t num_heads, float query_scale, std::shared_ptr<FloatVector> cos_sin,
              std::shared_ptr<KvCache> cache, int64_t layer, int output) {
             self.attention(qkv, num_heads, query_scale, cos_sin, cache, layer, output);
           },
           nb::arg("qkv"), nb::arg("num_heads"), nb::arg("query_scale"), nb::arg("cos_sin"), nb::arg("cache"),
           nb::arg("layer"), nb::arg("output"))
      .def("narrow", &Program::narrow, nb::arg("buffers"))
      .def_prop_ro("num_instructions", &Program::num_instructions)
      .def("run", run_step, nb::arg("token_ids"), nb::arg("positions"), nb::arg("slots"), nb::arg("first_row"),
           nb::arg("row_count"), nb::arg("run_begin"), nb::arg("run_start"), nb::arg("run_length"),
           nb::arg("read_rows"))
      .def("run_rows", run_rows, nb::arg("source"), nb::arg("buffer"), nb::arg("rows"))
      .def("values", [](nb::handle self, int buffer) { return view(nb::cast<const Program&>(self), buffer, self); },
           nb::arg("buffer"));
}
