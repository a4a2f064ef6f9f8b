#include "thread_pool.h"

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

ThreadPool::ThreadPool(int num_threads)
    : num_threads_(num_threads < 1 ? 1 : num_threads), taken_(size_t(num_threads_)), members_(size_t(num_threads_)) {
  for (int thread = 1; thread < num_threads_; ++thread) workers_.emplace_back([this, thread] { work(thread); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    region_.fetch_add(1);
  }
  wake_.notify_all();
  stop_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run_region(const std::function<void(int)>& body) {
  std::lock_guard<std::mutex> one_region(region_mutex_);
  const uint32_t first_phase = phase_.load(std::memory_order_relaxed);
  members_[0].phase = first_phase;
  members_[0].presence.begin();
  if (num_threads_ > 1) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      body_ = &body;
      first_phase_ = first_phase;
      region_.fetch_add(1);
    }
    wake_.notify_all();
  }
  body(0);
  if (num_threads_ == 1) return;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    body_ = nullptr;
  }
  const auto is_alone = [&] { return num_inside_.load() == 0; };
  if (spin(kSpinInRegion, is_alone)) return;
  std::unique_lock<std::mutex> lock(mutex_);
  sleep_until(&lock, is_alone);
}

void ThreadPool::work(int thread) {
  while (const std::function<void(int)>* body = join(thread)) {
    (*body)(thread);
    leave(&members_[size_t(thread)]);
  }
}

const std::function<void(int)>* ThreadPool::join(int thread) {
  Member& member = members_[size_t(thread)];
  spin(kSpinAfterRegion, [&] { return region_.load(std::memory_order_relaxed) != member.region; });
  std::unique_lock<std::mutex> lock(mutex_);
  if (const Clock::time_point end = member.presence.away_until(); end > Clock::now())  // waiting for the past is slow, too
    stop_.wait_until(lock, end, [&] { return stopping_; });
  wake_.wait(lock, [&] { return stopping_ || (body_ != nullptr && region_ != member.region); });
  if (stopping_) return nullptr;
  member.region = region_;
  member.phase = first_phase_;
  enter(&member);
  return body_;
}

void ThreadPool::enter(Member* member) {
  member->is_inside = true;
  num_inside_.fetch_add(1);
  member->presence.begin();
}

void ThreadPool::leave(Member* member) {
  if (!member->is_inside) return;
  member->is_inside = false;
  num_inside_.fetch_sub(1);
  wake_sleepers();
}

void ThreadPool::begin_phase(uint32_t phase) {
  num_done_.store(0, std::memory_order_relaxed);
  for (Taken& taken : taken_) taken.count.store(uint64_t(phase) << 32, std::memory_order_relaxed);
  phase_.store(phase);
  wake_sleepers();
}

// Either this sees who goes to sleep, or that one sees what was changed before.
void ThreadPool::wake_sleepers() {
  if (num_asleep_.load() == 0) return;
  { std::lock_guard<std::mutex> lock(mutex_); }
  news_.notify_all();
}

template <class Condition>
void ThreadPool::sleep_until(std::unique_lock<std::mutex>* lock, const Condition& condition) {
  num_asleep_.fetch_add(1);
  news_.wait(*lock, condition);
  num_asleep_.fetch_sub(1);
}

bool ThreadPool::wait(int thread, uint32_t phase) {
  const auto is_over = [&] { return phase_.load() != phase; };
  if (spin(kSpinInRegion, is_over)) return stays(thread, phase);
  std::unique_lock<std::mutex> lock(mutex_);
  if (is_over()) return true;
  Member& member = members_[size_t(thread)];
  if (thread == 0) {
    sleep_until(&lock, is_over);
    member.presence.begin();
    return true;
  }
  member.is_inside = false;  // so that nobody waits for one who sleeps
  num_inside_.fetch_sub(1);
  sleep_until(&lock, is_over);
  if (body_ == nullptr || region_ != member.region) return false;
  enter(&member);
  return true;
}

bool ThreadPool::is_of_use(int thread) {
  Member& member = members_[size_t(thread)];
  if (thread == 0) loss_of_caller_.store(member.presence.loss(), std::memory_order_relaxed);
  if (thread == 0 || !member.presence.is_a_burden(num_threads_, loss_of_caller_.load(std::memory_order_relaxed))) return true;
  member.region = 0;
  return false;
}

}  // namespace sgl
