#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "configuration_file.hpp"
#include "signals.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/ops/conv2d_codes.hpp"
#include "train_session.hpp"
#include "training_options.hpp"

namespace spnet::program {

namespace {

struct TrainArguments : TrainingArguments {
  std::string switches = "w1a1,w2a2,w4a4,w8a8,w32a32", out, configuration;
  std::vector<std::string> switch_weights, bits, stages;
  double label_weight = -1;
  bool simulate = false;
};

// Of one width for weights and activations.
std::vector<Precision> switches_of(const std::vector<int>& bits) {
  std::vector<Precision> switches;
  for (const int b : bits) {
    const Precision p{b, b};
    check_precision(p, "train: --bits");
    check<ValueError>(std::find(switches.begin(), switches.end(), p) == switches.end(), "train: --bits names ", b,
                      " twice");
    switches.push_back(p);
  }
  return switches;
}

// What can be known to be wrong before any data is opened is wrong usage.
void validate(TrainArguments& arguments) {
  RunConfig& c = arguments.config;
  try {
    std::vector<int> bits;
    parse_numbers("--bits", arguments.bits, bits);
    if (c.method == "fixed") {
      for (const auto& [layer, p] : c.layers)
        if (const Precision precision = parse_precision(p);
            std::find(c.switches.begin(), c.switches.end(), precision) == c.switches.end())
          c.switches.push_back(precision);
    } else {
      c.switches = bits.empty() ? parse_switches(arguments.switches) : switches_of(bits);
    }
    for (const std::string& text : arguments.switch_weights) {
      const auto [name, weight] = parse_named_number(text, "switch weights", "w1a1:0.25");
      c.distillation.switch_weights[parse_precision(name)] = static_cast<float>(weight);
    }
    parse_numbers("--stages", arguments.stages, c.stages);
    check<ValueError>(c.method != "bit-mixer" || !c.stages.empty(),
                      "train: --method bit-mixer needs --stages, as 40,40,80");
    if (c.method == "bit-mixer") {
      c.epochs = 0;
      for (const std::int64_t stage : c.stages) c.epochs += std::clamp<std::int64_t>(stage, 0, 1000000);
    }
    if (arguments.label_weight >= 0) c.distillation.label_weight = static_cast<float>(arguments.label_weight);
    complete(arguments);
  } catch (const ValueError& error) {
    throw UsageError(error.what());
  }
}

int train(TrainArguments& arguments) {
  set_num_threads(arguments.threads);
  ops::simulates_in_float() = arguments.simulate;
  catch_stop_signals();
  bool finished;
  if (!arguments.resume.empty()) {
    finished = resume_run(arguments.resume, arguments.session, arguments.config.skip_bad, /*is_search=*/false);
  } else {
    if (!arguments.configuration.empty()) {
      arguments.config.layers = load_layers(arguments.configuration);
      arguments.config.method = "fixed";
    }
    validate(arguments);
    finished = begin_run(arguments.out, arguments.config, arguments.session, arguments.init);
  }
  if (finished)
    std::fprintf(stderr, "done; see: spnet eval --run %s\n",
                 (arguments.resume.empty() ? arguments.out : arguments.resume).c_str());
  return 0;
}

}  // namespace

void add_train_command(CLI::App& app, std::function<int()>& chosen) {
  auto arguments = std::make_shared<TrainArguments>();
  RunConfig& c = arguments->config;
  CLI::App* command = app.add_subcommand("train", "Train one network that works at many precisions, or go on with a run");
  auto* out = command->add_option("--out", arguments->out, "folder for the new run");
  auto* epochs =
      command->add_option("--epochs", c.epochs, "passes over the training set")->check(CLI::Range(1, 1000000));
  auto* switches = command->add_option("--switches", arguments->switches, "precisions, as w1a1,w2a2,w32a32");
  auto* configuration = command->add_option("--config", arguments->configuration,
                                            "a file with a precision for each layer, as spnet search writes it, in place "
                                            "of --switches: layers have it for good")
                            ->excludes(switches);
  std::vector<CLI::Option*> defining = {
      out,
      epochs,
      configuration,
      command
          ->add_option("--method", c.method,
                       "spnet: all switches in every step; bit-mixer: every layer's width drawn at "
                       "random, in three stages")
          ->check(CLI::IsMember({"spnet", "bit-mixer"}))
          ->excludes(configuration),
      command
          ->add_option("--stages", arguments->stages,
                       "of bit-mixer, in place of --epochs: those of each stage, as 40,40,80; with 0,0,N and --init of "
                       "such a run its last stage goes on")
          ->delimiter(',')
          ->excludes(epochs),
      command
          ->add_option("--redraws", c.redraws,
                       "of bit-mixer: the probability that a layer draws its own width, at the end")
          ->check(CLI::Range(0.0, 1.0)),
      command->add_option("--draws", c.draws, "of bit-mixer: configurations drawn in a step, whose gradients add up")
          ->check(CLI::Range(1, 64)),
      command->add_flag("--lowest", c.lowest,
                        "of bit-mixer: the lowest precision learns in every step, beside what is drawn"),
      command->add_flag("--all-widths", c.all_widths,
                        "of bit-mixer: the whole network at each precision learns in every step, beside what is drawn"),
      command
          ->add_option("--norm", c.norm,
                       "batch norms: one for each precision of the layer before (switchable), for each "
                       "pair with the layer after (transitional; bit-mixer's own), or one (shared)")
          ->check(CLI::IsMember({"switchable", "transitional", "shared"})),
      switches,
      command
          ->add_option("--bits", arguments->bits,
                       "widths of weights and activations alike, as 2,3,4, in place of --switches")
          ->delimiter(',')
          ->excludes(switches)
          ->excludes(configuration),
      command->add_option("--distill", c.distillation.name, "none, top, recursive or sandwich"),
      command->add_option("--temperature", c.distillation.temperature, "of the distillation")
          ->check(CLI::PositiveNumber),
      command->add_option("--label-weight", arguments->label_weight, "of the labels in the taught switches' loss")
          ->check(CLI::Range(0.0, 100.0)),
      command
          ->add_option("--switch-weights", arguments->switch_weights,
                       "of a switch's whole loss in the sum, as w1a1:0.25,w2a2:0.5; 1 where left out")
          ->delimiter(','),
      command
          ->add_option("--feature-weight", c.distillation.feature_weight, "of the distance to the teacher's features")
          ->check(CLI::Range(0.0, 1e6)),
  };
  add_training_options(*command, *arguments, std::move(defining));
  command->get_option("--label-weight")->default_str("");
  // A network at one precision for each layer has nobody to learn from.
  for (const char* name : {"--distill", "--temperature", "--label-weight", "--switch-weights", "--feature-weight"})
    command->get_option(name)->excludes(configuration);
  command->add_flag("--simulate", arguments->simulate,
                    "multiply codes in float wherever that is exact, as simulated quantization does: slower, same results");
  command->add_option("--eval-every", arguments->session.eval_every, "epochs between tests; 0: only after the last")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  command->callback([=, &chosen] {
    // Bit-Mixer's norms; weights that are all widths of one integer, by the scheme that trains best at 2 bits; SP-Nets'
    // distillation.
    if (arguments->config.method == "bit-mixer") {
      const auto usual = [&](const char* option, std::string& value, const char* its) {
        if (command->get_option(option)->empty()) value = its;
      };
      usual("--norm", arguments->config.norm, "transitional");
      usual("--quantizer", arguments->config.quantizer, "double_rounding");
      usual("--distill", arguments->config.distillation.name, "top");
    }
    if (!arguments->configuration.empty() && command->get_option("--norm")->empty()) arguments->config.norm = "shared";
    if (arguments->out.empty() && arguments->resume.empty())
      throw CLI::RequiredError("--out RUN (or --resume RUN)");
    chosen = [arguments] { return train(*arguments); };
  });
}

}  // namespace spnet::program
