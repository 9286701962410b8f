// Data sets by name: `open_dataset("cifar10:PATH")`. A program adds its own with `register_dataset`.
#pragma once

#include <charconv>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/data/cache.hpp"
#include "spnet/data/cifar.hpp"
#include "spnet/data/codecs.hpp"
#include "spnet/data/folder.hpp"
#include "spnet/data/mnist.hpp"
#include "spnet/data/open_options.hpp"
#include "spnet/data/synthetic.hpp"
#include "spnet/data/tiny_imagenet.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

/// Opens a kind of data set; `argument` is what stands behind the colon, perhaps nothing.
using DatasetOpener =
    std::function<DataSplits(const std::string& argument, const Codecs& codecs, const OpenOptions& options)>;

/// Opens the built-in set. `argument`: nothing, or some of
/// `train=COUNT,test=COUNT,difficulty=0..1,seed=N,size=N,classes=N`. Throws ValueError where it is malformed.
inline DataSplits open_synthetic(std::string_view argument) {
  SyntheticOptions options{.count = 8000};
  std::int64_t test_count = 2000;
  while (!argument.empty()) {
    const std::string_view entry = argument.substr(0, argument.find(','));
    argument.remove_prefix(std::min(argument.size(), entry.size() + 1));
    const std::size_t equals = std::min(entry.find('='), entry.size());
    const std::string_view key = entry.substr(0, equals), value = entry.substr(std::min(equals + 1, entry.size()));
    const auto parse = [&](auto& out) {
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), out);
      check<ValueError>(error == std::errc() && end == value.data() + value.size(), "synthetic: \"", entry,
                        "\" given, expected ", key, "=NUMBER");
    };
    if (key == "train")
      parse(options.count);
    else if (key == "test")
      parse(test_count);
    else if (key == "difficulty")
      parse(options.difficulty);
    else if (key == "seed")
      parse(options.seed);
    else if (key == "size")
      parse(options.size);
    else if (key == "classes")
      parse(options.classes);
    else
      throw ValueError(
          message("synthetic: \"", key, "\" is not known; known are train, test, difficulty, seed, size, classes"));
  }
  SyntheticOptions test = options;
  test.count = test_count;
  test.split = Split::kTest;
  return {std::make_shared<SyntheticDataset>(options), std::make_shared<SyntheticDataset>(test)};
}

namespace detail {

struct DatasetKind {
  std::string usage;
  DatasetOpener open;
};

class DatasetRegistry {
 public:
  static DatasetRegistry& global() {
    static DatasetRegistry registry;
    return registry;
  }
  void add(const std::string& name, DatasetKind kind) {
    std::lock_guard lock(mutex_);
    check<ValueError>(!name.empty() && name.find(':') == std::string::npos && kind.open, "register_dataset: \"", name,
                      "\" given, expected a name without a colon, and a function");
    check<ValueError>(kinds_.emplace(name, std::move(kind)).second, "register_dataset: \"", name,
                      "\" is there already");
  }
  DatasetKind find(const std::string& name) const {
    std::lock_guard lock(mutex_);
    const auto at = kinds_.find(name);
    if (at != kinds_.end()) return at->second;
    throw ValueError(message("open_dataset: \"", name, "\" is not known; known are ",
                             join(kinds_, [](const auto& entry) { return entry.second.usage; })));
  }
  std::vector<std::string> usages() const {
    std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    for (const auto& [key, kind] : kinds_) out.push_back(kind.usage);
    return out;
  }

 private:
  DatasetRegistry() {
    const auto with_path = [this](const char* name, auto open) {
      kinds_[name] = {message(name, ":PATH"),
                      [name, open](const std::string& path, const Codecs& codecs, const OpenOptions& options) {
                        check<ValueError>(!path.empty(), "open_dataset: ", name, " needs a path: ", name, ":PATH");
                        return open(path, codecs, options);
                      }};
    };
    with_path("cifar10", [](const auto& path, const Codecs&, const auto& o) { return open_cifar10(path, o); });
    with_path("cifar100", [](const auto& path, const Codecs&, const auto& o) { return open_cifar100(path, o); });
    with_path("mnist", [](const auto& path, const Codecs& c, const auto& o) { return open_mnist(path, c, o); });
    with_path("folder", [](const auto& path, const Codecs& c, const auto& o) { return open_image_folder(path, c, o); });
    with_path("tiny-imagenet",
              [](const auto& path, const Codecs& c, const auto& o) { return open_tiny_imagenet(path, c, o); });
    kinds_["synthetic"] = {"synthetic", [](const std::string& argument, const Codecs&, const OpenOptions&) {
                             return open_synthetic(argument);
                           }};
  }
  mutable std::mutex mutex_;
  std::map<std::string, DatasetKind> kinds_;
};

}  // namespace detail

/// Adds a kind of data set under `name`; `usage` is what lists of the known ones show, e.g. "faces:PATH".
/// Throws ValueError where the name is taken.
inline void register_dataset(const std::string& name, const std::string& usage, DatasetOpener open) {
  detail::DatasetRegistry::global().add(name, {usage, std::move(open)});
}

/// How the known data sets are asked for, sorted by name.
inline std::vector<std::string> dataset_usages() { return detail::DatasetRegistry::global().usages(); }

/// Opens `spec`: `synthetic`, `cifar10:PATH`, `cifar100:PATH`, `mnist:PATH`, `folder:PATH`, `tiny-imagenet:PATH`, or a
/// kind that was registered. Images that have to be decoded or drawn are kept in memory up to `options.cache_bytes`.
/// Throws ValueError where the name is not known, FileError where files are missing or bad.
inline DataSplits open_dataset(const std::string& spec, const Codecs& codecs = {}, const OpenOptions& options = {}) {
  const std::size_t colon = spec.find(':');
  const detail::DatasetKind kind = detail::DatasetRegistry::global().find(spec.substr(0, colon));
  DataSplits splits = kind.open(colon == std::string::npos ? "" : spec.substr(colon + 1), codecs, options);
  check<ValueError>(splits.train && splits.test, "open_dataset: ", spec, " has no training or no test set");
  for (DatasetPtr* part : {&splits.train, &splits.test})
    if (options.cache_bytes > 0 && !dynamic_cast<const RecordDataset*>(part->get()))
      *part = std::make_shared<CachedDataset>(*part, options.cache_bytes);
  return splits;
}

}  // namespace data
}  // namespace v0
}  // namespace spnet
