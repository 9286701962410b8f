#include "packed_model.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "commands.hpp"
#include "configuration_file.hpp"
#include "progress.hpp"
#include "spnet/data/loader.hpp"
#include "spnet/runtime/cost.hpp"
#include "spnet/runtime/engine.hpp"

namespace spnet::program {

bool is_packed(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

std::vector<Precision> parse_switches_option(const std::string& switches) {
  if (switches.empty()) return {};
  try {
    return parse_switches(switches);
  } catch (const ValueError& error) {
    throw UsageError(error.what());
  }
}

std::vector<Precision> chosen_switches(const runtime::Graph& graph, const std::string& switches) {
  const std::vector<Precision> known = runtime::uniform_precisions(graph);
  if (switches.empty()) return known;
  const std::vector<Precision> chosen = parse_switches_option(switches);
  for (const Precision p : chosen)
    check<ValueError>(std::find(known.begin(), known.end(), p) != known.end(), p,
                      " given, the network was packed for ",
                      known.empty() ? std::string("layers at precisions of their own") : join(known));
  return chosen;
}

data::Augmentation preparation(const runtime::Graph& graph) {
  check<FileError>(graph.input.rank() == 3 && graph.input[2] == 3, graph.name, ": the network takes ", graph.input,
                   ", not colour images");
  check<FileError>(graph.preparation.mean.size() == 3, graph.name,
                   ": the network was packed without the mean and deviation of colours, by which images are prepared");
  data::Augmentation out{.size = {graph.input[0], graph.input[1]}, .centre_share = graph.preparation.centre_share};
  std::copy_n(graph.preparation.mean.begin(), 3, out.mean.begin());
  std::copy_n(graph.preparation.deviation.begin(), 3, out.deviation.begin());
  return out;
}

void require_classes(const runtime::Graph& graph, const data::DataSplits& splits) {
  check<FileError>(splits.test->classes().size() == graph.classes.size(), "eval: the data has ",
                   splits.test->classes().size(), " classes, the network has ", graph.classes.size());
}

std::vector<train::Evaluation> evaluate_packed(const std::shared_ptr<const runtime::Model>& model,
                                               const std::vector<runtime::NamedConfiguration>& configurations,
                                               const data::DataSplits& splits, std::int64_t batch) {
  const runtime::Graph& graph = model->graph();
  require_classes(graph, splits);
  data::Loader loader(splits.test, {.batch_size = batch, .shuffle = false, .augmentation = preparation(graph)});
  runtime::Engine engine(model, {.threads = num_threads(), .tune = false});
  std::vector<std::string> names;
  for (const auto& c : configurations) names.push_back(c.name);
  Progress progress("evaluating", splits.test->size(), "images");
  return train::evaluate_logits(
      [&](std::size_t i, const Tensor<float>& images) {
        engine.set_configuration(configurations[i].layers);
        return engine.run(images);
      },
      names, loader,
      [&](std::int64_t images) {
        progress.update(images);
        return true;
      });
}

std::int64_t weight_bytes(const runtime::Model& model, const runtime::Configuration& configuration) {
  return runtime::cost_of(model, configuration).weight_bytes;
}

int print_packed(const std::string& path) {
  const runtime::Model model(runtime::load_packed(path));
  const runtime::Graph& g = model.graph();
  std::printf("model       %s, %zu classes, %zu layers, %zu operators\n", g.name.c_str(), g.classes.size(),
              g.layers.size(), g.nodes.size());
  std::printf("images      %s\n", message(g.input).c_str());
  std::printf("file        %llu bytes\n", static_cast<unsigned long long>(std::filesystem::file_size(path)));
  std::vector<runtime::NamedConfiguration> all;
  for (std::size_t i = 0; i < g.precisions.size(); ++i)
    if (model.is_uniform(i))
      all.push_back({to_string(g.precisions[i]), runtime::Configuration(g.layers.size(), static_cast<std::uint8_t>(i)),
                     g.accuracies[i]});
  all.insert(all.end(), g.configurations.begin(), g.configurations.end());
  std::printf("switch      top-1 %%   weight bytes\n");
  for (const auto& c : all) {
    char accuracy[32] = "-";
    if (c.accuracy) std::snprintf(accuracy, sizeof accuracy, "%.2f", c.accuracy->top1_percent);
    std::printf("%-8s %10s %14lld\n", c.name.c_str(), accuracy, static_cast<long long>(weight_bytes(model, c.layers)));
  }
  return 0;
}

}  // namespace spnet::program
