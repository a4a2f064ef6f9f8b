#include "highest.h"

#include <algorithm>
#include <memory>

#include "exercise.h"
#include "program.h"

namespace sgl::exercise {

namespace {

// Of each row the column found by searching, then the first of the highest logits.
std::vector<float> found(const KernelTable& kernels, int num_threads, const std::shared_ptr<WeightStorage>& head,
                         const std::vector<float>& values) {
  const int64_t inputs = head->view().inputs, columns = head->view().columns, count = int64_t(values.size()) / inputs;
  const auto pool = std::make_shared<ThreadPool>(num_threads);
  Program program(kernels, pool);
  const int floats = program.buffer(RowKind::kFloat, inputs), rows = program.buffer(RowKind::kQuantized, inputs);
  const int logits = program.buffer(RowKind::kFloat, columns), highest = program.buffer(RowKind::kFloat, 1);
  program.gather(floats);
  program.convert(floats, 0, rows);
  program.matmul(rows, head, nullptr, Epilogue::kStore, logits, 0);
  program.highest(rows, std::make_shared<const SplitHead>(head, *pool), highest);
  std::vector<int64_t> all(static_cast<size_t>(count));
  for (int64_t row = 0; row < count; ++row) all[size_t(row)] = row;
  Program::Inputs step;
  step.rows.num_rows = count;
  step.gathered = values.data();
  step.gathered_rows = all.data();
  step.gathered_count = count;
  step.gathered_size = inputs;
  program.run(step);
  std::vector<float> result(program.values(highest), program.values(highest) + count);
  for (int64_t row = 0; row < count; ++row) {
    const float* of_row = program.values(logits) + row * columns;
    result.push_back(float(std::max_element(of_row, of_row + columns) - of_row));
  }
  return result;
}

}  // namespace

void highest(const KernelTable& kernels, Random& random) {
  const int64_t inputs = 32 * random.integer(1, 20), columns = random.integer(1, 900), count = random.integer(1, 4);
  const auto head = std::make_shared<WeightStorage>(format_of(GgufType::kQ8_0), inputs, columns);
  // Few different ones, so that there are equals.
  const int64_t different = random.chance(0.5) ? columns : random.integer(1, columns);
  const std::vector<uint8_t> rows = random.checkpoint_rows(GgufType::kQ8_0, different, inputs);
  const size_t row_bytes = rows.size() / size_t(different);
  for (int64_t column = 0; column < columns; ++column)
    head->put(GgufType::kQ8_0, &rows[size_t(column % different) * row_bytes], row_bytes, 1, column);
  const std::vector<float> values = random.normals(count * inputs);
  const std::vector<float> results = found(kernels, 1, head, values);
  require_same_bits(std::vector<float>(results.begin(), results.begin() + count),
                    std::vector<float>(results.begin() + count, results.end()), "searching the highest logit");
  require_same_bits(results, found(kernels, 3, head, values), "searching on three threads");
}

}  // namespace sgl::exercise
