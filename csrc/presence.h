// Whether a thread that works with others is a help to them or, because other programs take its processor, a burden.
#pragma once

#include <chrono>

namespace sgl {

// Used by the thread that it speaks of.
class Presence {
 public:
  using Clock = std::chrono::steady_clock;
  using Duration = Clock::duration;

  // The thread begins, or goes on, to work; what was before does not count.
  void begin();

  // To be called every now and then while it works. Returns whether kWindow of work has passed since it last did; if so,
  // `loss` is of that.
  bool look();

  // The part of the window's time in which the thread, though it had work, had no processor.
  float loss() const { return loss_; }

  // Whether a pool of `num_threads` is faster without the thread, as `loss` and that of the thread that never leaves let
  // expect. If so, it should stay away until `away_until`: each time in a row for twice as long.
  bool is_a_burden(int num_threads, float loss_of_caller);

  Clock::time_point away_until() const { return away_until_; }

 private:
  static constexpr Duration kLook = std::chrono::microseconds(500);  // asking for processor time takes a system call
  static constexpr Duration kWindow = std::chrono::milliseconds(10);
  static constexpr Duration kShortest = std::chrono::milliseconds(5), kLongest = std::chrono::milliseconds(160);

  Clock::time_point since_, away_until_;
  Duration processor_since_{0}, worked_{0}, lost_{0}, absence_ = kShortest;
  float loss_ = 0;
};

}  // namespace sgl
