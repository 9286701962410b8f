#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "commands.hpp"
#include "data_source.hpp"
#include "progress.hpp"
#include "run_folder.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/nn/size.hpp"
#include "table.hpp"

namespace spnet::program {

namespace {

struct EvalArguments {
  std::string run, data;
  std::string switches;
  std::int64_t batch = 128;
  int threads = 0;
  bool json = false, best = false, skip_bad = false;
};

int evaluate_run(EvalArguments& arguments) {
  set_num_threads(arguments.threads);
  std::vector<Precision> switches;
  try {
    if (!arguments.switches.empty()) switches = parse_switches(arguments.switches);
  } catch (const ValueError& error) {
    throw UsageError(error.what());
  }
  LoadedRun run = load_run(arguments.run, arguments.best);
  if (switches.empty()) switches = run.config.switches;
  for (Precision p : switches) run.model->set_precision(p);  // refuse before data is read
  run.config.batch = arguments.batch;
  run.config.skip_bad = run.config.skip_bad || arguments.skip_bad;
  const data::DataSplits splits = open_data(run.config, arguments.data.empty() ? run.config.data : arguments.data);
  check<FileError>(splits.test->classes().size() == run.config.classes.size(), "eval: the data has ",
                   splits.test->classes().size(), " classes, the network has ", run.config.classes.size());
  data::Loader loader(splits.test, loader_options(run.config, /*training=*/false));
  std::vector<train::Evaluation> results;
  {
    Progress progress("evaluating", splits.test->size(), "images");
    results = train::evaluate(*run.model, switches, loader, [&](std::int64_t images) {
      progress.update(images);
      return true;
    });
  }
  report_faults(*splits.test);
  if (!arguments.json) {
    std::fputs(evaluation_table(*run.model, results).c_str(), stdout);
    return 0;
  }
  for (const auto& r : results) {
    const nlohmann::json line = {{"switch", to_string(r.precision)},
                                 {"top1", r.top1_percent()},
                                 {"images", r.images},
                                 {"weight_bytes", nn::model_size_bytes(*run.model, r.precision)},
                                 {"ms_per_image", r.ms_per_image()}};
    std::printf("%s\n", line.dump().c_str());
  }
  return 0;
}

}  // namespace

void add_eval_command(CLI::App& app, std::function<int()>& chosen) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command = app.add_subcommand("eval", "Accuracy, size and time of a run's network at its switches");
  command->add_option("--run", arguments->run, "folder of the run")->required();
  command->add_option("--switch,--switches", arguments->switches, "only these, as w2a2 or w1a1,w2a2");
  command->add_option("--data", arguments->data, "another data set, as for train");
  command->add_option("--batch", arguments->batch, "images at a time")->check(CLI::Range(1, 65536))->capture_default_str();
  command->add_option("--threads", arguments->threads, "0: one for each processor")->check(CLI::Range(0, 1024));
  command->add_flag("--best", arguments->best, "the checkpoint with the best mean over switches, not the last");
  command->add_flag("--skip-bad", arguments->skip_bad, "go on without images that cannot be read");
  command->add_flag("--json", arguments->json, "a JSON object a line");
  command->callback([=, &chosen] { chosen = [arguments] { return evaluate_run(*arguments); }; });
}

}  // namespace spnet::program
