// Aligned, pooled, reference-counted memory: after the first step of a training loop every request is served from
// a free list, so that a steady-state step does without heap allocation.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace spnet {
inline namespace v0 {

/// Every block begins on a cache line, which is also the widest vector register.
inline constexpr std::size_t kAlignment = 64;

/// A caching allocator: freed blocks wait in a list per size class and are handed out again.
/// Size classes are eighths of a power of two (at most 12.5 % slack). Thread-safe.
class MemoryPool {
 public:
  struct Statistics {
    std::size_t heap_allocations = 0;  ///< blocks ever asked of the system
    std::size_t reserved_bytes = 0;    ///< held by the pool, in use or waiting
    std::size_t used_bytes = 0;        ///< handed out now
    std::size_t peak_used_bytes = 0;
  };

  /// The pool that tensors and the tape share; never destroyed, so that static tensors may outlive main().
  static MemoryPool& global() {
    static MemoryPool* pool = new MemoryPool;
    return *pool;
  }

  /// Returns at least `bytes` bytes aligned to kAlignment; throws std::bad_alloc when the system has none.
  void* allocate(std::size_t bytes) {
    const std::size_t index = class_of(bytes);
    const std::size_t size = size_of(index);
    std::lock_guard lock(mutex_);
    statistics_.used_bytes += size;
    if (statistics_.used_bytes > statistics_.peak_used_bytes) statistics_.peak_used_bytes = statistics_.used_bytes;
    if (FreeBlock* block = free_[index]) {
      free_[index] = block->next;
      return block;
    }
    void* block = from_system(size);
    if (!block) {
      statistics_.used_bytes -= size;
      throw std::bad_alloc();
    }
    ++statistics_.heap_allocations;
    statistics_.reserved_bytes += size;
    return block;
  }

  /// Takes back a block of `allocate(bytes)`.
  void release(void* block, std::size_t bytes) noexcept {
    const std::size_t index = class_of(bytes);
    std::lock_guard lock(mutex_);
    statistics_.used_bytes -= size_of(index);
    auto* free_block = static_cast<FreeBlock*>(block);
    free_block->next = free_[index];
    free_[index] = free_block;
  }

  /// Gives waiting blocks back to the system, the largest first, until no more than `keep` bytes wait.
  void trim(std::size_t keep = 0) noexcept {
    std::lock_guard lock(mutex_);
    for (std::size_t index = free_.size(); index-- > 0;) {
      while (FreeBlock* block = free_[index]) {
        if (statistics_.reserved_bytes - statistics_.used_bytes <= keep) return;
        free_[index] = block->next;
        statistics_.reserved_bytes -= size_of(index);
        std::free(block);
      }
    }
  }

  Statistics statistics() const {
    std::lock_guard lock(mutex_);
    return statistics_;
  }

 private:
  struct FreeBlock {
    FreeBlock* next;
  };

  // Large blocks in huge pages where the system has them: fewer addresses to translate, and the same speed from run to run,
  // wherever small pages would have come to lie.
  static void* from_system(std::size_t size) noexcept {
#if defined(__linux__)
    constexpr std::size_t kHugePage = std::size_t{1} << 21;
    if (size >= kHugePage) {
      const std::size_t whole = size / kHugePage * kHugePage;
      void* const block = std::aligned_alloc(kHugePage, whole == size ? size : whole + kHugePage);
      if (block) static_cast<void>(madvise(block, whole, MADV_HUGEPAGE));
      return block;
    }
#endif
    return std::aligned_alloc(kAlignment, size);
  }

  // Class 8·e + f holds blocks of (8 + f)/8 · 64 · 2^e bytes.
  static std::size_t class_of(std::size_t bytes) {
    if (bytes > (std::size_t{1} << 46)) throw std::bad_alloc();
    const std::size_t lines = bytes == 0 ? 1 : (bytes + kAlignment - 1) / kAlignment;
    const std::size_t octave = static_cast<std::size_t>(std::bit_width(lines)) - 1;
    const std::size_t base = std::size_t{1} << octave;
    const std::size_t eighth = ((lines - base) * 8 + base - 1) / base;
    return 8 * octave + eighth;
  }
  static std::size_t size_of(std::size_t index) {
    const std::size_t base = std::size_t{1} << (index / 8);
    return (base + (base * (index % 8) + 7) / 8) * kAlignment;
  }

  mutable std::mutex mutex_;
  std::array<FreeBlock*, 8 * 42> free_{};
  Statistics statistics_;
};

/// Standard-library allocator over the global pool.
template <class T>
struct PoolAllocator {
  using value_type = T;
  PoolAllocator() = default;
  template <class U>
  PoolAllocator(const PoolAllocator<U>&) noexcept {}
  T* allocate(std::size_t count) { return static_cast<T*>(MemoryPool::global().allocate(count * sizeof(T))); }
  void deallocate(T* block, std::size_t count) noexcept { MemoryPool::global().release(block, count * sizeof(T)); }
  template <class U>
  bool operator==(const PoolAllocator<U>&) const noexcept {
    return true;
  }
};

/// Shared ownership of one pooled block; copying counts a reference and copies no bytes.
class Buffer {
 public:
  Buffer() = default;
  /// Throws std::bad_alloc when the system has no such block.
  explicit Buffer(std::size_t bytes)
      : control_(new (MemoryPool::global().allocate(with_header(bytes))) Control{{1}, bytes}) {}
  Buffer(const Buffer& other) noexcept : control_(other.control_) {
    if (control_) control_->references.fetch_add(1, std::memory_order_relaxed);
  }
  Buffer(Buffer&& other) noexcept : control_(std::exchange(other.control_, nullptr)) {}
  Buffer& operator=(Buffer other) noexcept {
    std::swap(control_, other.control_);
    return *this;
  }
  ~Buffer() {
    if (control_ && control_->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
      MemoryPool::global().release(control_, with_header(control_->bytes));
  }

  explicit operator bool() const { return control_ != nullptr; }
  void* data() const { return control_ ? reinterpret_cast<std::byte*>(control_) + kAlignment : nullptr; }
  std::size_t size_bytes() const { return control_ ? control_->bytes : 0; }
  /// True when no other Buffer shares the block, so that it may be written in place.
  bool unique() const { return control_ && control_->references.load(std::memory_order_acquire) == 1; }

 private:
  // The count sits in the cache line before the data, so that one allocation serves both.
  struct Control {
    std::atomic<std::int64_t> references;
    std::size_t bytes;
  };
  static_assert(sizeof(Control) <= kAlignment);
  // Sizes near 2^64 must not wrap around to small ones; the pool refuses them.
  static std::size_t with_header(std::size_t bytes) { return bytes + kAlignment < bytes ? bytes : bytes + kAlignment; }
  Control* control_ = nullptr;
};

}  // namespace v0
}  // namespace spnet
