#include "spnet/core/parallel.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace spnet;

namespace {
struct ThreadsGuard {
  explicit ThreadsGuard(int threads) { set_num_threads(threads); }
  ~ThreadsGuard() { set_num_threads(0); }
};
}  // namespace

TEST_CASE("core: every chunk runs once, whatever the number of threads") {
  for (int threads : {1, 2, 3, 8}) {
    const ThreadsGuard guard(threads);
    for (std::int64_t chunks : {0, 1, 2, 7, 100}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(chunks));
      parallel_for(chunks, [&](std::int64_t chunk) { ++runs[static_cast<std::size_t>(chunk)]; });
      int wrong = 0;
      for (const auto& count : runs) wrong += count != 1;
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("core: ranges cover the items without overlap, the last may be short") {
  const ThreadsGuard guard(2);
  std::vector<std::atomic<int>> seen(103);
  std::atomic<int> longest{0};
  parallel_ranges(103, 10, [&](std::int64_t begin, std::int64_t end) {
    if (begin % 10 != 0 || end <= begin) longest = 1000;
    for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
    if (end - begin > longest) longest = static_cast<int>(end - begin);
  });
  int wrong = 0;
  for (const auto& count : seen) wrong += count != 1;
  CHECK(wrong == 0);
  CHECK(longest == 10);
  parallel_ranges(0, 10, [&](std::int64_t, std::int64_t) { longest = 1000; });
  CHECK(longest == 10);
}

TEST_CASE("core: a loop's scratch is one thread's alone, aligned, and asked for before the loop") {
  for (int threads : {1, 2, 4}) {
    const ThreadsGuard guard(threads);
    std::atomic<int> wrong{0};
    const auto heap_allocations = [] { return MemoryPool::global().statistics().heap_allocations; };
    std::size_t first = 0;
    for (int round = 0; round < 20; ++round) {
      parallel_for_scratch<std::int32_t>(50, 1001, [&](std::int64_t chunk, std::int32_t* scratch) {
        if (reinterpret_cast<std::uintptr_t>(scratch) % kAlignment != 0) ++wrong;
        for (int i = 0; i < 1001; ++i) scratch[i] = static_cast<std::int32_t>(chunk);
        std::this_thread::yield();
        for (int i = 0; i < 1001; ++i) wrong += scratch[i] != chunk;
      });
      if (round == 0) first = heap_allocations();
    }
    CHECK(wrong == 0);
    CHECK(heap_allocations() == first);
  }
}

TEST_CASE("core: chunk counts round up") {
  CHECK(chunk_count(0, 4) == 0);
  CHECK(chunk_count(1, 4) == 1);
  CHECK(chunk_count(4, 4) == 1);
  CHECK(chunk_count(5, 4) == 2);
}

TEST_CASE("core: a chunk's exception arrives at the caller, and loops go on working") {
  for (int threads : {1, 2, 4}) {
    const ThreadsGuard guard(threads);
    CHECK_THROWS_WITH_AS(parallel_for(50,
                                      [](std::int64_t chunk) {
                                        if (chunk == 17) throw ValueError("chunk 17");
                                      }),
                         "chunk 17", ValueError);
    CHECK_THROWS_AS(parallel_for(50, [](std::int64_t) { throw std::runtime_error("all of them"); }), std::runtime_error);
    std::atomic<int> runs{0};
    parallel_for(50, [&](std::int64_t) { ++runs; });
    CHECK(runs == 50);
  }
}

TEST_CASE("core: nested loops run every inner chunk") {
  const ThreadsGuard guard(2);
  std::atomic<int> runs{0};
  parallel_for(6, [&](std::int64_t) { parallel_for(5, [&](std::int64_t) { ++runs; }); });
  CHECK(runs == 30);
}

TEST_CASE("core: sums by chunk have the same bits for any number of threads") {
  auto sum = [](int threads) {
    const ThreadsGuard guard(threads);
    constexpr std::int64_t kCount = 10000, kSize = 64;
    std::vector<float> partial(static_cast<std::size_t>(chunk_count(kCount, kSize)));
    parallel_ranges(kCount, kSize, [&](std::int64_t begin, std::int64_t end) {
      float total = 0;
      for (std::int64_t i = begin; i < end; ++i) total += 1.0f / static_cast<float>(i + 1);
      partial[static_cast<std::size_t>(begin / kSize)] = total;
    });
    float total = 0;
    for (float value : partial) total += value;
    return total;
  };
  const float alone = sum(1);
  CHECK(alone == doctest::Approx(9.7876));
  for (int threads : {2, 3, 8}) CHECK(sum(threads) == alone);
}

TEST_CASE("core: the number of threads is checked, and belongs to the calling thread") {
  CHECK(num_threads() >= 1);
  CHECK_THROWS_WITH_AS(set_num_threads(-1), "set_num_threads: -1 given, expected 0 to 1024", ValueError);
  CHECK_THROWS_AS(set_num_threads(1025), ValueError);
#ifdef _OPENMP
  const ThreadsGuard guard(3);
  CHECK(num_threads() == 3);
  int elsewhere = 0;
  std::thread([&] {
    set_num_threads(5);
    elsewhere = num_threads();
  }).join();
  CHECK(elsewhere == 5);
  CHECK(num_threads() == 3);
#else
  CHECK(num_threads() == 1);
#endif
}

TEST_CASE("core: loops may be started from several threads at once") {
  std::atomic<int> runs{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      set_num_threads(2);
      for (int i = 0; i < 20; ++i) parallel_for(10, [&](std::int64_t) { ++runs; });
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(runs == 600);
}
