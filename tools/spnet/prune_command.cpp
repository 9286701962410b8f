#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "commands.hpp"
#include "data_source.hpp"
#include "line_chart.hpp"
#include "networks.hpp"
#include "prune_session.hpp"
#include "prune_start.hpp"
#include "run_folder.hpp"
#include "signals.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/files/atomic_file.hpp"
#include "spnet/nn/size.hpp"

namespace spnet::program {

namespace {

struct PruneArguments {
  PruneConfig config;
  std::string out, resume;
  int threads = 0;
  SessionOptions session;
};

// Size and top-1 on the test set on the way, and of the final network, as a table and as a chart beside the run's
// metrics.
void print_passes(const std::string& out) {
  std::vector<PrunedPoint> points = pruned_points(out);
  LoadedRun run = load_run(out, /*best=*/false);
  PrunedPoint last;
  last.size_mib = size_mib(run.config, *run.model);
  data::Loader loader(open_data(run.config).test, loader_options(run.config, /*training=*/false));
  for (const auto& r : evaluate_network(run.config, *run.model, loader))
    last.test.emplace_back(r.name, r.top1_percent());
  const double before = points.front().size_mib;
  std::printf("%-10s %10s %8s", "", "MiB", "size");
  for (const auto& [name, value] : last.test) std::printf(" %8s", name.c_str());
  std::printf("\n");
  const auto print = [&](const std::string& name, const PrunedPoint& point) {
    std::printf("%-10s %10.4f %6.1f %%", name.c_str(), point.size_mib, 100 * point.size_mib / before);
    for (const auto& [switch_name, value] : point.test) std::printf(" %8.2f", value);
    std::printf("\n");
  };
  std::vector<Line> lines(last.test.size());
  for (const PrunedPoint& point : points) {
    // The last pass of a drop: was one too many.
    const char* rejected = point.size_mib < last.size_mib ? ", no" : "";
    print(point.pass == 0 ? "unpruned" : message("pass ", point.pass, rejected), point);
    for (std::size_t i = 0; i < lines.size(); ++i)
      lines[i].points.emplace_back(point.size_mib, point.test.at(i).second);
  }
  print("final", last);
  for (std::size_t i = 0; i < lines.size(); ++i) lines[i].name = last.test[i].first;
  lines.push_back({"final", {}});
  for (const auto& [name, value] : last.test) lines.back().points.emplace_back(last.size_mib, value);
  const std::string chart = (std::filesystem::path(out) / "pruning.svg").string();
  files::write_file_atomically(chart, line_chart("Top-1 by size", lines, "MiB", "top-1, %"));
  std::fprintf(stderr, "wrote %s; see also: spnet eval --run %s\n", chart.c_str(), out.c_str());
}

int run_prune(const PruneArguments& arguments) {
  set_num_threads(arguments.threads);
  catch_stop_signals();
  const std::string& out = arguments.resume.empty() ? arguments.out : arguments.resume;
  bool finished;
  if (arguments.resume.empty()) {
    try {
      check_prune_config(arguments.config);
    } catch (const ValueError& error) {
      throw UsageError(error.what());
    }
    finished = prune_run(out, arguments.config, arguments.session);
  } else {
    finished = resume_prune(out, arguments.session);
  }
  if (finished)
    print_passes(out);
  else
    std::fprintf(stderr, "stopped; go on with: spnet prune --resume %s\n", out.c_str());
  return 0;
}

}  // namespace

void add_prune_command(CLI::App& app, std::function<int()>& chosen) {
  auto arguments = std::make_shared<PruneArguments>();
  PruneConfig& c = arguments->config;
  CLI::App* command = app.add_subcommand(
      "prune",
      "Remove low-precision filters of a trained run, their share of each layer found by Bayesian optimization");
  auto* resume = command->add_option("--resume", arguments->resume,
                                     "go on with the pruning into this folder; with --threads and --save-every only");
  const std::vector<CLI::Option*> defining = {
      command->add_option("--run", c.run, "the run to prune"),
      command->add_option("--out", arguments->out, "folder for the pruned run"),
      command->add_option(
          "--budget", c.budget,
          "size-mib: and the size to reach, at the highest switch, or drop: and the points of top-1 that "
          "may be lost at any switch, on held-out images"),
      command
          ->add_option(
              "--search", c.search,
              "joint: all layers' ratios at once; greedy: layer by layer from the last, as published; uniform: "
              "the same ratio everywhere, to compare with")
          ->check(CLI::IsMember({"joint", "greedy", "uniform"})),
      command->add_option("--measure", c.measure, "how far a kernel is from its quantized form: angle or distance")
          ->check(CLI::IsMember({"angle", "distance"})),
      command->add_option("--kernels", c.kernels, "that a filter is measured by: those that read it (next) or its own")
          ->check(CLI::IsMember({"next", "own"})),
      command->add_option("--order", c.order, "filters that go first: largest, smallest or random")
          ->check(CLI::IsMember({"largest", "smallest", "random"})),
      command->add_option("--acquisition", c.acquisition, "expected improvement (ei) or upper confidence bound (ucb)")
          ->check(CLI::IsMember({"ei", "ucb"})),
      command->add_option("--most", c.most, "largest share of a layer's filters that one pass removes"),
      command->add_option(
          "--multiple", c.multiple,
          "filters that are kept of a layer are a multiple of this: kernels handle them by vectors of 16 "
          "and more, and what ends within one is smaller, but no faster"),
      command->add_option("--alpha", c.alpha, "weight of size against loss in greedy passes, each of which doubles it"),
      command->add_option("--step", c.step, "share of the size that one pass removes, where not greedy"),
      command->add_option("--random-points", c.random_points, "random trials of a search; 5, or 10 of a joint one"),
      command->add_option("--guided-points", c.guided_points, "and guided ones; 5, or 50"),
      command->add_option("--retrain", c.retrain, "epochs after each step"),
      command->add_option("--retrain-ratio", c.retrain_ratio, "least ratio after which a step is retrained"),
      command->add_option("--final", c.final, "epochs at the end"),
      command->add_option(
          "--recalibrate", c.recalibrate,
          "training images that the norms' statistics are taken from anew before a trial is judged, and "
          "after a removal; 0, as published, for greedy, else 1024"),
      command->add_option("--trial-steps", c.trial_steps,
                          "steps of retraining before a trial is judged, which it forgets again: what is lost before "
                          "retraining says little where retraining makes it up"),
      command->add_option(
          "--holdout", c.holdout,
          "images of the training set that ratios are judged by, and that are not retrained on; the run should not "
          "have been trained on them, see train --train-images"),
      command->add_option("--lr", c.lr, "learning rate of retraining; a tenth of the run's where left out"),
      command->add_option("--seed", c.seed, "of the search, and of order and augmentation in retraining"),
  };
  for (CLI::Option* option : defining) {
    option->capture_default_str();
    option->excludes(resume);
  }
  for (const char* name : {"--lr", "--random-points", "--guided-points", "--recalibrate"})
    command->get_option(name)->default_str("");
  command->add_option("--threads", arguments->threads, "0: one for each processor; no result depends on it")
      ->check(CLI::Range(0, 1024));
  command->add_option("--save-every", arguments->session.save_every, "steps between checkpoints within an epoch")
      ->check(CLI::Range(0, 1000000000));
  command->callback([=, &chosen] {
    if (arguments->resume.empty())
      for (const char* name : {"--run", "--budget", "--out"})
        if (command->get_option(name)->empty()) throw CLI::RequiredError(message(name, " (or --resume RUN)"));
    chosen = [arguments] { return run_prune(*arguments); };
  });
}

}  // namespace spnet::program
