#include "thread_pool.h"

#include <thread>

#include "exercise.h"

namespace sgl::exercise {

namespace {

// Regions in which every thread reads what others wrote before the last wait.
void sum_in_regions(ThreadPool& pool, int64_t count, int64_t grain, int regions) {
  std::vector<int64_t> values(static_cast<size_t>(count)), doubled(values.size());
  for (int region = 0; region < regions; ++region) {
    const auto fill = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) values[size_t(i)] = i + region;
    };
    const auto mirror = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) doubled[size_t(i)] = 2 * values[size_t(count - 1 - i)];
    };
    pool.run([&](int thread) {
      int idle_work_left = thread;
      return pool.for_each(thread, count, grain, fill, [&] { return --idle_work_left > 0; }) &&
             pool.for_each(thread, count, grain, mirror, no_idle_work);
    });
    for (int64_t i = 0; i < count; ++i)
      require(doubled[size_t(i)] == 2 * (count - 1 - i + region), "a part was not computed");
  }
}

// More threads than there are processors: some join late, are put to sleep, sent away for a while, come back.
void crowd(Random& random) {
  ThreadPool pool(int(random.integer(5, 12)));
  std::vector<int64_t> sums(64);
  const auto add = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t term = 0; term < 20000; ++term) sums[size_t(i)] += term ^ i;
  };
  for (int region = 0; region < 3; ++region)
    pool.run([&](int thread) {
      for (int phase = 0; phase < 100; ++phase)
        if (!pool.for_each(thread, int64_t(sums.size()), 1, add, no_idle_work)) return;
    });
  std::vector<int64_t> expected(sums.size());
  expected.swap(sums);
  for (int phase = 0; phase < 300; ++phase) add(0, int64_t(sums.size()));
  require(sums == expected, "a part was computed twice, or not at all");
}

}  // namespace

void thread_pool(Random& random) {
  crowd(random);
  ThreadPool pool(int(random.integer(1, 4)));
  const int64_t count = random.integer(0, 100), grain = random.integer(1, 10);
  sum_in_regions(pool, count, grain, 20);
  std::exception_ptr failure;
  std::thread other([&] {
    try {
      sum_in_regions(pool, count, grain, 20);
    } catch (const std::exception&) {
      failure = std::current_exception();
    }
  });
  sum_in_regions(pool, count, grain, 20);
  other.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace sgl::exercise
