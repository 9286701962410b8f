#include "networks.hpp"

#include <algorithm>

#include "spnet/io/module_file.hpp"
#include "spnet/models/mobilenet_v1.hpp"
#include "spnet/models/mobilenet_v2.hpp"
#include "spnet/models/resnet.hpp"
#include "spnet/nn/quantized_layer.hpp"

namespace spnet::program {

void require_network(const std::string& name) { models::find_model(name); }

std::unique_ptr<nn::Classifier> make_network(const RunConfig& config) {
  auto network = models::make_model(config.model, config.model_options());
  if (config.layers.empty()) return network;
  const auto layers = nn::quantized_layers(*network);
  for (const nn::NamedLayer& l : layers) {
    const auto at = config.layers.find(l.name);
    check<ValueError>(at != config.layers.end(), "train: --config: layer '", l.name, "' is missing");
    l.layer->fix_precision(parse_precision(at->second));
  }
  for (const auto& [name, precision] : config.layers)
    check<ValueError>(
        std::any_of(layers.begin(), layers.end(), [&](const nn::NamedLayer& l) { return l.name == name; }),
        "train: --config: layer '", name, "' is not one of the network's, which are ",
        join(layers, [](const nn::NamedLayer& l) { return l.name; }));
  return network;
}

std::vector<train::Evaluation> evaluate_network(const RunConfig& config, nn::Module& model, data::Loader& loader,
                                                const std::function<bool(std::int64_t)>& progress) {
  return config.is_fixed() ? std::vector{train::evaluate_as_set(model, "mixed", loader, progress)}
                           : train::evaluate(model, config.switches, loader, progress);
}

void load_network(const RunConfig& config, const io::TensorFile& file, const std::string& source, nn::Module& model) {
  try {
    if (config.pruned) {
      io::load_pruned_module(file, model);
      // Shapes that do not fit each other show in a forward pass.
      const NoGradGuard no_grad;
      const bool training = model.training();
      model.eval();
      const Shape logits =
          model(Variable<float>(Tensor<float>::zeros({1, config.image_size, config.image_size, 3}))).shape();
      model.train(training);
      check<FileError>(logits == Shape{1, std::ssize(config.classes)}, "the network gives logits ", logits, ", ",
                       config.classes.size(), " classes expected");
    } else {
      io::load_module(file, model);
    }
  } catch (const Error& error) {
    throw FileError(message(source, ": does not fit its own configuration: ", error.what()));
  }
}

}  // namespace spnet::program
