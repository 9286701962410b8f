// Whole files, read and replaced: a reader sees the earlier file or the new one, never a piece of either.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "spnet/core/error.hpp"

namespace spnet {
inline namespace v0 {
namespace files {

/// The system calls that files are read and written with, with the results and the errno of POSIX. Tests put faults
/// here.
struct SystemCalls {
  int (*open)(const char* path, int flags, mode_t mode) = [](const char* path, int flags, mode_t mode) {
    return ::open(path, flags, mode);
  };
  int (*fstat)(int file, struct stat* out) = [](int file, struct stat* out) { return ::fstat(file, out); };
  ssize_t (*read)(int file, void* out, std::size_t count) = ::read;
  ssize_t (*write)(int file, const void* bytes, std::size_t count) = ::write;
  int (*fsync)(int file) = ::fsync;
  int (*close)(int file) = ::close;
  int (*rename)(const char* from, const char* to) = ::rename;
  int (*unlink)(const char* path) = ::unlink;
};

/// Those of the system.
inline const SystemCalls& real_system_calls() {
  static const SystemCalls calls;
  return calls;
}

namespace detail {

[[noreturn]] inline void throw_file_error(const std::filesystem::path& path, const char* action, int error) {
  throw FileError(message(path.string(), ": ", action, ": ", std::generic_category().message(error)));
}

// Repeats a call that a signal interrupted.
template <class Call>
auto uninterrupted(const Call& call) {
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

// An open descriptor; the destructor closes it without a word, `close()` reports.
class Descriptor {
 public:
  Descriptor(const SystemCalls& calls, int file) : calls_(calls), file_(file) {}
  Descriptor(Descriptor&& other) noexcept : calls_(other.calls_), file_(std::exchange(other.file_, -1)) {}
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (file_ >= 0) calls_.close(file_);
  }
  int get() const { return file_; }
  // The descriptor is gone even where close fails, so a failed close is never repeated.
  bool close() {
    const int file = std::exchange(file_, -1);
    return calls_.close(file) == 0 || errno == EINTR;
  }

 private:
  const SystemCalls& calls_;
  int file_;
};

// A temporary file's name; the destructor removes the file unless it was renamed.
class TemporaryName {
 public:
  TemporaryName(const SystemCalls& calls, std::filesystem::path path) : calls_(calls), path_(std::move(path)) {}
  TemporaryName(const TemporaryName&) = delete;
  TemporaryName& operator=(const TemporaryName&) = delete;
  ~TemporaryName() {
    if (created_) calls_.unlink(path_.c_str());
  }
  const std::filesystem::path& path() const { return path_; }
  void set_created(bool created) { created_ = created; }

 private:
  const SystemCalls& calls_;
  std::filesystem::path path_;
  bool created_ = false;
};

inline std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

inline std::string temporary_prefix(const std::filesystem::path& path) {
  return message('.', path.filename().string(), '.');
}
inline constexpr std::string_view kTemporarySuffix = ".tmp";

inline void write_all(const SystemCalls& calls, int file, std::span<const std::byte> bytes,
                      const std::filesystem::path& path) {
  // One call may write at most 2 GiB, on some systems.
  constexpr std::size_t kMaxWrite = std::size_t{1} << 30;
  while (!bytes.empty()) {
    const std::size_t wanted = std::min(bytes.size(), kMaxWrite);
    const ssize_t written = uninterrupted([&] { return calls.write(file, bytes.data(), wanted); });
    if (written < 0) throw_file_error(path, "cannot write", errno);
    check<FileError>(written > 0 && static_cast<std::size_t>(written) <= wanted, path.string(),
                     ": cannot write: the system took ", written, " of ", wanted, " bytes");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

// Opens a regular file of at most `max_bytes` bytes for reading, and tells its size.
inline Descriptor open_regular(const std::filesystem::path& path, std::uint64_t max_bytes, const SystemCalls& calls,
                               std::size_t& size) {
  // O_NONBLOCK: opening a named pipe must not wait for its other end.
  Descriptor file(calls, uninterrupted([&] { return calls.open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0); }));
  if (file.get() < 0) throw_file_error(path, "cannot open", errno);
  struct stat status {};
  if (calls.fstat(file.get(), &status) != 0) throw_file_error(path, "cannot inspect", errno);
  check<FileError>(S_ISREG(status.st_mode), path.string(), ": not a regular file");
  check<FileError>(status.st_size >= 0 && static_cast<std::uint64_t>(status.st_size) <= max_bytes, path.string(), ": ",
                   status.st_size, " bytes, at most ", max_bytes, " are read");
  size = static_cast<std::size_t>(status.st_size);
  return file;
}

}  // namespace detail

/// Replaces `path` by the concatenated `pieces`: temporary file in the same folder, fsync, rename, fsync of the folder.
/// A failure at any point leaves the earlier file whole and removes the temporary one; a failure of the last fsync
/// leaves the new file, whole. A symbolic link is replaced, not followed. Throws FileError naming the path and the
/// system's reason.
inline void write_file_atomically(const std::filesystem::path& path, std::span<const std::span<const std::byte>> pieces,
                                  const SystemCalls& calls = real_system_calls()) {
  using detail::throw_file_error, detail::uninterrupted;
  check<FileError>(path.has_filename(), path.string(), ": not the name of a file");
  static std::atomic<unsigned> count{0};
  const std::filesystem::path folder = detail::folder_of(path);
  detail::TemporaryName temporary(
      calls, folder / message(detail::temporary_prefix(path), ::getpid(), "-", count++, detail::kTemporarySuffix));
  detail::Descriptor directory(
      calls, uninterrupted([&] { return calls.open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0); }));
  if (directory.get() < 0) throw_file_error(path, "cannot open its folder", errno);
  detail::Descriptor file(calls, uninterrupted([&] {
                            return calls.open(temporary.path().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
                          }));
  if (file.get() < 0) throw_file_error(path, "cannot create a temporary file beside it", errno);
  temporary.set_created(true);
  for (std::span<const std::byte> piece : pieces) detail::write_all(calls, file.get(), piece, path);
  if (uninterrupted([&] { return calls.fsync(file.get()); }) != 0) throw_file_error(path, "cannot flush", errno);
  if (!file.close()) throw_file_error(path, "cannot close", errno);
  if (calls.rename(temporary.path().c_str(), path.c_str()) != 0)
    throw_file_error(path, "cannot rename the temporary file", errno);
  temporary.set_created(false);
  // Some file systems cannot flush a folder and say EINVAL; the rename is in order there all the same.
  if (uninterrupted([&] { return calls.fsync(directory.get()); }) != 0 && errno != EINVAL)
    throw_file_error(path, "written, but its folder cannot be flushed", errno);
}

/// As above, from one block of bytes.
inline void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes,
                                  const SystemCalls& calls = real_system_calls()) {
  write_file_atomically(path, std::span<const std::span<const std::byte>>(&bytes, 1), calls);
}

/// As above, from text.
inline void write_file_atomically(const std::filesystem::path& path, std::string_view text,
                                  const SystemCalls& calls = real_system_calls()) {
  write_file_atomically(path, std::as_bytes(std::span(text)), calls);
}

/// Removes temporary files that killed writers of `path` left in its folder; call it only where no other process writes
/// `path`. Returns how many were removed; failures are passed over.
inline int remove_abandoned_temporaries(const std::filesystem::path& path) {
  const std::string prefix = detail::temporary_prefix(path);
  int removed = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator at(detail::folder_of(path), error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.size() <= prefix.size() || !name.starts_with(prefix) || !name.ends_with(detail::kTemporarySuffix))
      continue;
    const std::string middle =
        name.substr(prefix.size(), name.size() - prefix.size() - detail::kTemporarySuffix.size());
    if (middle.empty() || middle.find_first_not_of("0123456789-") != std::string::npos) continue;
    removed += ::unlink(at->path().c_str()) == 0 ? 1 : 0;
  }
  return removed;
}

/// The bytes of one file, held in memory.
struct FileBytes {
  std::unique_ptr<std::byte[]> data;
  std::size_t size = 0;
  std::span<const std::byte> span() const { return {data.get(), size}; }
};

/// Reads a whole regular file of at most `max_bytes` bytes into memory, from one descriptor.
/// Throws FileError where it is missing, unreadable, not a regular file, too large, or changes while it is read.
inline FileBytes read_file(const std::filesystem::path& path, std::uint64_t max_bytes,
                           const SystemCalls& calls = real_system_calls()) {
  using detail::throw_file_error, detail::uninterrupted;
  FileBytes out;
  const detail::Descriptor file = detail::open_regular(path, max_bytes, calls, out.size);
  try {
    // One byte more than the file says it has, so that the last read also tells whether it has grown.
    out.data = std::make_unique_for_overwrite<std::byte[]>(out.size + 1);
  } catch (const std::bad_alloc&) {
    throw FileError(message(path.string(), ": no memory for ", out.size, " bytes"));
  }
  std::size_t filled = 0;
  for (;;) {
    const std::size_t wanted = std::min(out.size + 1 - filled, std::size_t{1} << 30);
    const ssize_t got = uninterrupted([&] { return calls.read(file.get(), out.data.get() + filled, wanted); });
    if (got < 0) throw_file_error(path, "cannot read", errno);
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
    check<FileError>(filled <= out.size, path.string(), ": grew while it was read");
  }
  check<FileError>(filled == out.size, path.string(), ": ends after ", filled, " of ", out.size, " bytes");
  return out;
}

/// The same as text.
inline std::string read_text(const std::filesystem::path& path, std::uint64_t max_bytes = std::uint64_t{1} << 30) {
  const FileBytes bytes = read_file(path, max_bytes);
  return {reinterpret_cast<const char*>(bytes.data.get()), bytes.size};
}

}  // namespace files
}  // namespace v0
}  // namespace spnet
