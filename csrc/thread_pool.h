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

constexpr auto no_idle_work = [] { return false; };

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

  // In a region, called by all threads with the number that `run` gave them: calls body(begin, end) on parts of
  // [0, count) of at most `grain` each and returns when all are done. A thread takes the parts of its own share, see
  // `share`, then what is left of the others'. While it waits for others it calls idle() until that returns false.
  template <class Body, class Idle>
  void for_each(int thread, int64_t count, int64_t grain, Body&& body, Idle&& idle) {
    for (int offset = 0; offset < num_threads_; ++offset) {
      const int owner = (thread + offset) % num_threads_;
      const int64_t first = share(owner, count), end = share(owner + 1, count);
      for (;;) {
        const int64_t begin = first + taken_[size_t(owner)].count.fetch_add(grain, std::memory_order_relaxed);
        if (begin >= end) break;
        body(begin, begin + grain < end ? begin + grain : end);
      }
    }
    wait(idle);
  }

  // Where thread `thread`'s share of [0, count) begins.
  int64_t share(int thread, int64_t count) const { return count * thread / num_threads_; }

  // In a region: returns when all threads have called it. What any of them wrote before is visible to all after it.
  template <class Idle>
  void wait(Idle&& idle) {
    const uint32_t generation = generation_.load(std::memory_order_relaxed);
    if (arrive(generation)) return;
    while (idle())
      if (generation_.load(std::memory_order_acquire) != generation) return;
    wait_for_others(generation);
  }

 private:
  void run_region(const std::function<void(int)>& body);
  void work(int thread);
  bool arrive(uint32_t generation);  // whether the caller is the last
  void wait_for_others(uint32_t generation);

  // How much of a thread's share is handed out, by itself or to others; set to 0 by the last to arrive.
  struct alignas(64) Taken {
    std::atomic<int64_t> count{0};
  };

  const int num_threads_;
  std::vector<Taken> taken_;
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
