#include "spnet/core/memory.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <thread>
#include <vector>

using namespace spnet;

TEST_CASE("core: pool blocks are aligned and hold what was asked for") {
  MemoryPool pool;
  std::vector<std::pair<void*, std::size_t>> blocks;
  for (std::size_t bytes : {0u, 1u, 63u, 64u, 65u, 127u, 129u, 1000u, 4095u, 4097u, 100000u, 1u << 20}) {
    void* block = pool.allocate(bytes);
    CHECK(reinterpret_cast<std::uintptr_t>(block) % kAlignment == 0);
    std::memset(block, 0xAB, bytes);  // a sanitizer sees a class that is too small
    blocks.emplace_back(block, bytes);
  }
  for (auto [block, bytes] : blocks) pool.release(block, bytes);
  CHECK(pool.statistics().used_bytes == 0);
  pool.trim();
}

TEST_CASE("core: a size class wastes at most an eighth, and never less than was asked") {
  MemoryPool pool;
  std::size_t before = 0;
  int bad = 0;
  for (std::size_t lines = 8; lines < 5000; lines = lines + 1 + lines / 97) {
    const std::size_t bytes = lines * kAlignment;
    void* block = pool.allocate(bytes);
    const std::size_t size = pool.statistics().used_bytes - before;
    if (size < bytes || size > bytes + bytes / 8 + kAlignment) ++bad;
    pool.release(block, bytes);
    before = pool.statistics().used_bytes;
  }
  CHECK(bad == 0);
  pool.trim();
}

TEST_CASE("core: a released block is handed out again without the heap") {
  MemoryPool pool;
  void* first = pool.allocate(1000);
  pool.release(first, 1000);
  const auto cold = pool.statistics();
  CHECK(cold.heap_allocations == 1);
  CHECK(cold.reserved_bytes >= 1000);
  void* second = pool.allocate(990);  // the same class
  CHECK(second == first);
  CHECK(pool.statistics().heap_allocations == 1);
  CHECK(pool.statistics().used_bytes == cold.reserved_bytes);
  pool.release(second, 990);
  CHECK(pool.statistics().peak_used_bytes == cold.reserved_bytes);
  pool.trim();
  CHECK(pool.statistics().reserved_bytes == 0);
}

TEST_CASE("core: an absurd size throws bad_alloc and changes no statistics") {
  MemoryPool pool;
  CHECK_THROWS_AS(pool.allocate(std::size_t{1} << 60), std::bad_alloc);
  CHECK_THROWS_AS(pool.allocate(~std::size_t{0}), std::bad_alloc);
  CHECK(pool.statistics().used_bytes == 0);
  CHECK(pool.statistics().heap_allocations == 0);
}

TEST_CASE("core: the pool serves several threads") {
  MemoryPool pool;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&pool, t] {
      for (std::size_t i = 0; i < 500; ++i) {
        const std::size_t bytes = 64 + 37 * ((i + static_cast<std::size_t>(t)) % 50);
        void* block = pool.allocate(bytes);
        std::memset(block, t, bytes);
        pool.release(block, bytes);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(pool.statistics().used_bytes == 0);
  pool.trim();
}

TEST_CASE("core: buffers count their owners") {
  Buffer none;
  CHECK(!none);
  CHECK(none.data() == nullptr);
  CHECK(none.size_bytes() == 0);
  CHECK(!none.unique());

  const std::size_t used = MemoryPool::global().statistics().used_bytes;
  {
    Buffer a(100);
    CHECK(a.size_bytes() == 100);
    CHECK(a.unique());
    CHECK(reinterpret_cast<std::uintptr_t>(a.data()) % kAlignment == 0);
    Buffer b = a;
    CHECK(b.data() == a.data());
    CHECK(!a.unique());
    Buffer c = std::move(b);
    CHECK(!b);
    CHECK(c.data() == a.data());
    a = Buffer();
    CHECK(c.unique());
    Buffer& alias = c;
    c = alias;  // to itself
    CHECK(c.unique());
    CHECK(MemoryPool::global().statistics().used_bytes > used);
  }
  CHECK(MemoryPool::global().statistics().used_bytes == used);
}

TEST_CASE("core: an empty buffer is still a buffer") {
  Buffer empty(0);
  CHECK(empty);
  CHECK(empty.unique());
  CHECK(empty.size_bytes() == 0);
}

TEST_CASE("core: vectors over the pool give their memory back") {
  const std::size_t used = MemoryPool::global().statistics().used_bytes;
  {
    std::vector<int, PoolAllocator<int>> numbers;
    for (int i = 0; i < 1000; ++i) numbers.push_back(i);
    CHECK(numbers[999] == 999);
    CHECK(MemoryPool::global().statistics().used_bytes > used);
  }
  CHECK(MemoryPool::global().statistics().used_bytes == used);
}
