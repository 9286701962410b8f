// From a run to its packed network.
#pragma once

#include <vector>

#include "run_folder.hpp"
#include "spnet/runtime/graph.hpp"

namespace spnet::program {

/// The packed network of a run at `switches`, each of whose layers may be at any of them. Throws as pack::pack.
runtime::Graph pack_run(LoadedRun& run, const std::vector<Precision>& switches);

}  // namespace spnet::program
