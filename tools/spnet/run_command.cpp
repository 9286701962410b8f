#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "commands.hpp"
#include "configuration_file.hpp"
#include "image_codecs.hpp"
#include "packed_model.hpp"
#include "spnet/data/files.hpp"
#include "spnet/ops/softmax.hpp"
#include "spnet/runtime/engine.hpp"
#include "table.hpp"

namespace spnet::program {

namespace {

struct RunArguments {
  std::string model, precision, configuration;
  std::vector<std::string> images;
  int threads = 0;
  std::size_t top = 5;
  bool json = false;
};

std::string class_name(const runtime::Graph& graph, std::size_t i) {
  return i < graph.classes.size() ? graph.classes[i] : message("class ", i);
}

// The most likely classes, the likeliest first.
void print(const RunArguments& arguments, const runtime::Graph& graph, const std::string& image,
           std::span<const float> shares) {
  std::vector<std::size_t> order(shares.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return shares[a] > shares[b]; });
  order.resize(std::min(order.size(), arguments.top));
  if (arguments.json) {
    nlohmann::json line = {{"image", image}, {"top", nlohmann::json::array()}};
    for (const std::size_t i : order) line["top"].push_back({{"class", class_name(graph, i)}, {"share", shares[i]}});
    print_json(line);
    return;
  }
  std::printf("%s\n", image.c_str());
  for (const std::size_t i : order)
    std::printf("  %6.2f %%  %s\n", 100.0 * static_cast<double>(shares[i]), class_name(graph, i).c_str());
}

int classify(const RunArguments& arguments) {
  const auto model = runtime::Model::load(arguments.model);
  const runtime::Graph& graph = model->graph();
  runtime::Engine engine(model, {.threads = arguments.threads});
  if (!arguments.precision.empty()) {
    const std::vector<Precision> chosen = chosen_switches(graph, arguments.precision);
    if (chosen.size() > 1) throw UsageError("run: --switch " + arguments.precision + " given, expected one precision");
    engine.set_precision(chosen.front());
  }
  if (!arguments.configuration.empty())
    engine.set_configuration(load_configuration(arguments.configuration, graph).layers);
  const data::Augmentation prepared = preparation(graph);
  data::Augmenter augmenter(prepared, prepared.size);
  const data::Codecs codecs = image_codecs();
  constexpr std::int64_t kMaxFileBytes = std::int64_t{1} << 30, kMaxPixels = std::int64_t{1} << 26;
  data::Image image;
  Tensor<float> input(runtime::detail::with_batch(graph.input));
  for (const std::string& path : arguments.images) {
    try {
      codecs.decode_image(data::read_file(path, kMaxFileBytes), kMaxPixels, image);
    } catch (const FileError& error) {
      const std::string text = error.what();
      throw FileError(text.starts_with(path) ? text : path + ": " + text);
    }
    augmenter.apply(image, Random(0), input.data());
    const Tensor<float> shares = ops::softmax(engine.run(input));
    print(arguments, graph, path, shares.span());
  }
  return 0;
}

}  // namespace

void add_run_command(CLI::App& app, std::function<int()>& chosen) {
  auto arguments = std::make_shared<RunArguments>();
  CLI::App* command = app.add_subcommand("run", "What a packed network sees in images");
  command->add_option("model", arguments->model, "the packed file")->required();
  command->add_option("images", arguments->images, "JPEG or PNG files")->required();
  auto* one = command->add_option("--switch", arguments->precision,
                                  "the precision, as w4a4; the highest where it is not given");
  command
      ->add_option("--config", arguments->configuration,
                   "a precision for each layer: a file, or the name of what the network carries")
      ->excludes(one);
  command->add_option("--top", arguments->top, "classes to name")->check(CLI::Range(1, 1000))->capture_default_str();
  command->add_option("--threads", arguments->threads, "threads, 0: one per processor")->check(CLI::Range(0, 1024));
  command->add_flag("--json", arguments->json, "an object a line: image, top: [{class, share}]");
  command->callback([=, &chosen] { chosen = [arguments] { return classify(*arguments); }; });
}

}  // namespace spnet::program
