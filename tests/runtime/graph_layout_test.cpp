#include "spnet/runtime/graph_layout.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "repair_packed.hpp"
#include "spnet/runtime/engine.hpp"

using namespace spnet;

namespace {

// Bytes by hand, in the terms of the format's description.
class Hand {
 public:
  template <class T>
  Hand& number(T value) {
    const auto* const from = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), from, from + sizeof value);
    return *this;
  }
  Hand& u8(unsigned v) { return number(static_cast<std::uint8_t>(v)); }
  Hand& u32(std::uint32_t v) { return number(v); }
  Hand& u64(std::uint64_t v) { return number(v); }
  Hand& i32(std::int32_t v) { return number(v); }
  Hand& i64(std::int64_t v) { return number(v); }
  Hand& f32(float v) { return number(v); }
  Hand& f64(double v) { return number(v); }
  Hand& string(std::string_view text) {
    u32(static_cast<std::uint32_t>(text.size()));
    for (const char c : text) number(c);
    return *this;
  }
  Hand& shape(std::initializer_list<std::int64_t> sizes) {
    u32(static_cast<std::uint32_t>(sizes.size()));
    for (const std::int64_t size : sizes) i64(size);
    return *this;
  }
  Hand& vector(std::initializer_list<float> values) {  // a tensor of one axis
    u8(1).shape({static_cast<std::int64_t>(values.size())});
    for (const float v : values) f32(v);
    return *this;
  }
  // A node's end.
  Hand& reads(std::initializer_list<std::uint32_t> nodes, std::int32_t layer = -1) {
    u32(static_cast<std::uint32_t>(nodes.size()));
    for (const std::uint32_t node : nodes) u32(node);
    return i32(layer);
  }
  Hand& up_to(std::size_t size) {
    bytes_.resize(size);
    return *this;
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// A graph with every operator and every other structure of the format.
std::vector<std::byte> graph_by_hand() {
  Hand h;
  h.string("hand").shape({2, 2, 1});
  h.f32(0.875f).u32(1).f32(0.5f).u32(1).f32(0.25f);                  // preparation
  h.u32(2).string("cat").string("dög");                              // classes
  h.u32(2).i32(2).i32(2).i32(32).i32(32);                            // precisions
  h.u32(2).u8(1).i64(100).f64(75.5).u8(0);                           // accuracies
  h.u32(2).string("conv").string("codes");                           // layers
  h.u8(0);                                                           // is fixed
  h.u32(1).string("mixed").u32(2).u8(0).u8(1).u8(1).i64(9).f64(50);  // configurations

  h.u32(2);  // weights
  h.shape({2, 1, 1, 1}).u64(0).u64(8);
  h.u32(1).i32(2).u64(64).u64(2);
  h.u32(1).i32(2).u32(0).u8(0).u8(0).vector({0.5f}).i32(2).i32(3).i32(0).i32(3).i32(-1);
  h.shape({1, 3}).u64(128).u64(12).u32(0).u32(0);

  h.u32(13);  // nodes
  h.u8(0).reads({});
  h.u8(1).i64(1).i64(1).i64(0).i64(0).i64(1).i64(1).i64(1).u32(0);  // a convolution of weight 0
  h.u32(1).i32(2);                                                  // with a rule for 2 bits
  h.u8(0).u8(0).f32(4).i32(0).i32(3);
  h.u8(0).vector({0.25f}).i32(1).i32(0).i32(0).i32(3).i32(-1);
  h.reads({0}, 0);
  h.u8(3).u8(1).u32(1).u32(0).u32(2).vector({2, -2}).vector({0, 1}).vector({2, -1}).vector({0.5f, 0}).reads({1});
  h.u8(5).vector({1, 2}).reads({});
  h.u8(7).u8(0).reads({2, 3});
  h.u8(6).u8(5).f32(2).f32(-1).reads({4});
  h.u8(8).u8(0).i64(2).i64(0).i64(0).u8(1).reads({5});
  h.u8(10).shape({2}).reads({6});
  h.u8(9).reads({5});
  h.u8(11).i32(0).reads({7, 8});
  h.u8(12).i32(0).i64(1).i64(3).reads({9});
  h.u8(4).u32(1).i32(2);  // by bounds, to a table
  h.u8(1).vector({1, 5, 9}).u32(4).u8(0).u8(1).u8(2).u8(3);
  h.u8(1).vector({0.5f, 1, 2, 4});
  h.reads({10}, 1);
  h.u8(2).u32(1).u32(0).reads({11});
  return h.bytes();
}

std::vector<std::byte> file_by_hand() {
  const std::vector<std::byte> graph = graph_by_hand();
  const std::uint64_t graph_bytes = graph.size(), data = (64 + graph_bytes + 63) / 64 * 64;
  Hand h;
  for (const unsigned c : {0x89u, 0x53u, 0x50u, 0x4Eu, 0x0Du, 0x0Au, 0x1Au, 0x0Au}) h.u8(c);
  h.u32(3).u8(1).u8(2).u8(3).u8(4).u64(data + 140).u64(0).u64(64).u64(graph_bytes).u64(data).u64(140);
  for (const std::byte b : graph) h.number(b);
  h.up_to(data).f32(0.5f).f32(-1).up_to(data + 64).u8(1).u8(1).up_to(data + 128).f32(1).f32(2).f32(4);
  std::vector<std::byte> bytes = h.bytes();
  test::repair_packed(bytes);
  return bytes;
}

}  // namespace

TEST_CASE("graph_layout: a file written by hand from the description is read, written again and runs") {
  const std::vector<std::byte> bytes = file_by_hand();
  const runtime::Graph graph = runtime::parse_packed("by hand", {nullptr, bytes});
  CHECK(graph.classes == std::vector<std::string>{"cat", "dög"});
  CHECK(graph.accuracies[0]->top1_percent == 75.5);
  CHECK(graph.nodes.size() == 13);
  CHECK(runtime::pack_bytes(graph) == bytes);

  runtime::Engine engine(std::make_shared<const runtime::Model>(graph), {.threads = 1});
  Tensor<float> x({1, 2, 2, 1});
  for (int i = 0; i < 4; ++i) x.data()[i] = 0.25f * static_cast<float>(i + 1);
  const auto logit = [&] { return engine.run(x).data()[0]; };
  // By hand, too. In float: 1·5 + 2·3.25 + 4·4.25; in codes: 1·4 + 2·1 + 4·2; in both: 9.5 + 2·4.375 + 4·8.375.
  CHECK(logit() == 28.5f);
  engine.set_precision({2, 2});
  CHECK(logit() == 14.0f);
  engine.set_configuration(graph.configurations[0].layers);
  CHECK(logit() == 51.75f);
}
