// Sampling and scoring, as sglang/srt/executor/native_sampler.py uses them.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "level.h"
#include "philox.h"
#include "sampling.h"
#include "thread_pool.h"

namespace nb = nanobind;

namespace {

template <class T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Logits = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void require_size(const char* name, size_t found, size_t wanted) {
  if (found != wanted)
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(found) + " entries, not " +
                                std::to_string(wanted));
}

int64_t num_rows(const sgl::Sampler& sampler, const Logits& logits) {
  require_size("a row of logits", logits.shape(1), size_t(sampler.vocab_size()));
  return int64_t(logits.shape(0));
}

size_t num_tops(const sgl::Sampler& sampler, int64_t num_top) {
  return num_top < 0 ? 0 : size_t(num_top < sampler.vocab_size() ? num_top : sampler.vocab_size());
}

void sample(sgl::Sampler& sampler, const Logits& logits, const nb::bytes& rows, const Vector<const int64_t>& row_ids,
            const Vector<const float>& biases, const Vector<const uint32_t>& masks, const Vector<int64_t>& token_ids,
            const Vector<double>& values, const Vector<int64_t>& top_ids, const Vector<double>& top_logprobs) {
  const int64_t count = num_rows(sampler, logits);
  require_size("rows", rows.size(), size_t(count) * sizeof(sgl::SamplingRow));
  std::vector<sgl::SamplingRow> records(static_cast<size_t>(count));
  std::memcpy(records.data(), rows.data(), rows.size());
  size_t wanted_tops = 0;
  for (const sgl::SamplingRow& row : records) wanted_tops += num_tops(sampler, row.num_top);
  require_size("token_ids", token_ids.size(), size_t(count));
  require_size("values", values.size(), size_t(count));
  require_size("top_ids", top_ids.size(), wanted_tops);
  require_size("top_logprobs", top_logprobs.size(), wanted_tops);
  const sgl::SamplingRows inputs{logits.data(),          count,
                                 records.data(),         row_ids.data(),
                                 int64_t(row_ids.size()), biases.data(),
                                 int64_t(biases.size()), masks.data(),
                                 int64_t(masks.size())};
  nb::gil_scoped_release released;
  sampler.sample(inputs, {token_ids.data(), values.data(), top_ids.data(), top_logprobs.data()});
}

void score(sgl::Sampler& sampler, const Logits& logits, const Vector<const int64_t>& targets, int64_t num_top,
           const Vector<double>& logprobs, const Vector<int64_t>& top_ids, const Vector<double>& top_logprobs) {
  const int64_t count = num_rows(sampler, logits);
  require_size("targets", targets.size(), size_t(count));
  require_size("logprobs", logprobs.size(), size_t(count));
  require_size("top_ids", top_ids.size(), size_t(count) * num_tops(sampler, num_top));
  require_size("top_logprobs", top_logprobs.size(), size_t(count) * num_tops(sampler, num_top));
  nb::gil_scoped_release released;
  sampler.score({logits.data(), count, targets.data(), num_top},
                {nullptr, logprobs.data(), top_ids.data(), top_logprobs.data()});
}

}  // namespace

void bind_sampling(nb::module_& module) {
  module.def("uniform", [](int64_t seed, int64_t position, int64_t sample_index) {
    return sgl::uniform(uint64_t(seed), uint64_t(position), uint64_t(sample_index));
  }, nb::arg("seed"), nb::arg("position"), nb::arg("sample_index"));
  nb::class_<sgl::Sampler>(module, "Sampler")
      .def("__init__",
           [](sgl::Sampler* self, const std::string& level, std::shared_ptr<sgl::ThreadPool> pool,
              int64_t vocab_size) {
             new (self) sgl::Sampler(sgl::level(level), std::move(pool), vocab_size);
           },
           nb::arg("level"), nb::arg("pool"), nb::arg("vocab_size"))
      .def("sample", sample, nb::arg("logits"), nb::arg("rows"), nb::arg("row_ids"), nb::arg("biases"),
           nb::arg("masks"), nb::arg("token_ids"), nb::arg("values"), nb::arg("top_ids"), nb::arg("top_logprobs"))
      .def("score", score, nb::arg("logits"), nb::arg("targets"), nb::arg("num_top"), nb::arg("logprobs"),
           nb::arg("top_ids"), nb::arg("top_logprobs"));
}
