#include "presence.h"

#include <time.h>

#include <algorithm>

namespace sgl {

namespace {

std::chrono::nanoseconds processor_time() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace

void Presence::begin() {
  since_ = Clock::now();
  processor_since_ = processor_time();
}

bool Presence::look() {
  const Clock::time_point now = Clock::now();
  if (now - since_ < kLook) return false;
  const Duration processor = processor_time();
  worked_ += now - since_;
  lost_ += (now - since_) - (processor - processor_since_);
  since_ = now;
  processor_since_ = processor;
  if (worked_ < kWindow) return false;
  loss_ = float(lost_.count()) / float(worked_.count());
  worked_ = lost_ = Duration{0};
  return true;
}

// The thread adds one part in num_threads to what the caller has of its processor, and while it has none itself mostly holds
// up all of them. Not always, so that it is worth having until it loses two thirds of its part.
bool Presence::is_a_burden(int num_threads, float loss_of_caller) {
  const bool is_burden = 3 * float(num_threads) * (loss_ - loss_of_caller) > 2 * (1 - loss_of_caller);
  absence_ = is_burden ? std::min(2 * absence_, kLongest) : std::max(absence_ / 2, kShortest);
  if (is_burden) away_until_ = since_ + absence_;
  return is_burden;
}

}  // namespace sgl
