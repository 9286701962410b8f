#include "spnet/runtime/packed_file.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <functional>
#include <string>

#include "../pack/own_network.hpp"
#include "../temporary_folder.hpp"
#include "repair_packed.hpp"
#include "spnet/pack/pack.hpp"
#include "spnet/runtime/engine.hpp"
#include "spnet/testing/compare.hpp"

using namespace spnet;
using test::error_of;

namespace {

using Bytes = std::vector<std::byte>;

// A convolution, a normalisation and a classifier.
class Tiny : public nn::Module {
 public:
  explicit Tiny(const nn::Quantization& q) : Tiny(q, Random(2)) {}
  Variable<float> forward(const Variable<float>& x) override {
    return classifier_(global_avg_pool2d(unit_.forward_relu(x)));
  }

 private:
  Tiny(const nn::Quantization& q, Random random)
      : unit_("conv", "norm", 2, 3, 1, {}, q, random), classifier_(3, 2, random) {
    register_module("", unit_);
    register_module("fc", classifier_);
  }
  nn::ConvNorm unit_;
  nn::Linear classifier_;
};

runtime::Graph make_tiny() {
  Tiny net({.switches = {{1, 1}, {2, 2}, {32, 32}}});
  test::settle(net, {{1, 1}, {2, 2}, {32, 32}}, {4, 2, 2, 2});
  return pack::pack(net, {2, 2, 2}, {{1, 1}, {2, 2}, {32, 32}}, {.name = "tiny", .classes = {"cat", "dog"}});
}
const runtime::Graph& tiny_graph() {
  static const runtime::Graph graph = make_tiny();
  return graph;
}
runtime::Graph parse(const Bytes& bytes, const runtime::LoadOptions& options = {}) {
  return runtime::parse_packed("file", {nullptr, bytes}, options);
}
std::string error_in(const Bytes& bytes) {
  return error_of<FileError>([&] { parse(bytes); });
}
std::string error_in(const std::function<void(runtime::Graph&)>& change) {
  runtime::Graph graph = tiny_graph();
  change(graph);
  return error_of<ValueError>([&] { runtime::pack_bytes(graph); });
}

}  // namespace

TEST_CASE("packed_file: what is written is read back, into memory or mapped") {
  const test::TemporaryFolder folder;
  const runtime::Graph graph = tiny_graph();
  runtime::save_packed(folder / "tiny.spn", graph);
  for (const bool mapped : {false, true}) {
    const runtime::Graph back = runtime::load_packed(folder / "tiny.spn", {.mapped = mapped});
    CHECK(back.name == "tiny");
    CHECK(back.classes == graph.classes);
    CHECK(back.layers == graph.layers);
    CHECK(runtime::pack_bytes(back) == runtime::pack_bytes(graph));
    const Tensor<float> x = testing::random_normal<float>({1, 2, 2, 2}, 4);
    runtime::Engine a(std::make_shared<const runtime::Model>(back)), b(std::make_shared<const runtime::Model>(graph));
    CHECK(testing::bit_equal(a.run(x), b.run(x)));
  }
}

TEST_CASE("packed_file: parts begin at multiples of 64 bytes") {
  const Bytes bytes = runtime::pack_bytes(tiny_graph());
  std::uint64_t size = 0, data = 0;
  std::memcpy(&size, bytes.data() + 16, 8);
  std::memcpy(&data, bytes.data() + 48, 8);
  CHECK(size == bytes.size());
  CHECK(data % 64 == 0);
}

TEST_CASE("packed_file: a file that was cut short, lengthened or damaged anywhere is refused") {
  const Bytes bytes = runtime::pack_bytes(tiny_graph());
  for (std::size_t size = 0; size < bytes.size(); ++size)
    CHECK(error_in(Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size))) != "");
  Bytes longer = bytes;
  longer.push_back({});
  CHECK(error_in(longer) == message("file: cut short or lengthened: ", longer.size(), " bytes of ", bytes.size()));
  std::size_t accepted = 0;
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    Bytes damaged = bytes;
    damaged[bit / 8] ^= std::byte{1} << bit % 8;
    accepted += error_in(damaged).empty();
  }
  CHECK(accepted == 0);
}

