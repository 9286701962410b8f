// A run from its first step to its last, interrupted and resumed as often as need be.
#pragma once

#include <cstdint>
#include <string>

#include "run_config.hpp"
#include "spnet/io/safetensors.hpp"

namespace spnet::program {

/// How a session goes about its run; none of it changes the result.
struct SessionOptions {
  std::int64_t save_every = 0;  ///< steps between checkpoints within an epoch; 0: only at its end
  std::int64_t eval_every = 1;  ///< epochs between evaluations; 0: only after the last
  bool is_part = false;         ///< of something larger, which says how to go on where it was stopped
};

/// Begins a new run in `folder`, from `init` (a run's folder or a safetensors file) where that is not empty, and trains to
/// the end or until a stop is requested; returns whether the end was reached. A checkpoint holds all that a run depends
/// on, so that a resumed run ends with the same bytes as one that was never stopped. Where data cannot be read, what is
/// done is saved before the FileError goes on.
bool begin_run(const std::string& folder, const RunConfig& config, const SessionOptions& options, const std::string& init);
/// The same from the network in `start`, a file as io::put_module fills it, whose channels may be fewer than the
/// configuration says where that is `pruned`.
bool begin_run(const std::string& folder, const RunConfig& config, const SessionOptions& options,
               const io::TensorFile& start);
/// Goes on with the run in `folder`; with `skip_bad` without images that cannot be read, even where it began with all.
/// Throws FileError where it is a search and `is_search` says that none is expected, or the other way round.
bool resume_run(const std::string& folder, const SessionOptions& options, bool skip_bad, bool is_search);

}  // namespace spnet::program
