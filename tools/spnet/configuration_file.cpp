#include "configuration_file.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "packed_model.hpp"
#include "spnet/files/atomic_file.hpp"

namespace spnet::program {

namespace {

std::uint8_t place_of(Precision p, const runtime::Graph& graph) {
  const auto at = std::find(graph.precisions.begin(), graph.precisions.end(), p);
  check<ValueError>(at != graph.precisions.end(), p, " given, the network has ", join(graph.precisions));
  return static_cast<std::uint8_t>(at - graph.precisions.begin());
}

struct File {
  std::string name;
  std::map<std::string, std::string> layers;
};

File load_file(const std::string& path) {
  const std::string text = files::read_text(path);
  File out{std::filesystem::path(path).stem().string(), {}};
  try {
    // What is named twice would be whatever comes last.
    std::string section;
    std::set<std::string> seen;
    const auto once = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
      if (event != nlohmann::json::parse_event_t::key) return true;
      const auto key = parsed.get<std::string>();
      if (depth == 1) section = key;
      if (depth == 1 || (depth == 2 && section == "layers"))
        check<FileError>(seen.insert(message(depth, key)).second, path, ": ", depth == 1 ? "entry" : "layer", " '", key,
                         "' is there twice");
      return true;
    };
    const auto json = nlohmann::json::parse(text, once);
    out.name = json.value("name", out.name);
    for (const auto& [layer, precision] : json.at("layers").get_ref<const nlohmann::json::object_t&>()) {
      check<FileError>(precision.is_string(), path, ": layer '", layer, "': ", precision.dump(),
                       " given, expected a precision as \"w2a2\"");
      out.layers[layer] = precision;
    }
  } catch (const nlohmann::json::exception& error) {
    throw FileError(
        message(path, ": not a configuration, {\"layers\": {\"layer\": \"w2a2\", …}} (", error.what(), ")"));
  }
  return out;
}

}  // namespace

std::map<std::string, std::string> load_layers(const std::string& path) {
  File file = load_file(path);
  check<FileError>(!file.layers.empty(), path, ": names no layer");
  for (const auto& [layer, precision] : file.layers) {
    try {
      parse_precision(precision);
    } catch (const ValueError& error) {
      throw FileError(message(path, ": layer '", layer, "': ", error.what()));
    }
  }
  return std::move(file.layers);
}

runtime::NamedConfiguration load_configuration(const std::string& path, const runtime::Graph& graph) {
  for (const auto& carried : graph.configurations)
    if (carried.name == path) return carried;
  auto [name, layers] = load_file(path);
  runtime::NamedConfiguration out{.name = std::move(name), .layers = {}, .accuracy = {}};
  for (const std::string& layer : graph.layers) {
    const auto at = layers.find(layer);
    check<FileError>(at != layers.end(), path, ": layer '", layer, "' is missing");
    try {
      out.layers.push_back(place_of(parse_precision(at->second), graph));
    } catch (const ValueError& error) {
      throw FileError(message(path, ": layer '", layer, "': ", error.what()));
    }
    layers.erase(at);
  }
  // In a network with fixed layers, float ones have no precision to choose.
  if (graph.is_fixed) std::erase_if(layers, [](const auto& layer) { return layer.second == to_string(Precision{}); });
  check<FileError>(layers.empty(), path, ": layer '", layers.empty() ? "" : layers.begin()->first,
                   "' is not one of the network's, which are ", join(graph.layers));
  const auto allowed = runtime::layer_precisions(graph);
  for (std::size_t l = 0; l < allowed.size(); ++l)
    check<FileError>(allowed[l] >> out.layers[l] & 1, path, ": layer '", graph.layers[l],
                     "': the network was not packed with it at ", graph.precisions[out.layers[l]]);
  return out;
}

void save_configuration(const std::string& path, const runtime::NamedConfiguration& configuration,
                        const runtime::Graph& graph) {
  nlohmann::ordered_json json;
  json["name"] = configuration.name;
  for (std::size_t i = 0; i < graph.layers.size(); ++i)
    json["layers"][graph.layers[i]] = to_string(graph.precisions[configuration.layers[i]]);
  files::write_file_atomically(path, json.dump(2) + "\n");
}

std::vector<runtime::NamedConfiguration> uniform_configurations(const std::vector<Precision>& precisions,
                                                                const runtime::Graph& graph) {
  std::vector<runtime::NamedConfiguration> out;
  for (const Precision p : precisions)
    out.push_back({to_string(p), runtime::Configuration(graph.layers.size(), place_of(p, graph)), {}});
  return out;
}

std::vector<runtime::NamedConfiguration> chosen_configurations(const runtime::Graph& graph, const std::string& switches,
                                                               const std::vector<std::string>& files) {
  std::vector<runtime::NamedConfiguration> out;
  // A network with fixed layers has one way to run, even where all of them are alike.
  if (!switches.empty() || (files.empty() && !graph.is_fixed))
    out = uniform_configurations(chosen_switches(graph, switches), graph);
  for (const std::string& file : files) out.push_back(load_configuration(file, graph));
  if (switches.empty() && files.empty())
    out.insert(out.end(), graph.configurations.begin(), graph.configurations.end());
  return out;
}

}  // namespace spnet::program
