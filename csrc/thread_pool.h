// The threads that compute a step together.
//
// `run` enters one parallel region: the calling thread is thread 0, the others are woken from sleep and go back to it
// soon after the region ends, so an idle engine uses no processor time. Inside a region all threads call `for_each` and
// `wait` in the same order; they spin there, briefly, and then sleep.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sgl {

class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  // Calls body(thread) on every thread at once and returns when all have returned. One region at a time; `body` must not
  // throw. Any thread may call it.
  template <class Body>
  void run(Body&& body) {
    run_region(std::function<void(int)>([&body](int thread) { body(thread); }));
  }

  // In a region, called by all threads: calls body(begin, end) on parts of [0, count) of about `grain` each, which are
  // handed out as threads become free, and returns when all are done.
  template <class Body>
  void for_each(int64_t count, int64_t grain, Body&& body) {
    for (;;) {
      const int64_t begin = next_.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= count) break;
      body(begin, begin + grain < count ? begin + grain : count);
    }
    wait();
  }

  // In a region: returns when all threads have called it. What any of them wrote before is visible to all after it.
  void wait();

 private:
  void run_region(const std::function<void(int)>& body);
  void work(int thread);

  const int num_threads_;
  alignas(64) std::atomic<int64_t> next_{0};  // first part not handed out yet; set to 0 by the last to arrive
  alignas(64) std::atomic<int> num_waiting_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};  // counts completed waits
  alignas(64) std::atomic<uint64_t> region_{0};      // counts regions; changes under mutex_
  alignas(64) std::atomic<int> num_asleep_{0};       // in `wait`
  std::mutex mutex_, region_mutex_;
  std::condition_variable wake_, all_here_;
  const std::function<void(int)>* body_ = nullptr;  // guarded by mutex_
  bool stopping_ = false;                           // guarded by mutex_
  std::vector<std::thread> workers_;
};

}  // namespace sgl
