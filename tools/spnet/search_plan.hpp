// What a search for widths is held to, and what its result is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "run_config.hpp"
#include "spnet/io/safetensors.hpp"
#include "spnet/nn/module.hpp"
#include "spnet/search/ssps.hpp"

namespace spnet::program {

/// Measures on this machine, with the runtime's kernels, the network of `config` (its weights do not matter) for images
/// of its size. Throws ValueError where it cannot be packed.
LatencyTable profile_latency(const RunConfig& config, const search::Candidates& candidates, int threads);

/// As JSON, with what they were measured for. Throw FileError; loading, where that is not `config`'s network and image,
/// or a number is none of milliseconds.
void save_latency(const std::string& path, const RunConfig& config, const LatencyTable& table);
LatencyTable load_latency(const std::string& path, const RunConfig& config);
/// Throws FileError, naming `source` and the layer, where a number is none of milliseconds.
void check_latency(const LatencyTable& table, const std::string& source);

/// --candidates and --input-candidates, which are the same where they are left out. Throws ValueError, naming the
/// option, where one is no number, and as search::check_candidates.
search::Candidates parse_candidates(const std::vector<std::string>& weights, const std::vector<std::string>& inputs);

/// Throws ValueError, naming the option, where a search cannot be as `config` says, as far as that is known without
/// its data.
void check_search(const RunConfig& config);

/// Reads or measures the latencies, where a constraint needs them.
void complete_search(RunConfig& config);

/// The constraints of `config`: "avg-bits:2" (the mean over all weights, and that over all inputs of layers),
/// "size-mib:0.3" (by the size rule), "bitops-g:0.5" (1e9 bit operations an image), "latency-ms:1.2" (an image); for a
/// number, what all layers at a pair of candidates cost ("bitops-g:w2a2"). Throws ValueError, naming the constraint and
/// the feasible range.
std::vector<search::NamedConstraint> make_constraints(const RunConfig& config, nn::Module& model,
                                                      search::Architecture architecture);

/// What a search had found when it wrote a checkpoint; the layers of `model` are set to what was decided, or else
/// likeliest. Throws FileError, and ValueError where the network does not have the candidates.
search::Architecture restore_found(const RunConfig& config, const io::TensorFile& checkpoint, nn::Module& model);

/// Where the state of a training method is in a checkpoint.
inline constexpr const char* kMethodPrefix = "method.";

}  // namespace spnet::program
