#include "spnet/runtime/memory_plan.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "spnet/core/random.hpp"

using namespace spnet;

TEST_CASE("memory_plan: what does not live at the same time shares memory") {
  const std::vector<runtime::Lifetime> chain{{1000, 0, 1}, {1000, 1, 2}, {1000, 2, 3}, {1000, 3, 4}};
  const auto plan = runtime::plan_memory(chain);
  CHECK(plan.bytes == 2024);
  CHECK(plan.offsets[0] == plan.offsets[2]);
}

TEST_CASE("memory_plan: what lives at the same time never overlaps, and the plan is near the least that it could be") {
  Random random(3);
  for (int round = 0; round < 50; ++round) {
    std::vector<runtime::Lifetime> buffers(static_cast<std::size_t>(1 + random.below(40)));
    std::vector<std::int64_t> alive(60);
    for (auto& b : buffers) {
      b.bytes = static_cast<std::int64_t>(random.below(5000));
      b.first = static_cast<std::int64_t>(random.below(50));
      b.last = b.first + static_cast<std::int64_t>(random.below(8));
      for (std::int64_t t = b.first; t <= b.last; ++t) alive[static_cast<std::size_t>(t)] += b.bytes + 64;
    }
    const auto plan = runtime::plan_memory(buffers);
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      CHECK(plan.offsets[i] % static_cast<std::int64_t>(kAlignment) == 0);
      CHECK(plan.offsets[i] + buffers[i].bytes <= plan.bytes);
      for (std::size_t j = 0; j < i; ++j)
        if (buffers[i].meets(buffers[j]))
          CHECK((plan.offsets[i] + buffers[i].bytes <= plan.offsets[j] ||
                 plan.offsets[j] + buffers[j].bytes <= plan.offsets[i]));
    }
    CHECK(plan.bytes <= 2 * *std::max_element(alive.begin(), alive.end()));
  }
}
