// The number of calls of `operator new`, in programs that link counted_news.cpp.
#pragma once

#include <atomic>
#include <cstdint>

namespace spnet::test {
extern std::atomic<std::int64_t> news;
}
