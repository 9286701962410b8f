// A file as memory, read page by page when it is looked at.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>

#include "spnet/files/atomic_file.hpp"

namespace spnet {
inline namespace v0 {
namespace files {

/// A regular file, mapped read-only. For files that are only ever replaced whole, as write_file_atomically does: one
/// that is cut short in place while it is mapped ends the program with SIGBUS.
class MappedFile {
 public:
  /// Throws FileError where `path` is missing, unreadable, not a regular file, empty or larger than `max_bytes`.
  explicit MappedFile(const std::filesystem::path& path, std::uint64_t max_bytes,
                      const SystemCalls& calls = real_system_calls()) {
    const detail::Descriptor file = detail::open_regular(path, max_bytes, calls, size_);
    check<FileError>(size_ > 0, path.string(), ": empty");
    data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (data_ == MAP_FAILED) detail::throw_file_error(path, "cannot map", errno);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() { ::munmap(data_, size_); }

  std::span<const std::byte> span() const { return {static_cast<const std::byte*>(data_), size_}; }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace files
}  // namespace v0
}  // namespace spnet
