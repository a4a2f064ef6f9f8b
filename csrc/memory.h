// Large buffers: aligned, zeroed by the system, and costing nothing until touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include <sys/mman.h>

namespace sgl {

class Pages {
 public:
  // Huge pages make streaming faster; small ones are taken one by one as they are written.
  enum class Size { kHuge, kSmall };

  Pages() = default;
  Pages(size_t size, Size pages) : size_(size) {
    if (size == 0) return;
    const size_t rounded = (size + kHuge - 1) / kHuge * kHuge;  // a huge page is given only where all of it is asked for
    reserved_ = rounded + kHuge;
    void* start = mmap(nullptr, reserved_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) throw std::bad_alloc();
    start_ = static_cast<uint8_t*>(start);
    data_ = start_ + (kHuge - reinterpret_cast<uintptr_t>(start_) % kHuge) % kHuge;
#if defined(MADV_HUGEPAGE)
    // A hint: if it is refused, nothing changes.
    madvise(data_, rounded, pages == Size::kHuge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
#else
    (void)pages;
#endif
  }
  ~Pages() {
    if (start_ != nullptr) munmap(start_, reserved_);
  }
  Pages(Pages&& other) noexcept { swap(other); }
  Pages& operator=(Pages&& other) noexcept {
    swap(other);
    return *this;
  }

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  static constexpr size_t kHuge = size_t(2) << 20;

  void swap(Pages& other) noexcept {
    std::swap(start_, other.start_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(reserved_, other.reserved_);
  }

  uint8_t* start_ = nullptr;
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  size_t reserved_ = 0;
};

// Pieces of shared huge pages, for what is smaller than one. A piece lives as long as its pointer.
class Arena {
 public:
  // `size` bytes, 64-byte aligned, zero. Thread-safe.
  std::shared_ptr<uint8_t> allocate(size_t size) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const size_t rounded = (size + 63) / 64 * 64;
    if (chunk_ == nullptr || used_ + rounded > chunk_->size()) {
      chunk_ = std::make_shared<Pages>(rounded > kChunk ? rounded : kChunk, Pages::Size::kHuge);
      used_ = 0;
    }
    uint8_t* start = chunk_->data() + used_;
    used_ += rounded;
    return std::shared_ptr<uint8_t>(chunk_, start);
  }

 private:
  static constexpr size_t kChunk = size_t(16) << 20;

  std::mutex mutex_;
  std::shared_ptr<Pages> chunk_;
  size_t used_ = 0;
};

}  // namespace sgl
