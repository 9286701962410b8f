// A folder of images: train/<class>/*.jpg, and test/ or val/ alike.
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
#include "spnet/data/file_dataset.hpp"
#include "spnet/data/files.hpp"
#include "spnet/data/open_options.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

namespace detail {

// Appends the images in `folder`/`below`, sorted by name; none at all is a fault.
inline void append_images(const std::filesystem::path& folder, const std::string& below, std::int32_t label,
                          std::vector<ImageFile>& out, FaultLog& log) {
  const std::size_t before = out.size();
  for (const std::string& name : list_folder(folder / below, /*folders=*/false))
    if (is_image_name(name)) out.push_back({below + "/" + name, label});
  if (out.size() == before) log.add((folder / below).string(), "an empty class folder: no .jpg, .jpeg or .png in it");
}

inline DatasetPtr open_folder_part(const std::filesystem::path& folder, const std::vector<std::string>& classes,
                                   const Codecs& codecs, const OpenOptions& options) {
  FaultLog log(options.skip_bad);
  std::vector<ImageFile> files;
  for (const std::string& name : list_folder(folder, /*folders=*/true)) {
    const auto at = std::lower_bound(classes.begin(), classes.end(), name);
    if (at != classes.end() && *at == name)
      append_images(folder, name, static_cast<std::int32_t>(at - classes.begin()), files, log);
    else
      log.add((folder / name).string(), "not among the classes of the training images");
  }
  for (const std::string& name : classes)
    if (!std::filesystem::is_directory(folder / name)) log.add((folder / name).string(), "the class has no folder");
  return std::make_shared<FileDataset>(folder, classes, std::move(files), codecs, options, std::move(log));
}

}  // namespace detail

/// Opens `folder`/train/<class>/ and `folder`/test/<class>/ (or val/): JPEG and PNG files, classes and files sorted by
/// name. Throws FileError where a folder is missing or a class empty, ValueError without a decoder.
inline DataSplits open_image_folder(const std::filesystem::path& folder, const Codecs& codecs,
                                    const OpenOptions& options = {}) {
  check<FileError>(std::filesystem::is_directory(folder), folder.string(), ": no such folder");
  check<FileError>(std::filesystem::is_directory(folder / "train"), (folder / "train").string(), ": no such folder");
  const std::vector<std::string> classes = list_folder(folder / "train", /*folders=*/true);
  check<FileError>(!classes.empty(), (folder / "train").string(), ": holds no class folder");
  std::filesystem::path test = folder / "test";
  if (!std::filesystem::is_directory(test)) test = folder / "val";
  check<FileError>(std::filesystem::is_directory(test), folder.string(), ": neither test/ nor val/ beside train/");
  return {detail::open_folder_part(folder / "train", classes, codecs, options),
          detail::open_folder_part(test, classes, codecs, options)};
}

}  // namespace data
}  // namespace v0
}  // namespace spnet
