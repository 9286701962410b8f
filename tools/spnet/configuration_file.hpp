// Configuration files: a precision for each layer.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "spnet/runtime/graph.hpp"

namespace spnet::program {

/// The precisions of layers in the file at `path`, a JSON object {"layers": {layer: "w2a2", …}, …}. Throws FileError,
/// naming the file and the layer, where it is none or a precision is not one.
std::map<std::string, std::string> load_layers(const std::string& path);

/// Reads the file at `path`, a JSON object {"name": text, "layers": {layer: "w2a2", …}}, for a network; its name is the
/// file's stem where it has none. Or, where the network carries a configuration of the name `path`, gives that. Throws
/// FileError, naming the file and the layer, where a layer is missing, unknown, or at a precision that the network was
/// not packed for.
runtime::NamedConfiguration load_configuration(const std::string& path, const runtime::Graph& graph);

/// Writes such a file; the earlier one stays whole where that fails.
void save_configuration(const std::string& path, const runtime::NamedConfiguration& configuration,
                        const runtime::Graph& graph);

/// All layers at each of `precisions`, named after it.
std::vector<runtime::NamedConfiguration> uniform_configurations(const std::vector<Precision>& precisions,
                                                                const runtime::Graph& graph);

/// What a command is to work with: the given switches ("w2a2,w4a4") and files; where neither is given, all precisions
/// and what the network carries. Throws as parse_switches_option, chosen_switches and load_configuration.
std::vector<runtime::NamedConfiguration> chosen_configurations(const runtime::Graph& graph, const std::string& switches,
                                                               const std::vector<std::string>& files);

}  // namespace spnet::program
