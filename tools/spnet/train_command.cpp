#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <numeric>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "networks.hpp"
#include "signals.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/quant/registry.hpp"
#include "train_session.hpp"

namespace spnet::program {

namespace {

struct TrainArguments {
  RunConfig config;
  std::string switches = "w1a1,w2a2,w4a4,w8a8,w32a32";
  std::vector<std::string> switch_weights, scale_rates, bits, stages;
  std::string out, resume, init;
  double label_weight = -1;
  int threads = 0;
  SessionOptions session;
};

// Reads a list of numbers, as "40,40,80", into `out`; throws ValueError, naming the option, on another form.
template <class T>
void parse_numbers(const char* option, const std::vector<std::string>& texts, std::vector<T>& out) {
  for (const std::string& text : texts) {
    T value{};
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    check<ValueError>(error == std::errc() && stop == text.data() + text.size(), option, ": '", text,
                      "' given, expected a number");
    out.push_back(value);
  }
}

// Reads "NAME:0.25" into the name and the number; throws ValueError, saying what the form is, on another.
std::pair<std::string, double> parse_named_number(const std::string& text, const char* option, const char* form) {
  const std::size_t colon = std::min(text.find(':'), text.size());
  const char* const end = text.data() + text.size();
  double number = 0;
  const auto [stop, error] = std::from_chars(std::min(text.data() + colon + 1, end), end, number);
  check<ValueError>(error == std::errc() && stop == end, option, ": '", text, "' given, expected the form ", form);
  return {text.substr(0, colon), number};
}

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
    c.switches = bits.empty() ? parse_switches(arguments.switches) : switches_of(bits);
    for (const std::string& text : arguments.switch_weights) {
      const auto [name, weight] = parse_named_number(text, "switch weights", "w1a1:0.25");
      c.distillation.switch_weights[parse_precision(name)] = static_cast<float>(weight);
    }
    for (const std::string& text : arguments.scale_rates) {
      const auto [name, rate] = parse_named_number(text, "scale rates", "2:10");
      std::vector<int> width;
      parse_numbers("--scale-rates", {name}, width);
      c.scale_rates[width.front()] = rate;
    }
    parse_numbers("--stages", arguments.stages, c.stages);
    check<ValueError>(c.method != "bit-mixer" || !c.stages.empty(),
                      "train: --method bit-mixer needs --stages, as 40,40,80");
    if (c.method == "bit-mixer") c.epochs = std::accumulate(c.stages.begin(), c.stages.end(), std::int64_t{0});
    if (arguments.label_weight >= 0) c.distillation.label_weight = static_cast<float>(arguments.label_weight);
    if (c.lr == 0) c.lr = c.optimizer == "sgd" ? 0.1 : 1e-3;
    train::distillation_plan(c.distillation.name);
    const bool one_cycle = optim::parse_schedule(c.schedule, c.lr, 1, 1, 0).kind == optim::ScheduleKind::kOneCycle;
    check<ValueError>(!one_cycle || c.warmup_epochs <= 0, "train: --warmup ", c.warmup_epochs,
                      " given, but one-cycle warms up by itself");
    if (c.warmup_epochs < 0) c.warmup_epochs = one_cycle ? 0 : 0.5;
    check_config(c);
    make_weight_quantizer(c.model_options().quantization.weight_quantizer, {.per_channel = c.per_channel});
    make_activation_quantizer(c.model_options().quantization.activation_quantizer);
    require_network(c.model);
  } catch (const ValueError& error) {
    throw UsageError(error.what());
  }
}

