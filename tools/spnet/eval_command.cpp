#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "commands.hpp"
#include "configuration_file.hpp"
#include "data_source.hpp"
#include "mixed.hpp"
#include "packed_model.hpp"
#include "packed_run.hpp"
#include "progress.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/nn/size.hpp"
#include "spnet/runtime/model.hpp"
#include "spnet/train/recalibrate.hpp"
#include "table.hpp"

namespace spnet::program {

namespace {

struct EvalArguments {
  std::string model, run, data;
  std::string switches;
  std::vector<std::string> configurations;
  std::string mixed;     // random or search
  double average = 0;    // of random: mean bits
  int count = 50;        // of random
  SearchRequest search;  // of search
  std::string out;       // of search: the file for what is found
  std::int64_t recalibrate = 0;
  std::int64_t batch = 128;
  int threads = 0;
  bool json = false, best = false, skip_bad = false, parity = false;

  bool is_mixed() const { return !mixed.empty() || !configurations.empty() || recalibrate > 0; }
};

// What is evaluated: a packed network, or that of a run, with the data.
struct Subject {
  std::shared_ptr<const runtime::Model> model;
  data::DataSplits splits;
  std::optional<LoadedRun> run;
};

// Switch, top-1, weight bytes and milliseconds an image, as a table or as an object a line.
void print(const std::vector<train::Evaluation>& results, const std::vector<std::int64_t>& weight_bytes, bool json) {
  if (!json) {
    std::fputs(evaluation_table(results, weight_bytes).c_str(), stdout);
    return;
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    const auto& r = results[i];
    const nlohmann::json line = {{"switch", r.name},
                                 {"top1", r.top1_percent()},
                                 {"images", r.images},
                                 {"weight_bytes", weight_bytes[i]},
                                 {"ms_per_image", r.ms_per_image()}};
    print_json(line);
  }
}

// The mean, the spread and the worst of many configurations.
void print_summary(const EvalArguments& arguments, const std::vector<train::Evaluation>& results) {
  double mean = 0, squares = 0;
  for (const auto& r : results) mean += r.top1_percent() / static_cast<double>(results.size());
  for (const auto& r : results) squares += (r.top1_percent() - mean) * (r.top1_percent() - mean);
  const double deviation = results.size() > 1 ? std::sqrt(squares / static_cast<double>(results.size() - 1)) : 0;
  const auto worst = std::min_element(results.begin(), results.end(),
                                      [](const auto& a, const auto& b) { return a.top1_percent() < b.top1_percent(); });
  if (arguments.json) {
    const nlohmann::json line = {
        {"mixed", "random"},      {"average", arguments.average},   {"count", results.size()}, {"mean", mean},
        {"deviation", deviation}, {"worst", worst->top1_percent()}, {"images", worst->images}};
    print_json(line);
    return;
  }
  std::printf(
      "%zu random configurations of %g bits on average: top-1 %.2f %% in the mean, deviation %.2f, worst %.2f (%s)\n",
      results.size(), arguments.average, mean, deviation, worst->top1_percent(), worst->name.c_str());
}

// With norms recalibrated for each configuration, which only the network of a run can be.
std::vector<train::Evaluation> evaluate_recalibrated(const EvalArguments& arguments, Subject& subject,
                                                     const std::vector<runtime::NamedConfiguration>& configurations) {
  LoadedRun& run = *subject.run;
  const train::KeptState before(*run.model);
  data::Loader tests(subject.splits.test, loader_options(run.config, /*training=*/false));
  std::vector<train::Evaluation> results;
  Progress progress("evaluating", std::ssize(configurations), "configurations");
  for (const auto& c : configurations) {
    recalibrate(run, subject.model->graph(), c, subject.splits, arguments.recalibrate);
    tests.seek({0, 0});
    const NoGradGuard no_grad;
    const auto logits = [&](std::size_t, const Tensor<float>& x) { return (*run.model)(Variable<float>(x)).value(); };
    results.push_back(train::evaluate_logits(logits, {c.name + " recalibrated"}, tests).front());
    before.restore();
    progress.update(std::ssize(results));
  }
  return results;
}

std::vector<train::Evaluation> evaluate(const EvalArguments& arguments, Subject& subject,
                                        const std::vector<runtime::NamedConfiguration>& configurations) {
  auto results = arguments.recalibrate > 0
                     ? evaluate_recalibrated(arguments, subject, configurations)
                     : evaluate_packed(subject.model, configurations, subject.splits, arguments.batch);
  report_faults(*subject.splits.test);
  std::vector<std::int64_t> bytes;
  for (const auto& c : configurations) bytes.push_back(weight_bytes(*subject.model, c.layers));
  if (arguments.mixed != "random" || arguments.json) print(results, bytes, arguments.json);
  return results;
}

// Searches, says what was found and at what cost, and evaluates it beside the uniform precisions.
int evaluate_found(const EvalArguments& arguments, Subject& subject) {
  FoundConfiguration found = search_configuration(subject.model, arguments.search, subject.splits);
  const runtime::Graph& graph = subject.model->graph();
  if (!arguments.out.empty()) {
    found.configuration.name = std::filesystem::path(arguments.out).stem().string();
    save_configuration(arguments.out, found.configuration, graph);
  }
  std::vector<runtime::NamedConfiguration> all = uniform_configurations(graph.precisions, graph);
  all.push_back(found.configuration);
  if (!arguments.json) {
    for (std::size_t k = 0; k < found.budgets.size(); ++k)
      std::printf("%s: %g of %g\n", found.budgets[k].c_str(), found.costs[k], found.limits[k]);
    for (std::size_t i = 0; i < graph.layers.size(); ++i)
      std::printf("  %-28s %s\n", graph.layers[i].c_str(),
                  to_string(graph.precisions[found.configuration.layers[i]]).c_str());
    std::printf(
        "loss %.4f on %lld images of the training set, the least within the budget; %d configurations measured\n",
        found.loss, static_cast<long long>(found.images), found.measured);
  } else {
    nlohmann::json line = {
        {"mixed", "search"}, {"loss", found.loss}, {"images", found.images}, {"measured", found.measured}};
    for (std::size_t k = 0; k < found.budgets.size(); ++k)
      line["budgets"][found.budgets[k]] = {{"limit", found.limits[k]}, {"cost", found.costs[k]}};
    for (std::size_t i = 0; i < graph.layers.size(); ++i)
      line["layers"][graph.layers[i]] = to_string(graph.precisions[found.configuration.layers[i]]);
    print_json(line);
  }
  evaluate(arguments, subject, all);
  return 0;
}

int evaluate_subject(EvalArguments& arguments, Subject subject) {
  const runtime::Graph& graph = subject.model->graph();
  if (arguments.mixed == "search") {
    arguments.search.threads = arguments.threads;
    arguments.search.batch = arguments.batch;
    return evaluate_found(arguments, subject);
  }
  if (arguments.mixed == "random") {
    const auto results = evaluate(
        arguments, subject, random_configurations(graph, arguments.average, arguments.count, arguments.search.seed));
    print_summary(arguments, results);
    return 0;
  }
  evaluate(arguments, subject, chosen_configurations(graph, arguments.switches, arguments.configurations));
  return 0;
}

int evaluate_file(EvalArguments& arguments) {
  if (arguments.data.empty()) throw UsageError("eval: a packed network does not know its data: give --data");
  if (arguments.recalibrate > 0) throw UsageError("eval: --recalibrate needs the network of a run: give --run");
  const auto model = runtime::Model::load(arguments.model);
  chosen_switches(model->graph(), arguments.switches);  // refuse before data is read
  RunConfig config;
  config.skip_bad = arguments.skip_bad;
  const data::DataSplits splits = open_data(config, arguments.data);
  require_classes(model->graph(), splits);
  return evaluate_subject(arguments, {model, splits, {}});
}

void print(const std::vector<Parity>& results, bool json) {
  for (const Parity& r : results) {
    const nlohmann::json line = {{"parity", r.name}, {"equal", r.equal}, {"images", r.images}};
    if (json) {
      print_json(line);
    } else {
      std::printf("packed, %-8s logits of the same bits on %lld of %lld images\n", r.name.c_str(),
                  static_cast<long long>(r.equal), static_cast<long long>(r.images));
    }
  }
}

int evaluate_run(EvalArguments& arguments) {
  std::vector<Precision> switches = parse_switches_option(arguments.switches);
  LoadedRun run = load_run(arguments.run, arguments.best);
  const bool is_fixed = run.config.is_fixed();
  check<ValueError>(!is_fixed || switches.empty(), "eval: --switch given, but each layer of ", arguments.run,
                    " has a precision of its own");
  if (switches.empty() && !is_fixed) switches = run.config.switches;
  for (Precision p : switches) run.model->set_precision(p);  // refuse before data is read
  run.config.batch = arguments.batch;
  run.config.skip_bad = run.config.skip_bad || arguments.skip_bad;
  const data::DataSplits splits = open_data(run.config, arguments.data.empty() ? run.config.data : arguments.data);
  check<FileError>(splits.test->classes().size() == run.config.classes.size(), "eval: the data has ",
                   splits.test->classes().size(), " classes, the network has ", run.config.classes.size());
  if (arguments.is_mixed()) {
    if (!arguments.mixed.empty() || !arguments.configurations.empty()) warn_of_transitions(run, arguments.run);
    const auto model = std::make_shared<const runtime::Model>(pack_run(run, run.config.switches));
    return evaluate_subject(arguments, {model, splits, std::move(run)});
  }
  data::Loader loader(splits.test, loader_options(run.config, /*training=*/false));
  std::vector<train::Evaluation> results;
  {
    Progress progress("evaluating", splits.test->size(), "images");
    const auto report = [&](std::int64_t images) {
      progress.update(images);
      return true;
    };
    results = is_fixed ? std::vector{train::evaluate_as_set(*run.model, "mixed", loader, report)}
                       : train::evaluate(*run.model, switches, loader, report);
  }
  report_faults(*splits.test);
  std::vector<std::int64_t> bytes;
  if (is_fixed) bytes.push_back(nn::model_size_bytes(*run.model, {}));
  for (const Precision p : switches) bytes.push_back(nn::model_size_bytes(*run.model, p));
  print(results, bytes, arguments.json);
  if (arguments.parity) print(compare_packed(run, switches, splits), arguments.json);
  return 0;
}

void check_arguments(const EvalArguments& arguments) {
  if (arguments.model.empty() && arguments.run.empty()) throw UsageError("eval: --run or a packed file is required");
  if (arguments.parity && (arguments.run.empty() || arguments.is_mixed()))
    throw UsageError("eval: --parity is of --run with all layers at one precision");
  if (arguments.mixed == "random" && arguments.average == 0)
    throw UsageError("eval: --mixed random needs --average, as 3");
  if (arguments.mixed == "search" && arguments.search.budgets.empty())
    throw UsageError("eval: --mixed search needs --budget, as bitops:w3a3");
}
// Refuses what would have no effect.
void require_mode(const CLI::App& command, const std::string& mixed) {
  const auto require = [&](const char* mode, std::initializer_list<const char*> options) {
    for (const char* option : options)
      if (mixed != mode && command.count(option) > 0)
        throw UsageError(message("eval: ", option, " is of --mixed ", mode));
  };
  require("random", {"--average", "--count"});
  require("search", {"--budget", "--search-images", "--evaluations", "--out"});
  if (mixed.empty() && command.count("--seed") > 0) throw UsageError("eval: --seed is of --mixed");
}

}  // namespace

void add_eval_command(CLI::App& app, std::function<int()>& chosen) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command =
      app.add_subcommand("eval", "Accuracy, size and time of a run's or a packed network at its switches");
  auto* model = command->add_option("model", arguments->model, "a packed file, in place of a run");
  command->add_option("--run", arguments->run, "folder of the run")->excludes(model);
  auto* switches = command->add_option("--switch,--switches", arguments->switches, "only these, as w2a2 or w1a1,w2a2");
  auto* files = command->add_option("--config", arguments->configurations,
                                    "precisions for each layer: files, or names of what a packed network carries");
  command
      ->add_option("--mixed", arguments->mixed,
                   "configurations at random, or the best within --budget, found without training")
      ->check(CLI::IsMember({"random", "search"}))
      ->excludes(switches)
      ->excludes(files);
  command->add_option("--average", arguments->average, "of --mixed random: the mean bits of weights over layers");
  command->add_option("--count", arguments->count, "of --mixed random: how many")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--budget", arguments->search.budgets,
                      "of --mixed search: bitops:, bytes:, bits: or latency-ms: and a number, or a precision that all "
                      "layers could have, as bitops:w3a3; may be given more than once");
  command->add_option("--search-images", arguments->search.images, "of --mixed search: training images to compare by")
      ->check(CLI::Range(1, 100000000))
      ->capture_default_str();
  command
      ->add_option("--evaluations", arguments->search.evaluations,
                   "of --mixed search: configurations to try after the integer programme; 0: none")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  command->add_option("--seed", arguments->search.seed, "of --mixed")->capture_default_str();
  command->add_option("--out", arguments->out, "of --mixed search: a file for the configuration");
  command
      ->add_option("--recalibrate", arguments->recalibrate,
                   "replace batch norms' statistics for each configuration by those of so many training images")
      ->check(CLI::Range(1, 100000000));
  command->add_option("--data", arguments->data, "another data set than the run's, as for train");
  command->add_option("--batch", arguments->batch, "images at a time")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--threads", arguments->threads, "0: one for each processor")->check(CLI::Range(0, 1024));
  command
      ->add_flag("--best", arguments->best, "of --run: the checkpoint with the best mean over switches, not the last")
      ->excludes(model);
  command->add_flag("--parity", arguments->parity,
                    "of --run: compare the logits with those of the packed network, bit by bit");
  command->add_flag("--skip-bad", arguments->skip_bad, "go on without images that cannot be read");
  command->add_flag("--json", arguments->json, "a JSON object a line");
  command->callback([=, &chosen] {
    chosen = [arguments, command] {
      require_mode(*command, arguments->mixed);
      check_arguments(*arguments);
      require_folder_of(arguments->out);
      set_num_threads(arguments->threads);
      return arguments->model.empty() ? evaluate_run(*arguments) : evaluate_file(*arguments);
    };
  });
}

}  // namespace spnet::program
