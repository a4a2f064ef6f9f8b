// The threads that compute a step together.
//
// `run` opens a region: a series of phases, in each of which the threads share out one amount of work. The calling
// thread is thread 0 and takes part throughout; the others join and leave. No phase waits for a thread that holds none of
// its work, so one that wakes late, or whose processor another program took, costs the others no more than the part in its
// hands, and at the end of the region what it needs to leave. A thread that keeps losing its processor stays away for a
// while. The others sleep soon after a region, so an idle engine uses no processor time.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "presence.h"

namespace sgl {

constexpr auto no_idle_work = [] { return false; };

class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  // Calls body(thread) on the calling thread and on those others that come before it has returned, and returns when none is
  // in it. So whatever must be done belongs into a `for_each`, and every call of body goes through the same of them in one
  // order. One region at a time; `body` must not throw. Any thread may call it.
  template <class Body>
  void run(Body&& body) {
    run_region(std::function<void(int)>([&body](int thread) { body(thread); }));
  }

  // In a region, with the number that `run` gave the thread: a phase. Calls body(begin, end) on parts of [0, count) of at most
  // `grain` each and returns when all are done, by whichever threads; what they wrote is visible then. A thread takes the
  // parts of its own share, see `share`, then what is left of the others'. While it waits for others it calls idle() until
  // that returns false. Returns false to a thread that left the region: it must return from the region's body at once and
  // touch nothing that belongs to the region. Thread 0 never does.
  template <class Body, class Idle>
  [[nodiscard]] bool for_each(int thread, int64_t count, int64_t grain, Body&& body, Idle&& idle) {
    if (count <= 0) return true;
    const uint32_t phase = members_[size_t(thread)].phase++;
    int64_t done = 0;
    for (int offset = 0; offset < num_threads_; ++offset) {
      const int owner = (thread + offset) % num_threads_;
      const int64_t first = share(owner, count), size = share(owner + 1, count) - first;
      for (int64_t begin; (begin = take(owner, phase, grain, size)) < size;) {
        const int64_t end = std::min(begin + grain, size);
        body(first + begin, first + end);
        done += end - begin;
      }
    }
    if (done > 0 && num_done_.fetch_add(done, std::memory_order_acq_rel) + done == count) {
      begin_phase(phase + 1);
      return stays(thread, phase);
    }
    while (idle())
      if (is_over(phase)) return stays(thread, phase);
    return wait(thread, phase);
  }

  // Where thread `thread`'s share of [0, count) begins.
  int64_t share(int thread, int64_t count) const { return count * thread / num_threads_; }

 private:
  // How much of a thread's share is taken, by itself or by others: the phase in the high half, so that a thread that comes
  // out of an earlier phase takes nothing of this one.
  struct alignas(64) Taken {
    std::atomic<uint64_t> count{0};
  };

  // What belongs to one thread alone.
  struct alignas(64) Member {
    uint32_t phase = 0;   // the next to take part in
    uint64_t region = 0;  // the last one joined; 0: may come back to it
    bool is_inside = false;
    Presence presence;
  };

  // Takes the next `grain` of owner's share of `size` and returns where they begin: `size` if nothing is left, or the phase
  // is over.
  int64_t take(int owner, uint32_t phase, int64_t grain, int64_t size) {
    std::atomic<uint64_t>& count = taken_[size_t(owner)].count;
    uint64_t taken = count.load(std::memory_order_relaxed);
    do {
      if (uint32_t(taken >> 32) != phase || int64_t(uint32_t(taken)) >= size) return size;
    } while (!count.compare_exchange_weak(taken, taken + uint64_t(std::min(grain, size)), std::memory_order_relaxed));
    return int64_t(uint32_t(taken));
  }

  bool is_over(uint32_t phase) const { return phase_.load(std::memory_order_acquire) != phase; }

  // Whether the thread, now that the phase is over, goes on to the next. Seldom looked at closely: that takes the time.
  bool stays(int thread, uint32_t phase) {
    return phase % kPhasesPerLook != 0 || !members_[size_t(thread)].presence.look() || is_of_use(thread);
  }

  void run_region(const std::function<void(int)>& body);
  void work(int thread);
  const std::function<void(int)>* join(int thread);  // null when the pool is about to end
  void begin_phase(uint32_t phase);
  bool wait(int thread, uint32_t phase);
  bool is_of_use(int thread);
  void enter(Member* member);
  void leave(Member* member);
  template <class Condition>
  void sleep_until(std::unique_lock<std::mutex>* lock, const Condition& condition);
  void wake_sleepers();

  static constexpr uint32_t kPhasesPerLook = 16;

  const int num_threads_;
  std::vector<Taken> taken_;
  std::vector<Member> members_;
  alignas(64) std::atomic<int64_t> num_done_{0};  // of the phase's work
  alignas(64) std::atomic<uint32_t> phase_{0};    // counts phases, over all regions
  alignas(64) std::atomic<uint64_t> region_{0};   // counts regions; changes under mutex_
  alignas(64) std::atomic<int> num_inside_{0};    // threads other than 0 in the region's body; grows under mutex_
  alignas(64) std::atomic<float> loss_of_caller_{0};
  alignas(64) std::atomic<int> num_asleep_{0};    // on news_; changes under mutex_
  std::mutex mutex_, region_mutex_;
  std::condition_variable wake_, news_, stop_;
  const std::function<void(int)>* body_ = nullptr;  // of the open region; guarded by mutex_, as are the next two
  uint32_t first_phase_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace sgl
