// A built-in data set: small pictures of ten kinds of objects, drawn when they are read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/core/random.hpp"
#include "spnet/data/dataset.hpp"
#include "spnet/data/drawing.hpp"
#include "spnet/data/random_streams.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

struct SyntheticOptions {
  std::int64_t count = 4000;
  std::uint64_t seed = 0;
  Split split = Split::kTrain;  ///< training and test images come from different random numbers
  std::int64_t size = 32;       ///< height and width, 8 to 1024
  int classes = 10;             ///< the first 2 to 10 of the ten kinds
  float difficulty = 0.25f;     ///< 0 to 1; stands for a whole Nuisance
};

/// Ten kinds of objects in random colours, places, sizes and directions, over textured backgrounds, with clutter, bars
/// and noise: discs that are flat, domed or hollow, ring, crescent, square, triangle, star, striped and checked discs.
/// Image `index` is a pure function of the options (not of `count`) and `index`; its label is `index` mod `classes`.
class SyntheticDataset final : public Dataset {
 public:
  /// Throws ValueError where an option is outside its range.
  explicit SyntheticDataset(const SyntheticOptions& options)
      : SyntheticDataset(options, Nuisance::at(options.difficulty)) {}
  /// As above, with every nuisance set by hand.
  SyntheticDataset(const SyntheticOptions& options, const Nuisance& nuisance)
      : options_(options),
        nuisance_(nuisance),
        seed_(purpose_seed(options.seed, options.split == Split::kTrain ? Purpose::kDrawTrain : Purpose::kDrawTest)),
        classes_{"disc", "sphere", "bowl", "ring", "crescent", "square", "triangle", "star", "stripes", "checks"} {
    check<ValueError>(options.count >= 1, "SyntheticDataset: ", options.count, " images given, expected at least 1");
    check<ValueError>(options.size >= 8 && options.size <= 1024, "SyntheticDataset: size ", options.size,
                      " given, expected 8 to 1024");
    check<ValueError>(options.classes >= 2 && options.classes <= 10, "SyntheticDataset: ", options.classes,
                      " classes given, expected 2 to 10");
    classes_.resize(static_cast<std::size_t>(options.classes));
  }

  std::int64_t size() const override { return options_.count; }
  const std::vector<std::string>& classes() const override { return classes_; }
  ImageSize image_size() const override { return {options_.size, options_.size}; }
  bool read(std::int64_t index, Sample& out) const override {
    require_index(index);
    out.label = static_cast<std::int32_t>(index % options_.classes);
    out.image.resize(image_size());
    Random random(seed_, static_cast<std::uint64_t>(index));
    detail::draw_picture(static_cast<detail::Kind>(out.label), nuisance_, random, out.image);
    return true;
  }

 private:
  SyntheticOptions options_;
  Nuisance nuisance_;
  std::uint64_t seed_;
  std::vector<std::string> classes_;
};

}  // namespace data
}  // namespace v0
}  // namespace spnet