int train(TrainArguments& arguments) {
  set_num_threads(arguments.threads);
  catch_stop_signals();
  bool finished;
  if (!arguments.resume.empty()) {
    finished = resume_run(arguments.resume, arguments.session, arguments.config.skip_bad);
  } else {
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
  auto* resume = command->add_option("--resume", arguments->resume, "go on with the run in this folder; with --threads, "
                                                                    "--save-every, --eval-every and --skip-bad only");
  auto* out = command->add_option("--out", arguments->out, "folder for the new run");
  auto* epochs =
      command->add_option("--epochs", c.epochs, "passes over the training set")->check(CLI::Range(1, 1000000));
  auto* switches = command->add_option("--switches", arguments->switches, "precisions, as w1a1,w2a2,w32a32");
  std::vector<CLI::Option*> defining = {
      out,
      epochs,
      command->add_option("--model", c.model, "resnet20, resnet18, resnet34, resnet50 or mobilenet_v1"),
      command->add_option("--width", c.width, "multiplies every channel count")->check(CLI::Range(0.001, 64.0)),
      command->add_option("--stem", c.stem, "cifar, tiny-imagenet or imagenet; by the image size where left out")
          ->check(CLI::IsMember({"cifar", "tiny-imagenet", "imagenet"})),
      command->add_option("--data", c.data,
                          "synthetic, or cifar10:PATH, cifar100:PATH, mnist:PATH, folder:PATH, "
                          "tiny-imagenet:PATH"),
      command
          ->add_option("--image-size", c.image_size, "height and width in pixels; as the data has them where left out")
          ->check(CLI::Range(8, 1024)),
      command->add_option("--train-images", c.train_images, "use only so many training images")
          ->check(CLI::PositiveNumber),
      command->add_option("--augment", c.augment, "auto, none, crop, crop-flip, resized-crop or resized-crop-jitter")
          ->check(CLI::IsMember({"auto", "none", "crop", "crop-flip", "resized-crop", "resized-crop-jitter"})),
      command
          ->add_option("--method", c.method,
                       "spnet: all switches in every step; bit-mixer: every layer's width drawn at "
                       "random, in three stages")
          ->check(CLI::IsMember({"spnet", "bit-mixer"})),
      command
          ->add_option("--stages", arguments->stages,
                       "of bit-mixer, in place of --epochs: those of each stage, as 40,40,80")
          ->delimiter(',')
          ->excludes(epochs),
      command
          ->add_option("--redraws", c.redraws,
                       "of bit-mixer: the probability that a layer draws its own width, at the end")
          ->check(CLI::Range(0.0, 1.0)),
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
          ->excludes(switches),
      command->add_option("--quantizer", c.quantizer, "scheme for weights and activations: " + join(quantizer_names())),
      command->add_option("--activation-quantizer", c.activation_quantizer, "another scheme for the activations"),
      command->add_flag("--per-channel", c.per_channel,
                        "learned scales for each filter, where the scheme has them (lsq)"),
      command->add_flag("--relu-before-norm", c.relu_before_norm,
                        "blocks of convolution, ReLU, norm, as tanh activations want them"),
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
      command->add_option("--label-smoothing", c.distillation.label_smoothing, "0 to 1")->check(CLI::Range(0.0, 1.0)),
      command->add_option("--batch", c.batch, "images a step")->check(CLI::Range(2, 65536)),
      command->add_option("--optimizer", c.optimizer, "sgd, adam or adamw")
          ->check(CLI::IsMember({"sgd", "adam", "adamw"})),
      command->add_option("--lr", c.lr, "learning rate; 0.1 for sgd and 0.001 for adam where left out")
          ->check(CLI::PositiveNumber),
      command->add_option("--momentum", c.momentum, "of sgd, Nesterov's")->check(CLI::Range(0.0, 0.9999)),
      command->add_option("--weight-decay", c.weight_decay, "of weights, not of norms and scales")
          ->check(CLI::Range(0.0, 1.0)),
      command->add_option("--scale-lr", c.scale_lr, "multiplies the rate of the quantizers' scales")
          ->check(CLI::Range(0.0, 1000.0)),
      command
          ->add_option("--scale-rates", arguments->scale_rates,
                       "and further that of the scales of a width, as 2:10,3:3; 1 where left out")
          ->delimiter(','),
      command->add_option("--clip-norm", c.clip_norm, "largest norm of the gradients; 0: any")
          ->check(CLI::Range(0.0, 1e9)),
      command->add_option("--schedule", c.schedule,
                          "constant, cosine, one-cycle, step:EPOCHS[:FACTOR] or "
                          "multi-step:E1,E2[:FACTOR]"),
      command
          ->add_option("--warmup", c.warmup_epochs, "epochs of linear warm-up; 0.5 where left out, none with one-cycle")
          ->check(CLI::Range(0.0, 1000.0)),
      command->add_option("--seed", c.seed, "of weights, order and augmentation")->check(CLI::NonNegativeNumber),
      command->add_option("--init", arguments->init, "start from a run's folder or a .safetensors file"),
  };
  for (CLI::Option* option : defining) {
    option->capture_default_str();
    option->excludes(resume);
  }
  for (const char* name : {"--label-weight", "--warmup", "--lr"}) command->get_option(name)->default_str("");
  command->add_flag("--skip-bad", c.skip_bad, "go on without images that cannot be read");
  command->add_option("--threads", arguments->threads, "0: one for each processor; no result depends on it")
      ->check(CLI::Range(0, 1024));
  command->add_option("--save-every", arguments->session.save_every, "steps between checkpoints within an epoch")
      ->check(CLI::Range(0, 1000000000));
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
    if (arguments->out.empty() && arguments->resume.empty())
      throw CLI::RequiredError("--out RUN (or --resume RUN)");
    chosen = [arguments] { return train(*arguments); };
  });
}

}  // namespace spnet::program
