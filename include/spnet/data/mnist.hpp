// MNIST and its kin in IDX files (LeCun, Cortes, Burges), plain or packed with gzip.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/data/codecs.hpp"
#include "spnet/data/files.hpp"
#include "spnet/data/open_options.hpp"
#include "spnet/data/record_dataset.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

/// An IDX file of unsigned bytes: its sizes and its elements.
struct IdxFile {
  std::vector<std::int64_t> sizes;
  std::vector<std::uint8_t> bytes;  ///< the file, header and all
  std::size_t begin = 0;            ///< where the elements begin

  /// Bytes of one entry along the first axis.
  std::size_t entry_bytes() const {
    std::size_t out = 1;
    for (std::size_t i = 1; i < sizes.size(); ++i) out *= static_cast<std::size_t>(sizes[i]);
    return out;
  }
  const std::uint8_t* entry(std::int64_t i) const {
    return bytes.data() + begin + static_cast<std::size_t>(i) * entry_bytes();
  }
};

/// Reads the header of an IDX file of unsigned bytes with `rank` sizes, each 1 to 65535 but the first. The elements
/// must be there, exactly; a fault otherwise, and with `skip_bad` as many entries as are whole. Throws FileError.
inline IdxFile parse_idx(const std::string& name, std::vector<std::uint8_t> bytes, std::size_t rank, FaultLog& log) {
  IdxFile out;
  out.bytes = std::move(bytes);
  out.begin = 4 + 4 * rank;
  const std::vector<std::uint8_t>& b = out.bytes;
  check<FileError>(b.size() >= out.begin, name, ": ", b.size(), " bytes, an IDX header of ", rank, " sizes has ",
                   out.begin);
  check<FileError>(b[0] == 0 && b[1] == 0 && b[2] == 8 && b[3] == rank, name,
                   ": not an IDX file of unsigned bytes with ", rank, " sizes");
  std::uint64_t elements = 1;
  for (std::size_t i = 0; i < rank; ++i) {
    const std::uint8_t* at = &b[4 + 4 * i];
    const std::uint64_t size =
        std::uint64_t{at[0]} << 24 | std::uint64_t{at[1]} << 16 | std::uint64_t{at[2]} << 8 | at[3];
    // 2^32 · 65535² is below 2^64: the product cannot overflow.
    check<FileError>(rank <= 3 && size >= 1 && (i == 0 || size <= 65535), name, ": size ", size, " on axis ", i);
    elements *= size;
    out.sizes.push_back(static_cast<std::int64_t>(size));
  }
  const std::uint64_t there = b.size() - out.begin;
  if (there != elements) {
    log.add(name, message(there, " bytes of elements, the header says ", elements));
    if (there < elements) out.sizes[0] = static_cast<std::int64_t>(there / out.entry_bytes());
  }
  return out;
}

namespace detail {

// The file called `stem`-`kind`, also with a dot in place of the dash, each also with .gz.
inline IdxFile read_idx(const std::filesystem::path& folder, const std::string& stem, const std::string& kind,
                        std::size_t rank, const Codecs& codecs, const OpenOptions& options, FaultLog& log) {
  for (const char* joint : {"-", "."})
    for (const char* packed : {"", ".gz"}) {
      const std::filesystem::path path = folder / (stem + joint + kind + packed);
      if (!std::filesystem::exists(path)) continue;
      std::vector<std::uint8_t> bytes = read_file(path, options.max_file_bytes);
      if (*packed) {
        check<ValueError>(static_cast<bool>(codecs.inflate), path.string(),
                          ": the program has no decoder for .gz files");
        try {
          bytes = codecs.inflate(bytes, static_cast<std::size_t>(options.max_file_bytes));
        } catch (const FileError& error) {
          throw FileError(message(path.string(), ": ", error.what()));
        }
      }
      return parse_idx(path.string(), std::move(bytes), rank, log);
    }
  throw FileError(message((folder / (stem + "-" + kind)).string(), ": no such file, nor with .gz"));
}

inline std::shared_ptr<RecordDataset> open_mnist_part(const std::filesystem::path& folder, const std::string& stem,
                                                      const Codecs& codecs, const OpenOptions& options) {
  FaultLog log(options.skip_bad);
  const IdxFile images = read_idx(folder, stem + "-images", "idx3-ubyte", 3, codecs, options, log);
  const IdxFile labels = read_idx(folder, stem + "-labels", "idx1-ubyte", 1, codecs, options, log);
  const std::int64_t count = std::min(images.sizes[0], labels.sizes[0]);
  const std::string name = (folder / stem).string();
  if (images.sizes[0] != labels.sizes[0])
    log.add(name, message(images.sizes[0], " images, but ", labels.sizes[0], " labels"));
  auto out = std::make_shared<RecordDataset>(std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"},
                                             ImageSize{images.sizes[1], images.sizes[2]}, 1, options.skip_bad);
  for (const Fault& fault : log.faults()) out->log().add(fault.name, fault.reason);
  const std::size_t file = out->add_file(name);
  out->reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) out->append(file, i, images.entry(i), *labels.entry(i));
  return out;
}

}  // namespace detail

/// Reads `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-…` and `t10k-labels-…` in `folder`, each
/// plain or .gz; images of one size, classes 0 to 9. Throws FileError where files are missing, damaged or do not fit
/// together.
inline DataSplits open_mnist(const std::filesystem::path& folder, const Codecs& codecs = {},
                             const OpenOptions& options = {}) {
  auto train = detail::open_mnist_part(folder, "train", codecs, options);
  auto test = detail::open_mnist_part(folder, "t10k", codecs, options);
  check<FileError>(train->size() > 0 && test->size() > 0, folder.string(), ": ", train->size(), " training and ",
                   test->size(), " test images, expected at least one of each");
  check<FileError>(train->image_size() == test->image_size(), folder.string(), ": training images of ",
                   train->image_size(), ", test images of ", test->image_size());
  return {std::move(train), std::move(test)};
}

}  // namespace data
}  // namespace v0
}  // namespace spnet
