// A data set of image files, decoded when they are read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/data/codecs.hpp"
#include "spnet/data/dataset.hpp"
#include "spnet/data/files.hpp"
#include "spnet/data/open_options.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

/// One image file: its path below the data set's folder, and its label.
struct ImageFile {
  std::string path;
  std::int32_t label = 0;
};

/// Image files with labels, in the order given.
class FileDataset final : public Dataset {
 public:
  /// Decodes a few images, spread over the set, to find out whether they have one size. Throws ValueError where there
  /// is no decoder, FileError where there is no image, or one of those few is bad and bad ones are not to be skipped.
  FileDataset(std::filesystem::path folder, std::vector<std::string> classes, std::vector<ImageFile> files,
              const Codecs& codecs, const OpenOptions& options, FaultLog log)
      : folder_(std::move(folder)),
        classes_(std::move(classes)),
        files_(std::move(files)),
        codecs_(codecs),
        options_(options),
        log_(std::move(log)) {
    check<ValueError>(static_cast<bool>(codecs_.decode_image), folder_.string(),
                      ": the program has no decoder for image files");
    check<FileError>(!files_.empty(), folder_.string(), ": holds no image");
    constexpr std::int64_t kProbes = 8;
    Sample sample;
    for (std::int64_t i = 0; i < kProbes; ++i) {
      if (!read(i * (size() - 1) / (kProbes - 1), sample)) continue;
      if (image_size_.known() && image_size_ != sample.image.size()) {
        image_size_ = {};
        return;
      }
      image_size_ = sample.image.size();
    }
  }

  std::int64_t size() const override { return static_cast<std::int64_t>(files_.size()); }
  const std::vector<std::string>& classes() const override { return classes_; }
  ImageSize image_size() const override { return image_size_; }
  std::vector<Fault> faults() const override { return log_.faults(); }
  std::string name(std::int64_t index) const override {
    require_index(index);
    return (folder_ / files_[static_cast<std::size_t>(index)].path).string();
  }
  bool read(std::int64_t index, Sample& out) const override {
    thread_local std::vector<std::uint8_t> bytes;
    require_index(index);
    out.label = files_[static_cast<std::size_t>(index)].label;
    const std::string path = name(index);
    try {
      read_file(path, options_.max_file_bytes, bytes);
    } catch (const FileError& error) {
      // The message begins with the name, which the log adds.
      log_.add(path, std::string(error.what()).substr(path.size() + 2));
      return false;
    }
    try {
      codecs_.decode_image(bytes, options_.max_pixels, out.image);
    } catch (const FileError& error) {
      log_.add(path, error.what());
      return false;
    }
    return true;
  }

 private:
  std::filesystem::path folder_;
  std::vector<std::string> classes_;
  std::vector<ImageFile> files_;
  Codecs codecs_;
  OpenOptions options_;
  ImageSize image_size_;
  mutable FaultLog log_;
};

}  // namespace data
}  // namespace v0
}  // namespace spnet
