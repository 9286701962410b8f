// Tiny ImageNet in its own layout (Stanford CS231n).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/data/codecs.hpp"
#include "spnet/data/file_dataset.hpp"
#include "spnet/data/files.hpp"
#include "spnet/data/folder.hpp"
#include "spnet/data/open_options.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

namespace detail {

inline constexpr std::int64_t kMaxTextBytes = std::int64_t{1} << 26;

// A name of a file in a folder: no way out of it.
inline bool is_plain_name(std::string_view name) {
  return !name.empty() && name[0] != '.' && name.find('/') == std::string_view::npos &&
         name.find('\\') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

inline std::map<std::string, std::int32_t> read_wnids(const std::filesystem::path& path) {
  std::map<std::string, std::int32_t> out;
  for (const std::string& line : read_lines(path, kMaxTextBytes)) {
    if (line.empty()) continue;
    check<FileError>(is_plain_name(line), path.string(), ": \"", line, "\" is not the name of a class");
    check<FileError>(out.emplace(line, static_cast<std::int32_t>(out.size())).second, path.string(), ": ", line,
                     " is listed twice");
  }
  check<FileError>(!out.empty(), path.string(), ": lists no class");
  return out;
}

// What a class is called in words.txt, where it is there.
inline std::vector<std::string> class_words(const std::filesystem::path& path,
                                            const std::map<std::string, std::int32_t>& labels) {
  std::vector<std::string> out(labels.size());
  for (const auto& [wnid, label] : labels) out[static_cast<std::size_t>(label)] = wnid;
  if (!std::filesystem::exists(path)) return out;
  for (const std::string& line : read_lines(path, kMaxTextBytes)) {
    const std::size_t tab = line.find('\t');
    if (tab == std::string::npos) continue;
    const auto at = labels.find(line.substr(0, tab));
    if (at != labels.end()) out[static_cast<std::size_t>(at->second)] = line.substr(tab + 1);
  }
  return out;
}

inline std::vector<ImageFile> read_annotations(const std::filesystem::path& path,
                                               const std::map<std::string, std::int32_t>& labels, FaultLog& log) {
  std::map<std::string, std::int32_t> files;  // sorted by name
  std::size_t number = 0;
  for (const std::string& line : read_lines(path, kMaxTextBytes)) {
    ++number;
    const auto place = [&] { return message(path.string(), ", line ", number); };
    const std::size_t tab = line.find('\t');
    const std::size_t end = tab == std::string::npos ? tab : line.find('\t', tab + 1);
    const std::string name = line.substr(0, tab);
    if (tab == std::string::npos || !is_plain_name(name)) {
      log.add(place(), "expected a file name, a tab and a class");
      continue;
    }
    const std::string wnid = line.substr(tab + 1, end == std::string::npos ? end : end - tab - 1);
    const auto at = labels.find(wnid);
    if (at == labels.end())
      log.add(place(), message("class \"", wnid, "\" is not in wnids.txt"));
    else if (!files.emplace(name, at->second).second)
      log.add(place(), message(name, " is listed twice"));
  }
  // A list that was cut off between two lines leaves images without a class.
  const std::filesystem::path images = path.parent_path() / "images";
  for (const std::string& name : list_folder(images, /*folders=*/false))
    if (is_image_name(name) && !files.contains(name))
      log.add((images / name).string(), "not listed in val_annotations.txt");
  std::vector<ImageFile> out;
  for (const auto& [name, label] : files) out.push_back({"images/" + name, label});
  return out;
}

}  // namespace detail

/// Opens `wnids.txt` (whose order is that of the labels), `words.txt` (names, optional), `train/<wnid>/images/*` and
/// `val/images/*` with `val/val_annotations.txt`. Throws FileError where something is missing or malformed, ValueError
/// without a decoder.
inline DataSplits open_tiny_imagenet(const std::filesystem::path& folder, const Codecs& codecs,
                                     const OpenOptions& options = {}) {
  check<FileError>(std::filesystem::is_directory(folder), folder.string(), ": no such folder");
  const auto labels = detail::read_wnids(folder / "wnids.txt");
  const std::vector<std::string> classes = detail::class_words(folder / "words.txt", labels);

  FaultLog train_log(options.skip_bad), test_log(options.skip_bad);
  std::vector<ImageFile> train;
  for (const auto& [wnid, label] : labels) {
    const std::string below = wnid + "/images";
    if (std::filesystem::is_directory(folder / "train" / below))
      detail::append_images(folder / "train", below, label, train, train_log);
    else
      train_log.add((folder / "train" / below).string(), "the class has no folder");
  }
  std::vector<ImageFile> test = detail::read_annotations(folder / "val" / "val_annotations.txt", labels, test_log);
  return {
      std::make_shared<FileDataset>(folder / "train", classes, std::move(train), codecs, options, std::move(train_log)),
      std::make_shared<FileDataset>(folder / "val", classes, std::move(test), codecs, options, std::move(test_log))};
}

}  // namespace data
}  // namespace v0
}  // namespace spnet
