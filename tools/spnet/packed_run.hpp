// From a run to its packed network.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "run_folder.hpp"
#include "spnet/data/open_options.hpp"
#include "spnet/runtime/graph.hpp"

namespace spnet::program {

/// The packed network of a run at `switches`, each of whose layers may be at any of them. Throws as pack::pack.
runtime::Graph pack_run(LoadedRun& run, const std::vector<Precision>& switches);

/// Before layers of the run in the folder `path` are set to precisions of their own: warns where its transitional norms
/// were not started yet.
void warn_of_transitions(const LoadedRun& run, const std::string& path);

/// Sets the layers of a run's network to a configuration of its packed `graph` and recalibrates the batch norms that
/// are then in use by `images` training images: see train::recalibrate_norms.
void recalibrate(LoadedRun& run, const runtime::Graph& graph, const runtime::NamedConfiguration& configuration,
                 const data::DataSplits& splits, std::int64_t images);

/// On how many of how many images two networks have logits of the same bits, at a precision.
struct Parity {
  std::string name;
  std::int64_t equal = 0, images = 0;
};

/// Of a run's network and the packed one on the test images, at each of `switches`, or as it is where its layers are
/// fixed.
std::vector<Parity> compare_packed(LoadedRun& run, const std::vector<Precision>& switches,
                                   const data::DataSplits& splits);

}  // namespace spnet::program
