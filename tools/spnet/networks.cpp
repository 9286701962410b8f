#include "networks.hpp"

#include "spnet/models/mobilenet_v1.hpp"
#include "spnet/models/resnet.hpp"

namespace spnet::program {

void require_network(const std::string& name) { models::find_model(name); }

std::unique_ptr<nn::Classifier> make_network(const RunConfig& config) {
  return models::make_model(config.model, config.model_options());
}

}  // namespace spnet::program
