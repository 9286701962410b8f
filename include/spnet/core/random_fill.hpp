// Many random numbers at once, on several threads: the same as one after another.
#pragma once

#include <cstdint>
#include <span>

#include "spnet/core/parallel.hpp"
#include "spnet/core/random.hpp"

namespace spnet {
inline namespace v0 {

/// values[i] = draw(random) for one value after another, each of which takes `words` of the stream.
template <class T, class Draw>
void fill_random(std::span<T> values, Random& random, std::uint64_t words, const Draw& draw) {
  constexpr std::int64_t kChunk = 4096;
  const std::uint64_t begin = random.position();
  parallel_ranges(std::ssize(values), kChunk, [&](std::int64_t first, std::int64_t last) {
    Random own(random.seed(), random.stream(), begin + words * static_cast<std::uint64_t>(first));
    for (T& value : values.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(last - first)))
      value = draw(own);
  });
  random.seek(begin + words * values.size());
}

/// Standard normal values, as Random::normal draws them.
inline void fill_normal(std::span<float> values, Random& random, float deviation = 1) {
  fill_random(values, random, 2, [deviation](Random& r) { return deviation * r.normal(); });
}

}  // namespace v0
}  // namespace spnet
