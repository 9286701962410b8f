#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "commands.hpp"
#include "data_source.hpp"
#include "search_plan.hpp"
#include "spnet/core/parallel.hpp"
#include "training_options.hpp"

namespace spnet::program {

namespace {

struct ProfileArguments {
  RunConfig config;
  std::vector<std::string> candidates{"1", "2", "3", "4", "5", "6", "7", "8"}, input_candidates;
  std::string out;
  std::int64_t classes = 10;
  int threads = 0;
};

int profile(ProfileArguments& arguments) {
  RunConfig& c = arguments.config;
  search::Candidates candidates;
  try {
    candidates = parse_candidates(arguments.candidates, arguments.input_candidates);
  } catch (const ValueError& error) {
    throw UsageError(error.what());
  }
  require_folder_of(arguments.out);
  set_num_threads(arguments.threads);
  if (c.image_size == 0) c.image_size = 32;
  if (c.stem.empty()) c.stem = default_stem(c.image_size);
  c.classes.assign(static_cast<std::size_t>(arguments.classes), "");
  const LatencyTable table = profile_latency(c, candidates, num_threads());
  save_latency(arguments.out, c, table);
  const auto total = [&](Precision p) {
    double ms = table.fixed;
    for (const auto& [layer, row] : table.layers) ms += row.at(to_string(p));
    return ms;
  };
  std::printf("all layers at   ms\n");
  for (const Precision p : candidates.pairs()) std::printf("%-12s %6.3f\n", to_string(p).c_str(), total(p));
  return 0;
}

}  // namespace

void add_profile_command(CLI::App& app, std::function<int()>& chosen) {
  auto arguments = std::make_shared<ProfileArguments>();
  CLI::App* command = app.add_subcommand(
      "profile", "Measure each layer of a network at each pair of widths, on this machine, for spnet search");
  add_network_options(*command, arguments->config);
  command->add_option("--classes", arguments->classes, "of the data")->check(CLI::Range(1, 1000000))->capture_default_str();
  command->add_option("--candidates", arguments->candidates, "widths of weights, and of inputs where these are left out")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--input-candidates", arguments->input_candidates, "widths of the layers' inputs")->delimiter(',');
  command->add_option("--threads", arguments->threads, "0: one for each processor")->check(CLI::Range(0, 1024));
  command->add_option("--out", arguments->out, "the file, as latency.json")->required();
  command->callback([=, &chosen] { chosen = [arguments] { return profile(*arguments); }; });
}

}  // namespace spnet::program
