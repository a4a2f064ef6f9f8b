#include "thread_pool.h"

#include <sched.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sgl {

namespace {

constexpr int kSpins = 2000;  // some 50 microseconds; a thread that waits longer has a neighbour on its core

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) : num_threads_(num_threads < 1 ? 1 : num_threads) {
  for (int thread = 1; thread < num_threads_; ++thread) workers_.emplace_back([this, thread] { work(thread); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run_region(const std::function<void(int)>& body) {
  std::lock_guard<std::mutex> one_region(region_mutex_);
  if (num_threads_ > 1) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      body_ = &body;
      ++region_;
    }
    wake_.notify_all();
  }
  body(0);
  wait();
}

void ThreadPool::work(int thread) {
  uint64_t seen = 0;
  for (;;) {
    const std::function<void(int)>* body;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || region_ != seen; });
      if (stopping_) return;
      seen = region_;
      body = body_;
    }
    (*body)(thread);
    wait();
  }
}

void ThreadPool::wait() {
  const uint32_t generation = generation_.load(std::memory_order_relaxed);
  if (num_waiting_.fetch_add(1, std::memory_order_acq_rel) == num_threads_ - 1) {
    next_.store(0, std::memory_order_relaxed);
    num_waiting_.store(0, std::memory_order_relaxed);
    generation_.store(generation + 1, std::memory_order_release);
    return;
  }
  for (int spins = 0; generation_.load(std::memory_order_acquire) == generation; ++spins) {
    if (spins < kSpins)
      relax();
    else
      sched_yield();
  }
}

}  // namespace sgl
