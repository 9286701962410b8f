// What every data set is: numbered, labelled images that any thread may read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/data/image.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

/// Which part of a data set; the parts share no image.
enum class Split { kTrain, kTest };

/// One labelled image; `label` is in [0, number of classes).
struct Sample {
  Image image;
  std::int32_t label = 0;
};

/// Something bad that was skipped: a file (or a record in one) and what is wrong with it.
struct Fault {
  std::string name;
  std::string reason;
};

/// A numbered set of labelled images. Every const member may be called from several threads at once, and `read` is a
/// pure function of the index. Derive from it for a data set of your own.
class Dataset {
 public:
  Dataset() = default;
  Dataset(const Dataset&) = delete;
  Dataset& operator=(const Dataset&) = delete;
  virtual ~Dataset() = default;

  virtual std::int64_t size() const = 0;
  /// Names of the classes; a label is a position in this list.
  virtual const std::vector<std::string>& classes() const = 0;
  /// The size that all images have, or {0, 0} where sizes differ.
  virtual ImageSize image_size() const = 0;
  /// Writes image and label of `index` to `out`, whose memory is used again. Returns false where they are bad and the
  /// set was opened to skip such (then `faults()` says so); otherwise throws FileError naming the file.
  virtual bool read(std::int64_t index, Sample& out) const = 0;
  /// Where `index` comes from, for messages.
  virtual std::string name(std::int64_t index) const { return message("image ", index); }
  /// What has been skipped so far, each once.
  virtual std::vector<Fault> faults() const { return {}; }

  /// Image and label of `index`; throws ValueError outside [0, size()), FileError where they are bad.
  Sample get(std::int64_t index) const {
    Sample out;
    check<FileError>(read(index, out), name(index), ": a bad image, skipped");
    return out;
  }

 protected:
  void require_index(std::int64_t index) const {
    check<ValueError>(index >= 0 && index < size(), "Dataset: index ", index, " given, expected 0 to ", size() - 1);
  }
};

using DatasetPtr = std::shared_ptr<const Dataset>;

}  // namespace data
}  // namespace v0
}  // namespace spnet
