// Files and folders as data sets need them: read whole, listed in the order of their names.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/data/dataset.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

/// A set's list of what it skipped; or, where nothing is to be skipped, the place where bad data become an error.
class FaultLog {
 public:
  explicit FaultLog(bool skip_bad) : skip_bad_(skip_bad) {}
  FaultLog(FaultLog&& other) noexcept : skip_bad_(other.skip_bad_), faults_(std::move(other.faults_)) {}

  /// Throws FileError("name: reason"), or keeps both, once for each name.
  void add(const std::string& name, const std::string& reason) {
    check<FileError>(skip_bad_, name, ": ", reason);
    std::lock_guard lock(mutex_);
    faults_.emplace(name, reason);
  }
  /// In the order of the names.
  std::vector<Fault> faults() const {
    std::lock_guard lock(mutex_);
    std::vector<Fault> out;
    for (const auto& [name, reason] : faults_) out.push_back({name, reason});
    return out;
  }
  bool skip_bad() const { return skip_bad_; }

 private:
  bool skip_bad_;
  mutable std::mutex mutex_;
  std::map<std::string, std::string> faults_;
};

/// Names of the entries of `folder` (files or folders, as `folders` says), sorted bytewise; hidden ones are left out.
/// Throws FileError where the folder is missing or unreadable.
inline std::vector<std::string> list_folder(const std::filesystem::path& folder, bool folders) {
  std::vector<std::string> out;
  std::error_code error;
  std::filesystem::directory_iterator at(folder, error);
  for (const std::filesystem::directory_iterator end; !error && at != end; at.increment(error)) {
    std::error_code unreadable;  // a broken link is neither a file nor a folder
    const bool wanted = folders ? at->is_directory(unreadable) : at->is_regular_file(unreadable);
    std::string name = at->path().filename().string();
    if (wanted && name[0] != '.') out.push_back(std::move(name));
  }
  check<FileError>(!error, folder.string(), ": cannot list the folder: ", error.message());
  std::sort(out.begin(), out.end());
  return out;
}

/// Reads a whole regular file into `out`; throws FileError where it is missing, unreadable, above `max_bytes`, or
/// changes.
inline void read_file(const std::filesystem::path& path, std::int64_t max_bytes, std::vector<std::uint8_t>& out) {
  std::error_code error;
  const auto kind = std::filesystem::status(path, error).type();
  check<FileError>(kind != std::filesystem::file_type::not_found, path.string(), ": no such file");
  check<FileError>(!error && kind == std::filesystem::file_type::regular, path.string(), ": not a regular file");
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  check<FileError>(file.good(), path.string(), ": cannot open");
  const auto size = static_cast<std::int64_t>(file.tellg());
  check<FileError>(size >= 0 && size <= max_bytes, path.string(), ": ", size, " bytes, at most ", max_bytes,
                   " are read");
  out.resize(static_cast<std::size_t>(size));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(out.data()), size);
  check<FileError>(file.gcount() == size && file.peek() == std::ifstream::traits_type::eof(), path.string(),
                   ": cannot read its ", size, " bytes");
}
inline std::vector<std::uint8_t> read_file(const std::filesystem::path& path, std::int64_t max_bytes) {
  std::vector<std::uint8_t> out;
  read_file(path, max_bytes, out);
  return out;
}

/// The lines of a text file, without their ends; empty lines are kept, except the last. Throws FileError as
/// `read_file`.
inline std::vector<std::string> read_lines(const std::filesystem::path& path, std::int64_t max_bytes) {
  const std::vector<std::uint8_t> bytes = read_file(path, max_bytes);
  std::vector<std::string> out;
  for (auto at = bytes.begin(); at != bytes.end();) {
    const auto end = std::find(at, bytes.end(), std::uint8_t{'\n'});
    out.emplace_back(at, end);
    if (!out.back().empty() && out.back().back() == '\r') out.back().pop_back();
    at = end == bytes.end() ? end : end + 1;
  }
  return out;
}

/// True for the names of JPEG and PNG files.
inline bool is_image_name(std::string_view name) {
  const auto dot = name.rfind('.');
  if (dot == std::string_view::npos) return false;
  std::string extension(name.substr(dot + 1));
  for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return extension == "jpg" || extension == "jpeg" || extension == "png";
}

}  // namespace data
}  // namespace v0
}  // namespace spnet
