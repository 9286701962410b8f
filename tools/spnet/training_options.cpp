#include "training_options.hpp"

#include <algorithm>
#include <charconv>

#include "networks.hpp"
#include "spnet/quant/registry.hpp"

namespace spnet::program {

std::pair<std::string, double> parse_named_number(const std::string& text, const char* option, const char* form) {
  const std::size_t colon = std::min(text.find(':'), text.size());
  const char* const end = text.data() + text.size();
  double number = 0;
  const auto [stop, error] = std::from_chars(std::min(text.data() + colon + 1, end), end, number);
  check<ValueError>(error == std::errc() && stop == end, option, ": '", text, "' given, expected the form ", form);
  return {text.substr(0, colon), number};
}

std::vector<CLI::Option*> add_network_options(CLI::App& command, RunConfig& c) {
  return {
      command.add_option("--model", c.model, "resnet20, resnet18, resnet34, resnet50, mobilenet_v1 or mobilenet_v2"),
      command.add_option("--width", c.width, "multiplies every channel count")->check(CLI::Range(0.001, 64.0)),
      command.add_option("--stem", c.stem, "cifar, tiny-imagenet or imagenet; by the image size where left out")
          ->check(CLI::IsMember({"cifar", "tiny-imagenet", "imagenet"})),
      command
          .add_option("--image-size", c.image_size, "height and width in pixels; as the data has them where left out")
          ->check(CLI::Range(8, 1024)),
      command.add_option("--quantizer", c.quantizer, "scheme for weights and activations: " + join(quantizer_names())),
      command.add_option("--activation-quantizer", c.activation_quantizer, "another scheme for the activations"),
      command.add_flag("--per-channel", c.per_channel,
                       "learned scales for each filter, where the scheme has them (lsq)"),
      command.add_flag("--relu-before-norm", c.relu_before_norm,
                       "blocks of convolution, ReLU, norm, as tanh activations want them"),
  };
}

void add_training_options(CLI::App& command, TrainingArguments& arguments, std::vector<CLI::Option*> defining) {
  RunConfig& c = arguments.config;
  auto* resume = command.add_option("--resume", arguments.resume,
                                    "go on with the run in this folder; of the options that say what is trained, "
                                    "none goes with it");
  const auto add = [&](const std::vector<CLI::Option*>& more) { defining.insert(defining.end(), more.begin(), more.end()); };
  add(add_network_options(command, c));
  add({
      command.add_option("--data", c.data,
                          "synthetic, or cifar10:PATH, cifar100:PATH, mnist:PATH, folder:PATH, "
                          "tiny-imagenet:PATH"),
      command.add_option("--train-images", c.train_images, "use only so many training images")
          ->check(CLI::PositiveNumber),
      command.add_option("--augment", c.augment, "auto, none, crop, crop-flip, resized-crop or resized-crop-jitter")
          ->check(CLI::IsMember({"auto", "none", "crop", "crop-flip", "resized-crop", "resized-crop-jitter"})),
      command.add_option("--label-smoothing", c.distillation.label_smoothing, "0 to 1")->check(CLI::Range(0.0, 1.0)),
      command.add_option("--batch", c.batch, "images a step")->check(CLI::Range(2, 65536)),
      command.add_option("--optimizer", c.optimizer, "sgd, adam or adamw")
          ->check(CLI::IsMember({"sgd", "adam", "adamw"})),
      command.add_option("--lr", c.lr, "learning rate; 0.1 for sgd and 0.001 for adam where left out")
          ->check(CLI::PositiveNumber),
      command.add_option("--momentum", c.momentum, "of sgd, Nesterov's")->check(CLI::Range(0.0, 0.9999)),
      command.add_option("--weight-decay", c.weight_decay, "of weights, not of norms and scales")
          ->check(CLI::Range(0.0, 1.0)),
      command.add_option("--scale-lr", c.scale_lr, "multiplies the rate of the quantizers' scales")
          ->check(CLI::Range(0.0, 1000.0)),
      command.add_option("--scale-rates", arguments.scale_rates,
                       "and further that of the scales of a width, as 2:10,3:3; 1 where left out")
          ->delimiter(','),
      command
          .add_option("--matmul-precision", c.matmul_precision,
                      "of float products in training steps: highest, high (near-float) or medium (bf16), where the "
                      "machine multiplies bf16 faster")
          ->check(CLI::IsMember({"highest", "high", "medium"})),
      command.add_option("--clip-norm", c.clip_norm, "largest norm of the gradients; 0: any")
          ->check(CLI::Range(0.0, 1e9)),
      command.add_option("--schedule", c.schedule,
                          "constant, cosine, one-cycle, step:EPOCHS[:FACTOR] or "
                          "multi-step:E1,E2[:FACTOR]"),
      command.add_option("--warmup", c.warmup_epochs, "epochs of linear warm-up; 0.5 where left out, none with one-cycle")
          ->check(CLI::Range(0.0, 1000.0)),
      command.add_option("--seed", c.seed, "of weights, order and augmentation")->check(CLI::NonNegativeNumber),
      command.add_option("--init", arguments.init, "start from a run's folder or a .safetensors file"),
  });
  for (CLI::Option* option : defining) {
    option->capture_default_str();
    option->excludes(resume);
  }
  for (const char* name : {"--warmup", "--lr"}) command.get_option(name)->default_str("");
  command.add_flag("--skip-bad", c.skip_bad, "go on without images that cannot be read");
  command
      .add_option("--threads", arguments.threads,
                  "0: one for each processor; no result depends on it but that of latencies measured here")
      ->check(CLI::Range(0, 1024));
  command.add_option("--save-every", arguments.session.save_every, "steps between checkpoints within an epoch")
      ->check(CLI::Range(0, 1000000000));
}

void complete(TrainingArguments& arguments) {
  RunConfig& c = arguments.config;
  for (const std::string& text : arguments.scale_rates) {
    const auto [name, rate] = parse_named_number(text, "scale rates", "2:10");
    std::vector<int> width;
    parse_numbers("--scale-rates", {name}, width);
    c.scale_rates[width.front()] = rate;
  }
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
}

}  // namespace spnet::program
