#include "spnet/io/module_file.hpp"

#include <doctest/doctest.h>

#include "spnet/models/resnet.hpp"
#include "../files/text_files.hpp"

using namespace spnet;
using namespace spnet::test;

namespace {

std::unique_ptr<nn::Classifier> small_net(const std::string& switches, std::uint64_t seed) {
  return models::make_model("resnet20",
                            {.width = 0.25, .quantization = {.switches = parse_switches(switches)}, .seed = seed});
}

bool same_weights(const nn::Module& a, const nn::Module& b) {
  const auto pa = a.parameters(), pb = b.parameters();
  for (std::size_t i = 0; i < pa.size(); ++i)
    if (!std::ranges::equal(pa[i].variable.value().span(), pb[i].variable.value().span())) return false;
  return true;
}

Tensor<float> tensor_of(const nn::Module& module, const std::string& name) {
  for (const auto& p : module.parameters())
    if (p.name == name) return p.variable.value();
  for (const auto& b : module.buffers())
    if (b.name == name) return b.tensor;
  FAIL("no tensor ", name);
  return {};
}

}  // namespace

TEST_CASE("io: a module is saved and loaded whole") {
  const TemporaryFolder folder;
  const auto first = small_net("w1a1,w32a32", 1), second = small_net("w1a1,w32a32", 2);
  REQUIRE_FALSE(same_weights(*first, *second));
  tensor_of(*first, "bn1.w1a1.running_mean").fill(3);
  io::TensorFile file;
  io::put_module(file, *first);
  file.save(folder / "m.safetensors");
  io::load_module(io::TensorFile::load(folder / "m.safetensors"), *second);
  CHECK(same_weights(*first, *second));
  CHECK(tensor_of(*second, "bn1.w1a1.running_mean")(0) == 3);
}

TEST_CASE("io: a file that does not fit leaves the module as it was") {
  const auto net = small_net("w1a1,w32a32", 1), same = small_net("w1a1,w32a32", 1), other = small_net("w2a2,w32a32", 2);
  io::TensorFile file;
  io::put_module(file, *other);
  CHECK_THROWS_AS(io::load_module(file, *net), FileError);
  io::TensorFile more;
  io::put_module(more, *small_net("w1a1,w32a32", 2));
  more.put("model.extra", Tensor<float>::ones({1}));
  CHECK(error_of<FileError>([&] { io::load_module(more, *net); }).find("the network has") != std::string::npos);
  CHECK(same_weights(*net, *same));
}

TEST_CASE("io: a float network's batch norms are copied to every switch") {
  const auto source = small_net("w32a32", 1), net = small_net("w1a1,w2a2,w32a32", 2);
  tensor_of(*source, "layer1.0.bn1.w32a32.weight").fill(0.5f);
  tensor_of(*source, "layer1.0.bn1.w32a32.running_var").fill(4);
  io::TensorFile file;
  io::put_module(file, *source);
  CHECK(io::init_module(file, *net) == net->parameters().size() + net->buffers().size());
  for (const char* at : {"w1a1", "w2a2", "w32a32"}) {
    CHECK(tensor_of(*net, message("layer1.0.bn1.", at, ".weight"))(1) == 0.5f);
    CHECK(tensor_of(*net, message("layer1.0.bn1.", at, ".running_var"))(1) == 4);
  }
  CHECK(std::ranges::equal(tensor_of(*net, "layer2.0.conv1.weight").span(), tensor_of(*source, "layer2.0.conv1.weight").span()));
}

TEST_CASE("io: a network with switchable norms starts one with transitional norms, and the other way round") {
  const auto make = [](nn::NormKind norm) {
    return models::make_model("resnet20",
                              {.width = 0.25, .quantization = {.switches = parse_switches("w2a2,w4a4"), .norm = norm}});
  };
  const auto from = make(nn::NormKind::kSwitchable), to = make(nn::NormKind::kTransitional),
             back = make(nn::NormKind::kSwitchable);
  float mark = 0;
  for (const auto& p : from->parameters()) Variable<float>(p.variable).value().fill(mark += 1);
  io::TensorFile file;
  io::put_module(file, *from);
  io::init_module(file, *to);
  const auto value = [](const nn::Module& net, const std::string& name) {
    for (const auto& p : net.parameters())
      if (p.name == name) return p.variable.value().data()[0];
    return -1.0f;
  };
  for (const char* name : {"bn1.w2a2.weight", "bn1.w4a4.bias", "layer2.0.downsample.1.w2a2.weight"})
    CHECK(value(*to, name) == value(*from, name));
  CHECK(value(*to, "bn1.w2a2-w4a4.weight") == value(*from, "bn1.w4a4.weight"));
  CHECK(value(*to, "bn1.w4a4-w2a2.bias") == value(*from, "bn1.w2a2.bias"));
  io::TensorFile other;
  io::put_module(other, *to);
  io::init_module(other, *back);
  for (const auto& p : from->parameters()) CHECK_MESSAGE(value(*back, p.name) == p.variable.value().data()[0], p.name);
}

TEST_CASE("io: another program's weights are found by PyTorch's names and transposed from its layout") {
  const auto net = small_net("w1a1,w32a32", 2);
  io::TensorFile file;
  for (const auto& t : io::detail::module_tensors(*net)) {
    if (t.name.find("w32a32") != std::string::npos) continue;
    const std::size_t at = t.name.find("w1a1.");
    const std::string name = at == std::string::npos ? t.name : t.name.substr(0, at) + t.name.substr(at + 5);
    Tensor<float> value = t.tensor.clone();
    for (std::int64_t i = 0; i < value.size(); ++i) value.data()[i] = static_cast<float>(i % 1000);
    if (value.rank() == 4) value = value.permute({0, 3, 1, 2}).contiguous();
    file.put(name, value);
  }
  io::init_module(file, *net);
  const auto weight = tensor_of(*net, "layer1.0.conv1.weight");
  for (std::int64_t i = 0; i < weight.size(); ++i) REQUIRE(weight.data()[i] == static_cast<float>(i % 1000));
  CHECK(tensor_of(*net, "bn1.w32a32.bias")(3) == 3);
}

TEST_CASE("io: weights of another shape, or missing ones, are named") {
  const auto net = small_net("w32a32", 1), same = small_net("w32a32", 1);
  const auto wide = models::make_model("resnet20", {.width = 0.5, .quantization = {.switches = {{32, 32}}}});
  io::TensorFile file;
  io::put_module(file, *wide);
  CHECK(error_of<FileError>([&] { io::init_module(file, *net); }).find("conv1.weight") != std::string::npos);
  io::TensorFile empty;
  CHECK(error_of<FileError>([&] { io::init_module(empty, *net); }) == "init: the file has no tensor for 'conv1.weight'");
  CHECK(same_weights(*net, *same));
}
