// Small images that fit into memory together: what CIFAR and MNIST files are read into.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/data/dataset.hpp"
#include "spnet/data/files.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

/// Images of one size, held as their file stores them: channel after channel (planar), one or three of them.
class RecordDataset final : public Dataset {
 public:
  /// An empty set of images of `size` with `channels` (1 or 3).
  RecordDataset(std::vector<std::string> classes, ImageSize size, int channels, bool skip_bad)
      : classes_(std::move(classes)), size_(size), channels_(channels), log_(skip_bad) {
    check<ValueError>(size.known() && (channels == 1 || channels == 3), "RecordDataset: images of ", size, " with ",
                      channels, " channels given, expected a size, and 1 or 3 channels");
  }

  /// Bytes of one image.
  std::size_t record_bytes() const { return static_cast<std::size_t>(size_.height * size_.width * channels_); }
  void reserve(std::size_t images) {
    planes_.reserve(images * record_bytes());
    labels_.reserve(images);
    records_.reserve(images);
  }
  /// Appends record `number` of `file`, whose bytes begin at `planes`; a label outside the classes is a fault.
  void append(std::size_t file, std::int64_t number, const std::uint8_t* planes, std::int64_t label) {
    const auto count = static_cast<std::int64_t>(classes_.size());
    if (label < 0 || label >= count) {
      log_.add(message(files_.at(file), ", record ", number), message("label ", label, ", expected 0 to ", count - 1));
      return;
    }
    planes_.insert(planes_.end(), planes, planes + record_bytes());
    labels_.push_back(static_cast<std::int32_t>(label));
    records_.push_back({file, number});
  }
  /// Names a file that records come from, for messages; returns its number.
  std::size_t add_file(std::string name) {
    files_.push_back(std::move(name));
    return files_.size() - 1;
  }
  FaultLog& log() { return log_; }

  std::int64_t size() const override { return static_cast<std::int64_t>(labels_.size()); }
  const std::vector<std::string>& classes() const override { return classes_; }
  ImageSize image_size() const override { return size_; }
  std::vector<Fault> faults() const override { return log_.faults(); }
  std::string name(std::int64_t index) const override {
    require_index(index);
    const Record& record = records_[static_cast<std::size_t>(index)];
    return message(files_[record.file], ", record ", record.number);
  }
  bool read(std::int64_t index, Sample& out) const override {
    require_index(index);
    const auto at = static_cast<std::size_t>(index);
    out.label = labels_[at];
    out.image.resize(size_);
    const std::size_t plane = static_cast<std::size_t>(size_.height * size_.width);
    const std::uint8_t* source = planes_.data() + at * record_bytes();
    const std::size_t step = channels_ == 3 ? plane : 0;
    std::uint8_t* pixel = out.image.data();
    for (std::size_t i = 0; i < plane; ++i, ++source, pixel += 3) {
      pixel[0] = source[0];
      pixel[1] = source[step];
      pixel[2] = source[2 * step];
    }
    return true;
  }

 private:
  struct Record {
    std::size_t file;
    std::int64_t number;
  };
  std::vector<std::string> classes_, files_;
  ImageSize size_;
  int channels_;
  std::vector<std::uint8_t> planes_;
  std::vector<std::int32_t> labels_;
  std::vector<Record> records_;
  FaultLog log_;
};

}  // namespace data
}  // namespace v0
}  // namespace spnet
