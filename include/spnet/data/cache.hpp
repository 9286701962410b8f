// Decoded images kept in memory, so that later epochs do not decode (or draw) them again.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/data/dataset.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

/// Another data set, whose images are kept after they are first read, up to `max_bytes` of pixels. What is kept is what
/// came first: nothing is thrown out, because an epoch reads every image once.
class CachedDataset final : public Dataset {
 public:
  /// Throws ValueError on a negative limit.
  CachedDataset(DatasetPtr source, std::int64_t max_bytes)
      : source_(std::move(source)), max_bytes_(max_bytes), slots_(static_cast<std::size_t>(source_->size())) {
    check<ValueError>(max_bytes >= 0, "CachedDataset: ", max_bytes, " bytes given, expected at least 0");
  }
  ~CachedDataset() override {
    for (auto& slot : slots_) delete slot.load(std::memory_order_relaxed);
  }

  std::int64_t size() const override { return source_->size(); }
  const std::vector<std::string>& classes() const override { return source_->classes(); }
  ImageSize image_size() const override { return source_->image_size(); }
  std::string name(std::int64_t index) const override { return source_->name(index); }
  std::vector<Fault> faults() const override { return source_->faults(); }
  /// Bytes of pixels kept now.
  std::int64_t cached_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }

  bool read(std::int64_t index, Sample& out) const override {
    require_index(index);
    auto& slot = slots_[static_cast<std::size_t>(index)];
    if (const Sample* kept = slot.load(std::memory_order_acquire)) {
      out = *kept;
      return true;
    }
    if (!source_->read(index, out)) return false;
    const std::int64_t bytes = out.image.bytes();
    if (used_bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes > max_bytes_) {
      used_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
      return true;
    }
    auto copy = std::make_unique<const Sample>(out);
    const Sample* none = nullptr;
    if (slot.compare_exchange_strong(none, copy.get(), std::memory_order_release, std::memory_order_relaxed))
      copy.release();
    else
      used_bytes_.fetch_sub(bytes, std::memory_order_relaxed);  // another thread was first
    return true;
  }

 private:
  DatasetPtr source_;
  std::int64_t max_bytes_;
  mutable std::vector<std::atomic<const Sample*>> slots_;
  mutable std::atomic<std::int64_t> used_bytes_{0};
};

}  // namespace data
}  // namespace v0
}  // namespace spnet
