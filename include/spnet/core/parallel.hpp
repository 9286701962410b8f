// Parallel loops: the only file that knows OpenMP. Work is cut into chunks by size alone, never by the number of
// threads, so that a reduction done chunk by chunk has the same bits for any number of threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "spnet/core/error.hpp"
#include "spnet/core/memory.hpp"

namespace spnet {
inline namespace v0 {

namespace detail {
// 0: as many as the machine has. Per thread, so that sessions may each have their own.
inline thread_local int requested_threads = 0;
}  // namespace detail

/// Number of threads that parallel loops called from this thread use; at least 1.
inline int num_threads() {
#ifdef _OPENMP
  return detail::requested_threads > 0 ? detail::requested_threads : omp_get_num_procs();
#else
  return 1;
#endif
}

/// Sets the number of threads for loops called from this thread; 0 means one per processor. No result depends on it.
inline void set_num_threads(int threads) {
  check<ValueError>(threads >= 0 && threads <= 1024, "set_num_threads: ", threads, " given, expected 0 to 1024");
  detail::requested_threads = threads;
}

/// For as long as one lives, loops called from this thread use so many threads.
class ThreadCountGuard {
 public:
  explicit ThreadCountGuard(int threads) : before_(detail::requested_threads) { set_num_threads(threads); }
  ThreadCountGuard(const ThreadCountGuard&) = delete;
  ThreadCountGuard& operator=(const ThreadCountGuard&) = delete;
  ~ThreadCountGuard() { detail::requested_threads = before_; }

 private:
  int before_;
};

namespace detail {
/// Number of threads that a loop over `chunks` would use here; nested loops run in their caller.
inline int loop_threads(std::int64_t chunks) {
#ifdef _OPENMP
  if (!omp_in_parallel()) return static_cast<int>(std::clamp<std::int64_t>(chunks, 1, num_threads()));
#endif
  static_cast<void>(chunks);
  return 1;
}

/// Calls `body(chunk, thread)` with thread in [0, threads), where `threads` is loop_threads(chunks).
template <class Body>
void parallel_loop(std::int64_t chunks, [[maybe_unused]] int threads, const Body& body) {
#ifdef _OPENMP
  if (threads > 1) {
    std::exception_ptr error;
    std::atomic<bool> failed{false};
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
      if (failed.load(std::memory_order_relaxed)) continue;
      try {
        body(chunk, omp_get_thread_num());
      } catch (...) {
        if (!failed.exchange(true)) error = std::current_exception();
      }
    }
    if (error) std::rethrow_exception(error);
    return;
  }
#endif
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) body(chunk, 0);
}
}  // namespace detail

/// Calls `body(chunk)` for every chunk in [0, chunks), in any order, on several threads. The first exception thrown by
/// a chunk is rethrown here. With one thread or one chunk no parallel region is opened; nested calls run in the caller.
template <class Body>
void parallel_for(std::int64_t chunks, const Body& body) {
  detail::parallel_loop(chunks, detail::loop_threads(chunks), [&](std::int64_t chunk, int) { body(chunk); });
}

/// Calls `body(chunk, scratch)` as parallel_for does, where `scratch` is a cache-line-aligned array of `count` T that
/// no other thread uses; its contents are those of the chunk before. All of it is asked for before the loop, so that
/// what the loop needs does not hang on how the threads meet.
template <class T, class Body>
void parallel_for_scratch(std::int64_t chunks, std::int64_t count, const Body& body) {
  const int threads = detail::loop_threads(chunks);
  const std::size_t bytes = (static_cast<std::size_t>(count) * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  const Buffer buffer(bytes * static_cast<std::size_t>(threads));
  auto* const scratch = static_cast<std::byte*>(buffer.data());
  detail::parallel_loop(chunks, threads, [&](std::int64_t chunk, int thread) {
    body(chunk, reinterpret_cast<T*>(scratch + bytes * static_cast<std::size_t>(thread)));
  });
}

/// Number of chunks of `size` that cover `count` items.
constexpr std::int64_t chunk_count(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

/// Calls `body(begin, end)` over [0, count) in chunks of `size` (the last may be shorter), on several threads.
template <class Body>
void parallel_ranges(std::int64_t count, std::int64_t size, const Body& body) {
  parallel_for(chunk_count(count, size), [&](std::int64_t chunk) {
    body(chunk * size, std::min(count, (chunk + 1) * size));
  });
}

}  // namespace v0
}  // namespace spnet
