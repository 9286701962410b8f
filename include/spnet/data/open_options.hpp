// How data sets are opened, whatever their kind.
#pragma once

#include <cstdint>
#include <vector>

#include "spnet/data/codecs.hpp"
#include "spnet/data/dataset.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

struct OpenOptions {
  /// Goes on without bad files, records and classes; `Dataset::faults()` lists them. Otherwise the first is an error.
  bool skip_bad = false;
  /// Decoded images are kept in memory up to so many bytes, for each of the two sets; 0 keeps none.
  std::int64_t cache_bytes = std::int64_t{1} << 30;
  /// Larger images are refused before they are allocated.
  std::int64_t max_pixels = std::int64_t{1} << 26;
  /// Larger files are refused before they are read.
  std::int64_t max_file_bytes = std::int64_t{1} << 31;
};

/// The two parts of a data set; they have the same classes.
struct DataSplits {
  DatasetPtr train;
  DatasetPtr test;
};

}  // namespace data
}  // namespace v0
}  // namespace spnet
