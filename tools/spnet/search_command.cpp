#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bar_chart.hpp"
#include "commands.hpp"
#include "packed_run.hpp"
#include "run_folder.hpp"
#include "search_plan.hpp"
#include "signals.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/files/atomic_file.hpp"
#include "spnet/search/latency.hpp"
#include "train_session.hpp"
#include "training_options.hpp"

namespace spnet::program {

namespace {

struct SearchArguments : TrainingArguments {
  std::vector<std::string> candidates{"1", "2", "3", "4", "5", "6", "7", "8"}, input_candidates;
  std::string run;
};

void check_out(const std::string& out) {
  const std::filesystem::path extension = std::filesystem::path(out).extension();
  if (extension == ".svg" || extension == ".search")
    throw UsageError(message("--out '", out, "' given: the chart and the run beside it have these names"));
  require_folder_of(out);
}

// What can be known to be wrong before any data is opened is wrong usage.
void validate(SearchArguments& arguments) {
  RunConfig& c = arguments.config;
  c.method = "search";
  c.norm = "shared";
  try {
    const auto candidates = parse_candidates(arguments.candidates, arguments.input_candidates);
    c.search.candidates = candidates.weights;
    c.search.input_candidates = candidates.activations;
    c.switches = candidates.pairs();
    complete(arguments);
  } catch (const ValueError& error) {
    throw UsageError(error.what());
  }
}

// Milliseconds of one image in the runtime, with as many threads as the latencies were measured with.
double measured_latency(LoadedRun& run) {
  runtime::Engine engine(std::make_shared<const runtime::Model>(pack_run(run, {})),
                         {.threads = run.config.search.latency.threads});
  return search::median_latency(engine, runtime::Configuration(engine.configuration()));
}

// The configuration of a search that has ended: a table, a file for train, pack, eval and run, and a chart beside it.
// `elsewhere` is another place for it than the one that the search was begun with.
void write_found(const std::string& folder, const std::string& elsewhere) {
  LoadedRun run = load_run(folder, /*best=*/false);
  const std::string& asked = elsewhere.empty() ? run.config.search.out : elsewhere;
  const std::string out = asked.empty() ? (std::filesystem::path(folder) / "found.json").string() : asked;
  const search::Architecture& found = *run.found;
  nlohmann::ordered_json json;
  json["name"] = std::filesystem::path(out).stem().string();
  std::vector<BarGroup> bars;
  std::printf("%-28s weights  inputs\n", "layer");
  for (const nn::NamedLayer& l : found.layers()) {
    const Precision p = l.layer->precision();
    json["layers"][l.name] = to_string(p);
    bars.push_back({l.name, {static_cast<double>(p.weight_bits), static_cast<double>(p.activation_bits)}});
    std::printf("%-28s %7d %7d\n", l.name.c_str(), p.weight_bits, p.activation_bits);
  }
  std::vector<std::string> title{json["name"].get<std::string>()};
  bool has_latency = false;
  for (const auto& [name, constraint] : make_constraints(run.config, *run.model, found)) {
    const double cost = found.expected(constraint.table);
    json["costs"][name] = {{"cost", cost}, {"target", constraint.budget}};
    char text[64];
    std::snprintf(text, sizeof text, "%s %.5g of %.5g", name.c_str(), cost, constraint.budget);
    std::printf("%s\n", text);
    title.push_back(text);
    has_latency = has_latency || name == "latency-ms";
  }
  const auto write = [&] { files::write_file_atomically(out, json.dump(2) + "\n"); };
  write();
  const std::string chart = std::filesystem::path(out).replace_extension(".svg").string();
  files::write_file_atomically(chart, bar_chart(join(title), {"weights", "inputs"}, bars, "bits"));
  std::fprintf(stderr, "wrote %s and %s; train it with: spnet train --config %s\n", out.c_str(), chart.c_str(),
               out.c_str());
  if (!has_latency) return;
  const double measured = measured_latency(run);
  json["costs"]["latency-ms"]["measured"] = measured;
  const double expected = json["costs"]["latency-ms"]["cost"], off = 100 * (measured / expected - 1);
  std::printf("latency-ms of the packed network %.5g, %+.1f %% off\n", measured, off);
  if (std::abs(off) > 10)
    std::fprintf(stderr,
                 "warning: more than a tenth off: the machine may not be as it was when the layers were measured\n");
  write();
}

int run_search(SearchArguments& arguments) {
  set_num_threads(arguments.threads);
  catch_stop_signals();
  arguments.session.eval_every = 0;
  check_out(arguments.config.search.out);
  bool finished;
  std::string folder = arguments.resume;
  if (!folder.empty()) {
    finished = resume_run(folder, arguments.session, arguments.config.skip_bad, /*is_search=*/true);
  } else {
    validate(arguments);
    folder = arguments.run.empty()
                 ? std::filesystem::path(arguments.config.search.out).replace_extension(".search").string()
                 : arguments.run;
    finished = begin_run(folder, arguments.config, arguments.session, arguments.init);
  }
  if (finished) write_found(folder, arguments.config.search.out);
  return 0;
}

}  // namespace

void add_search_command(CLI::App& app, std::function<int()>& chosen) {
  auto arguments = std::make_shared<SearchArguments>();
  RunConfig& c = arguments->config;
  SearchConfig& s = c.search;
  CLI::App* command =
      app.add_subcommand("search", "Find each layer's widths under constraints while training the network (SSPS)");
  command->add_option("--out", s.out, "the file for what is found, as config.json; a chart goes beside it");
  std::vector<CLI::Option*> defining = {
      command->add_option("--run", arguments->run, "folder for the search itself; beside --out where left out"),
      command->add_option("--epochs", c.epochs, "passes over the training set")->check(CLI::Range(1, 1000000)),
      command
          ->add_option("--candidates", arguments->candidates,
                       "widths of weights, and of inputs where these are left out")
          ->delimiter(','),
      command->add_option("--input-candidates", arguments->input_candidates, "widths of the layers' inputs")
          ->delimiter(','),
      command->add_option(
          "--constraint", s.constraints,
          "avg-bits:, size-mib:, bitops-g: (1e9 bit operations an image) or latency-ms: and a number, or "
          "what all layers at a pair of widths would cost, as bitops-g:w2a2; may be given more than once"),
      command->add_option("--latency", s.latency_file,
                          "a table that spnet profile measured; else this machine is measured where it is needed"),
      command->add_option("--cell", s.cell, "how candidates are mixed: softmax, gumbel or gumbel-hard"),
      command->add_option("--cell-temperature", s.temperature, "of the cell, at the beginning"),
      command->add_option("--last-cell-temperature", s.last_temperature, "and at the end"),
      command->add_option("--penalty", s.penalty, "weight of what exceeds a constraint, by its share, in the loss"),
      command->add_option("--search-rate", s.rate, "learning rate of the architecture parameters (Adam)"),
      command->add_option("--search-warmup", s.warmup_epochs, "epochs before they learn"),
      command->add_option("--decide-every", s.decide_epochs,
                          "epochs between decisions; after the last, so long is left for the network as it was found"),
  };
  add_training_options(*command, *arguments, std::move(defining));
  command->callback([=, &chosen] {
    if (arguments->config.search.out.empty() && arguments->resume.empty())
      throw CLI::RequiredError("--out FILE (or --resume RUN)");
    chosen = [arguments] { return run_search(*arguments); };
  });
}

}  // namespace spnet::program
