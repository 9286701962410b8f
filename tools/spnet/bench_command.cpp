#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "commands.hpp"
#include "configuration_file.hpp"
#include "packed_model.hpp"
#include "spnet/core/random_fill.hpp"
#include "spnet/runtime/engine.hpp"
#include "table.hpp"

namespace spnet::program {

namespace {

struct BenchArguments {
  std::string model, switches;
  std::vector<std::string> configurations;
  std::int64_t batch = 1;
  int threads = 0, runs = 100;
  bool json = false, no_tune = false;
};

// What one switch took, batch by batch.
struct Timing {
  runtime::NamedConfiguration configuration;
  std::vector<double> ms;
  std::map<std::string, int> kernels;  // products by each
  std::int64_t weight_bytes = 0;    // that the file holds for the switch
  std::int64_t expanded_bytes = 0;  // that products read

  double quantile(double share) const {
    std::vector<double> sorted = ms;
    std::sort(sorted.begin(), sorted.end());
    return sorted[std::min(sorted.size() - 1, static_cast<std::size_t>(share * static_cast<double>(sorted.size())))];
  }
};

// The switches take turns, so that what disturbs the machine for a while disturbs all of them.
std::vector<Timing> measure(const BenchArguments& arguments, const std::shared_ptr<const runtime::Model>& model) {
  runtime::Engine engine(model, {.threads = arguments.threads, .tune = !arguments.no_tune});
  Tensor<float> images(runtime::detail::with_batch(model->graph().input, arguments.batch));
  Random random(1);
  fill_normal(images.span(), random);
  std::vector<Timing> timings;
  for (const auto& c : chosen_configurations(model->graph(), arguments.switches, arguments.configurations)) {
    Timing& timing = timings.emplace_back();
    timing.configuration = c;
    timing.weight_bytes = weight_bytes(*model, c.layers);
    engine.set_configuration(c.layers);
    engine.run(images);
    for (const auto& product : engine.products(arguments.batch)) {
      ++timing.kernels[product->name()];
      timing.expanded_bytes += product->bytes;
    }
  }
  for (int run = 0; run < arguments.runs; ++run) {
    for (Timing& timing : timings) {
      engine.set_configuration(timing.configuration.layers);
      engine.prepare(arguments.batch);
      const auto begin = std::chrono::steady_clock::now();
      engine.run(images);
      timing.ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
    }
  }
  return timings;
}

int bench(const BenchArguments& arguments) {
  const auto model = runtime::Model::load(arguments.model, {.keep_choices = !arguments.no_tune});
  const auto timings = measure(arguments, model);
  if (!arguments.json) std::printf("switch    median ms     p99 ms   images/s   weight bytes       expanded   kernels\n");
  for (const Timing& t : timings) {
    const double median = t.quantile(0.5), p99 = t.quantile(0.99);
    const double rate = 1e3 * static_cast<double>(arguments.batch) / median;
    if (arguments.json) {
      const nlohmann::json line = {{"switch", t.configuration.name},
                                   {"median_ms", median},
                                   {"p99_ms", p99},
                                   {"images_per_s", rate},
                                   {"weight_bytes", t.weight_bytes},
                                   {"expanded_bytes", t.expanded_bytes},
                                   {"batch", arguments.batch},
                                   {"runs", arguments.runs},
                                   {"kernels", t.kernels}};
      print_json(line);
      continue;
    }
    const std::string kernels = join(t.kernels, [](const auto& k) { return message(k.second, " ", k.first); });
    std::printf("%-8s %10.3f %10.3f %10.1f %14lld %14lld   %s\n", t.configuration.name.c_str(), median, p99, rate,
                static_cast<long long>(t.weight_bytes), static_cast<long long>(t.expanded_bytes), kernels.c_str());
  }
  return 0;
}

}  // namespace

void add_bench_command(CLI::App& app, std::function<int()>& chosen) {
  auto arguments = std::make_shared<BenchArguments>();
  CLI::App* command =
      app.add_subcommand("bench", "How fast a packed network is at each of its switches, on random images");
  command->add_option("model", arguments->model, "the packed file")->required();
  command->add_option("--switch,--switches", arguments->switches, "only these, as w2a2 or w1a1,w2a2");
  command->add_option("--config", arguments->configurations,
                      "precisions for each layer: files, or names of what the network carries");
  command->add_option("--batch", arguments->batch, "images at a time")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--threads", arguments->threads, "threads, 0: one per processor")->check(CLI::Range(0, 1024));
  command->add_option("--runs", arguments->runs, "batches timed for each switch")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->add_flag(
      "--no-tune", arguments->no_tune,
      "take the kernels that are faster as a rule; otherwise the fastest are measured once and kept beside the model");
  command->add_flag("--json", arguments->json,
                    "an object a line: switch, median_ms, p99_ms, images_per_s, weight_bytes (in the file), expanded_bytes "
                    "(that products read), kernels, …");
  command->callback([=, &chosen] { chosen = [arguments] { return bench(*arguments); }; });
}

}  // namespace spnet::program
