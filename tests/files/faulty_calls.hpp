// System calls of which one goes wrong, for tests of what a file looks like after a fault.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "spnet/files/atomic_file.hpp"

struct Killed {};

// Counts the calls of a table and makes call number `at` go wrong. One at a time: the table is of plain functions.
struct Fault {
  enum Kind { kNone, kError, kInterrupt, kShort, kKill };
  Kind kind = kNone;
  int at = -1;
  int error = 0;
  int calls = 0;
  bool dead = false;
};
inline Fault fault;

// True where the call must not reach the system. A killed process makes no more calls; in destructors, where nothing
// can be thrown, that alone simulates the kill.
inline bool faulty(bool may_throw = true) {
  if (fault.dead) {
    errno = EIO;
    return true;
  }
  if (fault.calls++ != fault.at) return false;
  if (fault.kind == Fault::kKill) {
    fault.dead = true;
    if (may_throw) throw Killed();
    errno = EIO;
    return true;
  }
  if (fault.kind != Fault::kError && fault.kind != Fault::kInterrupt) return false;
  errno = fault.kind == Fault::kError ? fault.error : EINTR;
  return true;
}

inline spnet::files::SystemCalls faulty_calls() {
  spnet::files::SystemCalls calls;
  calls.open = [](const char* path, int flags, mode_t mode) { return faulty() ? -1 : ::open(path, flags, mode); };
  calls.fstat = [](int file, struct stat* out) { return faulty() ? -1 : ::fstat(file, out); };
  calls.read = [](int file, void* out, std::size_t count) -> ssize_t {
    const bool shorten = fault.kind == Fault::kShort;
    return faulty() ? -1 : ::read(file, out, shorten ? std::min<std::size_t>(count, 3) : count);
  };
  calls.write = [](int file, const void* bytes, std::size_t count) -> ssize_t {
    const bool shorten = fault.kind == Fault::kShort;
    return faulty() ? -1 : ::write(file, bytes, shorten ? std::min<std::size_t>(count, 3) : count);
  };
  calls.fsync = [](int file) { return faulty() ? -1 : ::fsync(file); };
  // The descriptor goes away even where close reports an error, or the process has died.
  calls.close = [](int file) {
    ::close(file);
    return faulty(false) ? -1 : 0;
  };
  calls.rename = [](const char* from, const char* to) { return faulty() ? -1 : ::rename(from, to); };
  calls.unlink = [](const char* path) { return faulty() ? -1 : ::unlink(path); };
  return calls;
}
