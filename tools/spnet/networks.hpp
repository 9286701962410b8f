// The program's networks. One translation unit compiles them for all commands.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "run_config.hpp"
#include "spnet/io/safetensors.hpp"
#include "spnet/nn/module.hpp"
#include "spnet/train/evaluate.hpp"

namespace spnet::program {

/// Throws ValueError, listing the known ones, where there is no network called `name`.
void require_network(const std::string& name);

/// The network of `config`, freshly initialised, its layers at the precisions that they have for good, if any. Throws
/// ValueError, naming the layer, where these are not the network's.
std::unique_ptr<nn::Classifier> make_network(const RunConfig& config);

/// Top-1 of the network of `config` at each of its switches, or as its layers have been fixed; see train::evaluate.
std::vector<train::Evaluation> evaluate_network(const RunConfig& config, nn::Module& model, data::Loader& loader,
                                                const std::function<bool(std::int64_t)>& progress = {});

/// Fills `model`, just made for `config`, from a checkpoint, and makes it as small as that where the configuration is
/// `pruned`. Throws FileError, naming `source`, where the two do not fit.
void load_network(const RunConfig& config, const io::TensorFile& file, const std::string& source, nn::Module& model);

}  // namespace spnet::program
