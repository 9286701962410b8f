// CIFAR-10 and CIFAR-100 in their binary form (Krizhevsky 2009; www.cs.toronto.edu/~kriz/cifar.html).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/data/files.hpp"
#include "spnet/data/open_options.hpp"
#include "spnet/data/record_dataset.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

namespace detail {

// A record is `label_bytes` bytes of labels, of which the last counts, and the image's three planes.
inline void append_cifar_file(const std::filesystem::path& path, std::size_t label_bytes, const OpenOptions& options,
                              RecordDataset& out) {
  const std::vector<std::uint8_t> bytes = read_file(path, options.max_file_bytes);
  const std::size_t record = label_bytes + out.record_bytes(), count = bytes.size() / record;
  if (count == 0 || bytes.size() % record != 0)
    out.log().add(path.string(),
                  message(bytes.size(), " bytes, expected a whole number of records of ", record, " bytes"));
  const std::size_t file = out.add_file(path.string());
  out.reserve(static_cast<std::size_t>(out.size()) + count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint8_t* at = bytes.data() + i * record;
    out.append(file, static_cast<std::int64_t>(i), at + label_bytes, at[label_bytes - 1]);
  }
}

inline std::vector<std::string> cifar_classes(const std::filesystem::path& names, std::size_t count) {
  std::vector<std::string> out;
  if (std::filesystem::exists(names))
    for (std::string& line : read_lines(names, 1 << 20))
      if (!line.empty()) out.push_back(std::move(line));
  if (out.empty())
    for (std::size_t i = 0; i < count; ++i) out.push_back(std::to_string(i));
  check<FileError>(out.size() == count, names.string(), ": ", out.size(), " names, expected ", count);
  return out;
}

// The folder itself, or the one that the official archive unpacks to in it.
inline std::filesystem::path cifar_folder(const std::filesystem::path& path, const char* archive, const char* file) {
  if (!std::filesystem::exists(path / file) && std::filesystem::exists(path / archive / file)) return path / archive;
  check<FileError>(std::filesystem::is_directory(path), path.string(), ": no such folder");
  check<FileError>(std::filesystem::exists(path / file), (path / file).string(), ": no such file",
                   std::filesystem::is_directory(path / "train") ? "; for a folder of images use folder:PATH" : "");
  return path;
}

inline DataSplits finish_splits(std::shared_ptr<RecordDataset> train, std::shared_ptr<RecordDataset> test,
                                const std::filesystem::path& folder) {
  check<FileError>(train->size() > 0 && test->size() > 0, folder.string(), ": ", train->size(), " training and ",
                   test->size(), " test images, expected at least one of each");
  return {std::move(train), std::move(test)};
}

}  // namespace detail

/// Reads `data_batch_1.bin` and those that follow it, and `test_batch.bin` (class names from `batches.meta.txt`, where it is
/// there) in `folder`. Throws FileError where files are missing or cut off, or labels are above 9.
inline DataSplits open_cifar10(const std::filesystem::path& folder, const OpenOptions& options = {}) {
  const auto path = detail::cifar_folder(folder, "cifar-10-batches-bin", "test_batch.bin");
  const auto classes = detail::cifar_classes(path / "batches.meta.txt", 10);
  auto train = std::make_shared<RecordDataset>(classes, ImageSize{32, 32}, 3, options.skip_bad);
  auto test = std::make_shared<RecordDataset>(classes, ImageSize{32, 32}, 3, options.skip_bad);
  int batches = 0;
  for (const std::string& name : list_folder(path, /*folders=*/false))
    batches += name.starts_with("data_batch_") && name.ends_with(".bin");
  for (int i = 1; i <= batches; ++i)
    detail::append_cifar_file(path / message("data_batch_", i, ".bin"), 1, options, *train);
  detail::append_cifar_file(path / "test_batch.bin", 1, options, *test);
  return detail::finish_splits(std::move(train), std::move(test), path);
}

/// Reads `train.bin` and `test.bin` (class names from `fine_label_names.txt`, where it is there) in `folder`; the
/// labels are the 100 fine ones. Throws FileError where files are missing or cut off, or labels are above 99.
inline DataSplits open_cifar100(const std::filesystem::path& folder, const OpenOptions& options = {}) {
  const auto path = detail::cifar_folder(folder, "cifar-100-binary", "test.bin");
  const auto classes = detail::cifar_classes(path / "fine_label_names.txt", 100);
  auto train = std::make_shared<RecordDataset>(classes, ImageSize{32, 32}, 3, options.skip_bad);
  auto test = std::make_shared<RecordDataset>(classes, ImageSize{32, 32}, 3, options.skip_bad);
  detail::append_cifar_file(path / "train.bin", 2, options, *train);
  detail::append_cifar_file(path / "test.bin", 2, options, *test);
  return detail::finish_splits(std::move(train), std::move(test), path);
}

}  // namespace data
}  // namespace v0
}  // namespace spnet
