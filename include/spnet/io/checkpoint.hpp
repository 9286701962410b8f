// Checkpoints of a run: numbered files of which the last two are kept.
#pragma once

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "spnet/io/safetensors.hpp"

namespace spnet {
inline namespace v0 {
namespace io {

/// A folder of checkpoints, "checkpoint-<step>.safetensors". A save writes a new file beside the old ones, reads it back,
/// and only then deletes all others but the one before it, so that a fault at any moment leaves a whole checkpoint.
class CheckpointFolder {
 public:
  explicit CheckpointFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}

  struct Loaded {
    TensorFile file;
    std::filesystem::path path;
    std::vector<std::string> messages;  ///< what was wrong with newer checkpoints that had to be passed over
  };

  /// Saves `file` as the checkpoint of `step`. Throws FileError where it cannot be written or does not read back the same.
  void save(const TensorFile& file, std::uint64_t step, const files::SystemCalls& calls = files::real_system_calls()) const {
    const std::filesystem::path path = folder_ / name_of(step);
    file.save(path, calls);
    TensorFile::load(path, {.require_checksum = true}, calls);
    files::remove_abandoned_temporaries(path);
    // Higher steps are what a resume had to pass over: damaged, and now overtaken.
    bool kept_one_before = false;
    for (std::uint64_t other : list()) {
      if (other == step || (other < step && !std::exchange(kept_one_before, true))) continue;
      std::error_code ignored;  // an old checkpoint too many does no harm
      std::filesystem::remove(folder_ / name_of(other), ignored);
    }
  }

  /// The newest checkpoint that is whole. Throws FileError, with the faults of all, where there is none.
  Loaded load() const {
    Loaded out;
    for (std::uint64_t step : list()) {
      out.path = folder_ / name_of(step);
      try {
        out.file = TensorFile::load(out.path, {.require_checksum = true});
        return out;
      } catch (const FileError& error) {
        out.messages.push_back(error.what());
      }
    }
    std::string faults;
    for (const auto& text : out.messages) faults += "\n  " + text;
    throw FileError(message(folder_.string(), ": no ", faults.empty() ? "" : "undamaged ", "checkpoint here", faults));
  }

  /// Steps of the checkpoints that are there, newest first.
  std::vector<std::uint64_t> list() const {
    std::vector<std::uint64_t> steps;
    std::error_code error;
    for (std::filesystem::directory_iterator at(folder_, error), end; !error && at != end; at.increment(error))
      if (const auto step = step_of(at->path().filename().string())) steps.push_back(*step);
    std::sort(steps.rbegin(), steps.rend());
    return steps;
  }

 private:
  static constexpr std::string_view kPrefix = "checkpoint-", kSuffix = ".safetensors";

  static std::string name_of(std::uint64_t step) { return message(kPrefix, step, kSuffix); }
  static std::optional<std::uint64_t> step_of(const std::string& name) {
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return {};
    std::uint64_t step = 0;
    const char* begin = name.data() + kPrefix.size();
    const char* end = name.data() + name.size() - kSuffix.size();
    const auto [stop, error] = std::from_chars(begin, end, step);
    if (error != std::errc{} || stop != end || name != name_of(step)) return {};
    return step;
  }

  std::filesystem::path folder_;
};

}  // namespace io
}  // namespace v0
}  // namespace spnet
