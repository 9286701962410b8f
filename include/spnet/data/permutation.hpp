// Orders and splits of a data set, pure functions of a seed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/core/memory.hpp"
#include "spnet/core/random.hpp"
#include "spnet/data/dataset.hpp"
#include "spnet/data/random_streams.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

using Permutation = std::vector<std::uint32_t, PoolAllocator<std::uint32_t>>;

/// 0 .. count − 1, shuffled (Fisher–Yates) by the numbers of `random`. Throws ValueError from 2^32 entries on.
inline Permutation permutation(std::int64_t count, Random random) {
  check<ValueError>(count >= 0 && count < (std::int64_t{1} << 32), "permutation: ", count,
                    " entries given, expected 0 to 2^32 − 1");
  Permutation out(static_cast<std::size_t>(count));
  std::iota(out.begin(), out.end(), 0u);
  for (std::size_t i = out.size(); i > 1; --i) std::swap(out[i - 1], out[random.below(static_cast<std::uint32_t>(i))]);
  return out;
}

/// Chosen images of another data set, in the order of `indices`.
class Subset final : public Dataset {
 public:
  /// Throws ValueError where an index is outside the data set.
  Subset(DatasetPtr whole, std::vector<std::int64_t> indices) : whole_(std::move(whole)), indices_(std::move(indices)) {
    for (std::int64_t index : indices_)
      check<ValueError>(index >= 0 && index < whole_->size(), "Subset: index ", index, " given, expected 0 to ",
                        whole_->size() - 1);
  }
  std::int64_t size() const override { return static_cast<std::int64_t>(indices_.size()); }
  const std::vector<std::string>& classes() const override { return whole_->classes(); }
  ImageSize image_size() const override { return whole_->image_size(); }
  bool read(std::int64_t index, Sample& out) const override { return whole_->read(at(index), out); }
  std::string name(std::int64_t index) const override { return whole_->name(at(index)); }
  std::vector<Fault> faults() const override { return whole_->faults(); }

 private:
  std::int64_t at(std::int64_t index) const {
    require_index(index);
    return indices_[static_cast<std::size_t>(index)];
  }
  DatasetPtr whole_;
  std::vector<std::int64_t> indices_;
};

/// Two sets without a common image.
struct TwoSets {
  DatasetPtr kept;
  DatasetPtr held_out;
};

/// Holds `held_out` randomly chosen images back; both sets list their images in the order of `whole`.
/// Throws ValueError unless both sets get at least one image.
inline TwoSets split(const DatasetPtr& whole, std::int64_t held_out, std::uint64_t seed) {
  check<ValueError>(held_out >= 1 && held_out < whole->size(), "split: ", held_out, " of ", whole->size(),
                    " images to hold out, expected 1 to ", whole->size() - 1);
  const Permutation order = permutation(whole->size(), Random(purpose_seed(seed, Purpose::kSplit)));
  std::vector<std::int64_t> out(order.begin(), order.begin() + held_out), kept(order.begin() + held_out, order.end());
  std::sort(out.begin(), out.end());
  std::sort(kept.begin(), kept.end());
  return {std::make_shared<Subset>(whole, std::move(kept)), std::make_shared<Subset>(whole, std::move(out))};
}

}  // namespace data
}  // namespace v0
}  // namespace spnet