TEST_CASE("packed_file: damage with the right checksum is refused or runs") {
  const Bytes bytes = runtime::pack_bytes(tiny_graph());
  const Tensor<float> x = testing::random_normal<float>({1, 2, 2, 2}, 4);
  int ran = 0, refused = 0;
  for (std::size_t at = 64; at < bytes.size(); ++at) {
    for (const int change : {1, 0x80, 0xFF}) {
      Bytes damaged = bytes;
      damaged[at] ^= std::byte(change);
      test::repair_packed(damaged);
      try {
        runtime::Engine engine(std::make_shared<const runtime::Model>(parse(damaged)),
                               {.threads = 1, .tune = false, .max_bytes = 1 << 20});
        engine.run(engine.model().graph().input == Shape{2, 2, 2}
                       ? x
                       : Tensor<float>::ones(runtime::detail::with_batch(engine.model().graph().input)));
        ++ran;
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  CHECK(ran > 100);
  CHECK(refused > 100);
}

TEST_CASE("packed_file: errors of the header name what is wrong") {
  const Bytes bytes = runtime::pack_bytes(tiny_graph());
  const auto changed = [&](std::size_t at, std::byte to) {
    Bytes out = bytes;
    out[at] = to;
    test::repair_packed(out);
    return error_in(out);
  };
  CHECK(error_in(Bytes(10)) == "file: not a packed network: 10 bytes are fewer than its header");
  CHECK(changed(1, std::byte{'X'}) == "file: not a packed network: it begins with other bytes");
  CHECK(changed(8, std::byte{1}) == "file: version 1 of the format, this program reads 3");
  CHECK(changed(12, std::byte{9}) == "file: written in another byte order, or damaged");
  const std::string apart = "file: its parts do not fit together: a graph of ";
  CHECK(changed(32, std::byte{0}).starts_with(apart));
  CHECK(changed(40, bytes[40] ^ std::byte{64}).starts_with(apart));
  Bytes damaged = bytes;
  damaged.back() ^= std::byte{1};
  CHECK(error_in(damaged).starts_with("file: damaged: its bytes have the checksum "));
  const test::TemporaryFolder folder;
  CHECK(error_of<FileError>([&] { runtime::load_packed(folder / "none"); }) ==
        folder / "none" + ": cannot open: No such file or directory");
  folder.write("empty", "");
  CHECK(error_of<FileError>([&] { runtime::load_packed(folder / "empty", {.mapped = true}); }) ==
        folder / "empty" + ": empty");
}

TEST_CASE("packed_file: graphs that cannot run are refused with the node and the reason") {
  using namespace runtime;
  CHECK(error_in([](Graph& g) { g.nodes.clear(); }) == "0 nodes, expected 1 to 65536");
  CHECK(error_in([](Graph& g) { g.precisions.clear(); }) == "0 precisions, expected 1 to 64");
  CHECK(error_in([](Graph& g) { g.precisions[0].weight_bits = 9; }) ==
        "a precision: 9 weight bits and 1 activation bits given, expected 1..8 or 32");
  CHECK(error_in([](Graph& g) { g.accuracies.clear(); }) == "0 accuracies of 3 precisions");
  CHECK(error_in([](Graph& g) { g.accuracies[1] = Accuracy{.images = 9, .top1_percent = NAN}; }).starts_with("an accuracy of"));
  CHECK(error_in([](Graph& g) { g.nodes.push_back({Constant{Tensor<float>::ones({2})}, {}}); }) ==
        "the last node is a constant");
  // A cycle, a node that reads itself, one that is not there.
  CHECK(error_in([](Graph& g) { g.nodes[1].inputs = {2}; }) ==
        "node 1 (conv2d): reads node 2, which does not come before it");
  CHECK(error_in([](Graph& g) { g.nodes[2].inputs = {2}; }) ==
        "node 2 (normalize): reads node 2, which does not come before it");
  CHECK(error_in([](Graph& g) { g.nodes[2].inputs = {77}; }) ==
        "node 2 (normalize): reads node 77, which does not come before it");
  CHECK(error_in([](Graph& g) { g.nodes[1].inputs = {}; }) == "node 1 (conv2d): 0 inputs, expected 1");
  CHECK(error_in([](Graph& g) { g.nodes[0].op = Concat{}; }) ==
        "node 0 (concat): the first node, and no other, is the input");
  CHECK(error_in([](Graph& g) { g.nodes[3].op = Input{}; }) ==
        "node 3 (input): the first node, and no other, is the input");
  CHECK(error_in([](Graph& g) { g.nodes[1].layer = 5; }) == "node 1 (conv2d): layer 5 of 1");
  CHECK(error_in([](Graph& g) { g.nodes[1].layer = -1; }) ==
        "node 1 (conv2d): its input's codes depend on the precision, but it is no layer");
  const auto conv = [](Graph& g) -> Conv2d& { return std::get<Conv2d>(g.nodes[1].op); };
  CHECK(error_in([&](Graph& g) { conv(g).options.stride = 0; }) ==
        "node 1 (conv2d): conv2d: stride 0x0 given, expected at least 1");
  CHECK(error_in([&](Graph& g) { conv(g).options.padding = 1 << 20; }).find("with its padding") != std::string::npos);
  const std::vector<float> wide(3 * 300 * 2);
  CHECK(error_in([&](Graph& g) {
          g.weights.push_back({{3, 1, 300, 2}, {nullptr, std::as_bytes(std::span(wide))}, {}, {}});
          g.nodes[1] = {Conv2d{{.padding = {0, 150}}, 2, {}}, {0}};
        }) == "node 1 (conv2d): a kernel of 1x300, expected up to 256x256");
  CHECK(error_in([&](Graph& g) { conv(g).options.groups = 0; }) ==
        "node 1 (conv2d): conv2d: 0 groups given, expected at least 1");
  CHECK(error_in([&](Graph& g) { conv(g).options.dilation = -1; }) ==
        "node 1 (conv2d): conv2d: dilation -1x-1 given, expected at least 1");
  CHECK(error_in([&](Graph& g) { conv(g).options.padding = ops::Pair{1 << 30}; }).starts_with("node 1 (conv2d): "));
  CHECK(error_in([&](Graph& g) { conv(g).weight = 9; }) == "node 1 (conv2d): weight 9 of 2");
  CHECK(error_in([&](Graph& g) { conv(g).weight = 1; }) == "node 1 (conv2d): weight [2,3] has another rank than 4");
  CHECK(error_in([&](Graph& g) { conv(g).rules.erase(2); }) == "node 1 (conv2d): no codes of its input at w2a2");
  CHECK(error_in([&](Graph& g) { std::get<AffineCodes>(conv(g).rules.at(2).map).scale = Tensor<float>::zeros({1}); }) ==
        "node 1 (conv2d): scale 0, expected finite and > 0");
  CHECK(error_in([&](Graph& g) { std::get<AffineCodes>(conv(g).rules.at(2).map).qmax = 7; }) ==
        "node 1 (conv2d): codes from 0 to 7, expected 0 to at most 3");
  CHECK(error_in([&](Graph& g) { std::get<ops::UniformForm>(conv(g).rules.at(2).codes).high = 300; }) ==
        "node 1 (conv2d): levels from 0 to 300");
  CHECK(error_in([&](Graph& g) { std::get<ops::UniformForm>(conv(g).rules.at(2).codes).factor = NAN; }) ==
        "node 1 (conv2d): factor nan, expected finite and > 0");
  CHECK(error_in([&](Graph& g) {
          conv(g).rules.at(2).codes = CodeSteps{Tensor<float>::from({3}, {1, 0, 2}), {0, 1, 2, 3}};
        }) == "node 1 (conv2d): bounds do not ascend");
  CHECK(error_in([&](Graph& g) {
          conv(g).rules.at(2).codes = CodeSteps{Tensor<float>::from({2}, {0, 1}), {0, 1, 4}};
        }) == "node 1 (conv2d): codes up to 4 do not fit 2 bits");
  CHECK(error_in([&](Graph& g) {
          conv(g).rules.at(2).codes = CodeSteps{Tensor<float>::from({2}, {0, 1}), {0, 1}};
        }) == "node 1 (conv2d): 2 codes between bounds: expected one more than there are bounds");
  const auto norm = [](Graph& g) -> Normalize& { return std::get<Normalize>(g.nodes[2].op); };
  CHECK(error_in([&](Graph& g) { norm(g).affines.pop_back(); }) == "node 2 (normalize): 2 forms, expected 3");
  CHECK(error_in([&](Graph& g) { norm(g).layers = {8}; }) == "node 2 (normalize): layer 8 of 1");
  CHECK(error_in([&](Graph& g) { norm(g).affines[0].scale = Tensor<float>::full({3}, INFINITY); }) ==
        "node 2 (normalize): scale: inf where a finite number is expected");
  CHECK(error_in([&](Graph& g) { norm(g).affines[0].shift = Tensor<float>::ones({4}); }) ==
        "node 2 (normalize): scale and shift, expected [3]");
  CHECK(error_in([](Graph& g) { g.weights[0].shape = {3, 1, 1, 0}; }) == "weight 0: shape [3,1,1,0]");
  CHECK(error_in([](Graph& g) {
          g.weights[0].shape = {1 << 28, 1, 1, 1 << 28};
        }) == "weight 0: shape [268435456,1,1,268435456] is too large");
  CHECK(error_in([](Graph& g) { g.weights[0].planes[0].count = 5; }).starts_with("weight 0:"));
  CHECK(error_in([](Graph& g) { g.weights[0].codes.at(2).planes = 4; }) == "weight 0: planes 4 of 1");
  CHECK(error_in([](Graph& g) { g.weights[0].codes.at(2).derivation = Derivation::kRounded; }) ==
        "weight 0: 2 bits from 2 planes");
  CHECK(error_in([](Graph& g) { g.weights[0].floats = {}; }) == "node 1 (conv2d): no weight at w32a32");
  CHECK(error_in([](Graph& g) {
          g.nodes[3].op = Pool2d{PoolKind::kMax, {.kernel = 9}};
        }).starts_with("node 3 (pool2d): pool2d: input"));
  CHECK(error_in([](Graph& g) { g.nodes[3].op = Reshape{{5}}; }) == "node 3 (reshape): [2,2,3] as [5]");
  CHECK(error_in([](Graph& g) {
          g.nodes[3].op = Narrow{2, 2, 5};
        }) == "node 3 (narrow): 5 entries from 2 of [2,2,3] along axis 2");
  CHECK(error_in([](Graph& g) { g.nodes[3].op = Concat{3}; }) == "node 3 (concat): axis 3 of [2,2,3]");
  CHECK(error_in([](Graph& g) { g.nodes[3].op = Unary{UnaryKind::kClamp, 2, 1}; }) == "node 3 (unary): clamp to 2..1");
  CHECK(error_in([](Graph& g) { g.nodes[3] = {Binary{}, {0, 2}, -1}; }).starts_with("node 3 (binary): binary: shapes"));
  CHECK(error_in([](Graph& g) { g.preparation.deviation = {0, 1}, g.preparation.mean = {0, 0}; }) == "deviation 0");
}

TEST_CASE("packed_file: fixed layers need what the configurations ask for, others everything") {
  using namespace runtime;
  const auto conv = [](Graph& g) -> Conv2d& { return std::get<Conv2d>(g.nodes[1].op); };
  // Precisions are w1a1, w2a2 and w32a32.
  const auto fixed = [&](std::vector<NamedConfiguration> configurations, bool is_fixed = true) {
    return error_in([&](Graph& g) {
      conv(g).rules.erase(2);
      g.weights[0].floats = {};
      g.is_fixed = is_fixed;
      g.configurations = configurations;
    });
  };
  CHECK(fixed({{"one", {1}, {}}}) == "node 1 (conv2d): no codes of its input at w2a2");
  CHECK(fixed({{"one", {0}, {}}, {"two", {2}, {}}}) == "node 1 (conv2d): no weight at w32a32");
  CHECK(fixed({}) == "layers are fixed, but there is no configuration to say how");
  CHECK(fixed({{"one", {0}, {}}}, false) == "node 1 (conv2d): no codes of its input at w2a2");
  CHECK(fixed({{"one", {0}, {}}}) == "");
}
