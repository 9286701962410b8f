#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "commands.hpp"
#include "data_source.hpp"
#include "packed_model.hpp"
#include "progress.hpp"
#include "run_folder.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/nn/size.hpp"
#include "spnet/runtime/model.hpp"
#include "table.hpp"

namespace spnet::program {

namespace {

struct EvalArguments {
  std::string model, run, data;
  std::string switches;
  std::int64_t batch = 128;
  int threads = 0;
  bool json = false, best = false, skip_bad = false;
};

// Switch, top-1, weight bytes and milliseconds an image, as a table or as an object a line.
void print(const std::vector<train::Evaluation>& results, const std::vector<std::int64_t>& weight_bytes, bool json) {
  if (!json) {
    std::fputs(evaluation_table(results, weight_bytes).c_str(), stdout);
    return;
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    const auto& r = results[i];
    const nlohmann::json line = {{"switch", to_string(r.precision)},
                                 {"top1", r.top1_percent()},
                                 {"images", r.images},
                                 {"weight_bytes", weight_bytes[i]},
                                 {"ms_per_image", r.ms_per_image()}};
    std::printf("%s\n", line.dump().c_str());
  }
}

int evaluate_file(const EvalArguments& arguments) {
  set_num_threads(arguments.threads);
  if (arguments.data.empty()) throw UsageError("eval: a packed network does not know its data: give --data");
  const auto model = runtime::Model::load(arguments.model);
  const std::vector<Precision> switches = chosen_switches(model->graph(), arguments.switches);
  RunConfig config;
  config.skip_bad = arguments.skip_bad;
  const data::DataSplits splits = open_data(config, arguments.data);
  const auto results = evaluate_packed(model, switches, splits, arguments.batch);
  report_faults(*splits.test);
  std::vector<std::int64_t> bytes;
  for (const Precision p : switches) bytes.push_back(weight_bytes(*model, p));
  print(results, bytes, arguments.json);
  return 0;
}

int evaluate_run(EvalArguments& arguments) {
  set_num_threads(arguments.threads);
  std::vector<Precision> switches = parse_switches_option(arguments.switches);
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
  std::vector<std::int64_t> bytes;
  for (const Precision p : switches) bytes.push_back(nn::model_size_bytes(*run.model, p));
  print(results, bytes, arguments.json);
  return 0;
}

}  // namespace

void add_eval_command(CLI::App& app, std::function<int()>& chosen) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command =
      app.add_subcommand("eval", "Accuracy, size and time of a run's or a packed network at its switches");
  auto* model = command->add_option("model", arguments->model, "a packed file, in place of a run");
  command->add_option("--run", arguments->run, "folder of the run")->excludes(model);
  command->add_option("--switch,--switches", arguments->switches, "only these, as w2a2 or w1a1,w2a2");
  command->add_option("--data", arguments->data, "another data set than the run's, as for train");
  command->add_option("--batch", arguments->batch, "images at a time")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--threads", arguments->threads, "0: one for each processor")->check(CLI::Range(0, 1024));
  command->add_flag("--best", arguments->best, "the checkpoint with the best mean over switches, not the last");
  command->add_flag("--skip-bad", arguments->skip_bad, "go on without images that cannot be read");
  command->add_flag("--json", arguments->json, "a JSON object a line");
  command->callback([=, &chosen] {
    chosen = [arguments] {
      if (arguments->model.empty() && arguments->run.empty())
        throw UsageError("eval: --run or a packed file is required");
      return arguments->model.empty() ? evaluate_run(*arguments) : evaluate_file(*arguments);
    };
  });
}

}  // namespace spnet::program
