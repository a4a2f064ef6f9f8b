#include "thread_pool.h"

#include <chrono>

namespace sgl {

namespace {

using Clock = std::chrono::steady_clock;

// Longer than threads that all have a core wait for each other. Who waits longer has a neighbour who took a core: asleep,
// it leaves its own core to the thread that it waits for.
constexpr std::chrono::microseconds kSpinInRegion{40};
// Long enough to reach from one region of a step to the next.
constexpr std::chrono::microseconds kSpinAfterRegion{60};

// Checks until the condition holds or the time is over; returns whether it holds. Without the processor's pause
// instruction: on virtual machines a loop of them is taken for a stuck processor and interrupted.
template <class Condition>
bool spin(std::chrono::microseconds time, const Condition& condition) {
  const Clock::time_point end = Clock::now() + time;
  do {
    for (int check = 0; check < 64; ++check)
      if (condition()) return true;
  } while (Clock::now() < end);
  return condition();
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) : num_threads_(num_threads < 1 ? 1 : num_threads), taken_(size_t(num_threads_)) {
  for (int thread = 1; thread < num_threads_; ++thread) workers_.emplace_back([this, thread] { work(thread); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    region_.fetch_add(1);
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
      region_.fetch_add(1);
    }
    wake_.notify_all();
  }
  body(0);
  wait(no_idle_work);
}

void ThreadPool::work(int thread) {
  uint64_t seen = 0;
  const auto is_called = [&] { return region_.load(std::memory_order_relaxed) != seen; };
  for (;;) {
    spin(kSpinAfterRegion, is_called);
    const std::function<void(int)>* body;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, is_called);
      if (stopping_) return;
      seen = region_.load();
      body = body_;
    }
    (*body)(thread);
    wait(no_idle_work);
  }
}

bool ThreadPool::arrive(uint32_t generation) {
  if (num_waiting_.fetch_add(1, std::memory_order_acq_rel) < num_threads_ - 1) return false;
  for (Taken& taken : taken_) taken.count.store(0, std::memory_order_relaxed);
  num_waiting_.store(0, std::memory_order_relaxed);
  generation_.store(generation + 1);
  if (num_asleep_.load() > 0) {  // either this sees who goes to sleep, or that one sees the new generation
    { std::lock_guard<std::mutex> lock(mutex_); }
    all_here_.notify_all();
  }
  return true;
}

void ThreadPool::wait_for_others(uint32_t generation) {
  if (spin(kSpinInRegion, [&] { return generation_.load(std::memory_order_acquire) != generation; })) return;
  std::unique_lock<std::mutex> lock(mutex_);
  num_asleep_.fetch_add(1);
  all_here_.wait(lock, [&] { return generation_.load() != generation; });
  num_asleep_.fetch_sub(1);
}

}  // namespace sgl
