#include <cstdio>
#include <filesystem>

#include "commands.hpp"
#include "configuration_file.hpp"
#include "data_source.hpp"
#include "packed_model.hpp"
#include "packed_run.hpp"
#include "run_folder.hpp"
#include "spnet/core/parallel.hpp"

namespace spnet::program {

namespace {

struct PackArguments {
  std::string run, out, switches, data;
  std::vector<std::string> configurations;
  std::int64_t recalibrate = 0, batch = 128;
  int threads = 0;
  bool best = false, skip_bad = false, no_eval = false;
};

int pack(const PackArguments& arguments) {
  require_folder_of(arguments.out);
  set_num_threads(arguments.threads);
  LoadedRun run = load_run(arguments.run, arguments.best);
  RunConfig& config = run.config;
  config.skip_bad = config.skip_bad || arguments.skip_bad;
  std::vector<Precision> switches =
      arguments.switches.empty() ? config.switches : parse_switches_option(arguments.switches);
  if (config.is_fixed()) {
    check<ValueError>(arguments.switches.empty(), "pack: --switches given, but each layer of ", arguments.run,
                      " has a precision of its own");
    switches.clear();
  }
  if (!arguments.configurations.empty()) warn_of_transitions(run, arguments.run);
  runtime::Graph graph = pack_run(run, switches);
  data::DataSplits splits;
  if (!arguments.no_eval || arguments.recalibrate > 0)
    splits = open_data(config, arguments.data.empty() ? config.data : arguments.data);
  if (arguments.recalibrate > 0) {
    recalibrate(run, graph, load_configuration(arguments.configurations.front(), graph), splits, arguments.recalibrate);
    graph = pack_run(run, switches);
  }
  for (const std::string& file : arguments.configurations)
    graph.configurations.push_back(load_configuration(file, graph));
  if (!arguments.no_eval) {
    auto all = uniform_configurations(switches, graph);
    all.insert(all.end(), graph.configurations.begin(), graph.configurations.end());
    const auto results = evaluate_packed(std::make_shared<const runtime::Model>(graph), all, splits, arguments.batch);
    report_faults(*splits.test);
    for (std::size_t i = 0; i < results.size(); ++i)
      (i < switches.size() ? graph.accuracies[i] : graph.configurations[i - switches.size()].accuracy) =
          runtime::Accuracy{.images = results[i].images, .top1_percent = results[i].top1_percent()};
  }
  runtime::save_packed(arguments.out, graph);
  return print_packed(arguments.out);
}

}  // namespace

void add_pack_command(CLI::App& app, std::function<int()>& chosen) {
  auto arguments = std::make_shared<PackArguments>();
  CLI::App* command = app.add_subcommand("pack", "One file with a run's network at all its switches, for the runtime");
  command->add_option("run", arguments->run, "folder of the run")->required();
  command->add_option("--out", arguments->out, "the file, as model.spn")->required();
  command->add_option("--switch,--switches", arguments->switches, "only these, as w2a2,w8a8");
  command->add_option("--config", arguments->configurations,
                      "files with a precision for each layer, to be carried and measured as the switches are");
  command
      ->add_option("--recalibrate", arguments->recalibrate,
                   "replace the statistics of the batch norms that the one --config uses by those of so many training "
                   "images; other mixtures share them")
      ->check(CLI::Range(1, 100000000));
  command->add_option("--data", arguments->data, "another data set to measure the accuracy on, as for train");
  command->add_option("--batch", arguments->batch, "images at a time")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--threads", arguments->threads, "threads, 0: one per processor")->check(CLI::Range(0, 1024));
  command->add_flag("--best", arguments->best, "the best weights instead of the newest");
  command->add_flag("--skip-bad", arguments->skip_bad, "go on without images that cannot be read");
  command->add_flag("--no-eval", arguments->no_eval, "leave the accuracy out");
  command->callback([=, &chosen] {
    chosen = [arguments] {
      if (arguments->recalibrate > 0 && arguments->configurations.size() != 1)
        throw UsageError("pack: --recalibrate needs exactly one --config");
      return pack(*arguments);
    };
  });
}

}  // namespace spnet::program
