// The rival of conv_bench: oneDNN's convolution of the same shape, where the library was found.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>

#include "problems.hpp"
#include "spnet/core/bf16.hpp"
#include "spnet/core/random.hpp"

#ifdef SPNET_BENCH_ONEDNN
#include <dnnl.hpp>
#endif

namespace spnet::bench {

enum class Direction { kForward, kBackwardData, kBackwardWeight };
/// What a peer multiplies; integers forward only, u8 × s8 → s32.
enum class PeerType { kFloat, kBf16, kInteger };

#ifdef SPNET_BENCH_ONEDNN
/// One primitive with its memories; returns a call that runs it to the end. Images are NHWC, or as the library likes them
/// where `any_layout`; weights are as it likes them, for free. Of bf16 everything is bf16, before and after. Nothing where
/// the library has no such primitive.
inline std::function<void()> make_peer(const ConvProblem& p, Direction direction, PeerType peer_type, bool any_layout) try {
  using namespace dnnl;
  using tag = memory::format_tag;
  using type = memory::data_type;
  const engine eng(engine::kind::cpu, 0);
  const tag layout = any_layout ? tag::any : tag::nhwc;
  const bool integer = peer_type == PeerType::kInteger;
  const type real = peer_type == PeerType::kBf16 ? type::bf16 : type::f32;
  const memory::desc x({p.n, p.c, p.size, p.size}, integer ? type::u8 : real, layout);
  const memory::desc y({p.n, p.o, p.out_size(), p.out_size()}, integer ? type::s32 : real, layout);
  const type weight_type = integer ? type::s8 : real;
  const memory::desc w =
      p.groups > 1
          ? memory::desc({p.groups, p.o / p.groups, p.c / p.groups, p.kernel, p.kernel}, weight_type, tag::any)
          : memory::desc({p.o, p.c, p.kernel, p.kernel}, weight_type, tag::any);
  const memory::dims stride{p.stride, p.stride}, pad{p.padding(), p.padding()};
  const auto algorithm = algorithm::convolution_direct;
  const convolution_forward::primitive_desc forward(
      {integer ? prop_kind::forward_inference : prop_kind::forward_training, algorithm, x, w, y, stride, pad, pad}, eng);
  const auto run = [eng](primitive prim, std::unordered_map<int, memory> memories) {
    Random random(1);
    for (auto& [index, m] : memories) {
      const std::size_t bytes = m.get_desc().get_size();
      if (m.get_desc().data_type() == type::f32) {
        auto* data = static_cast<float*>(m.get_data_handle());
        for (std::size_t i = 0; i < bytes / sizeof(float); ++i) data[i] = random.uniform(-1.0f, 1.0f);
      } else if (m.get_desc().data_type() == type::bf16) {
        auto* data = static_cast<bf16*>(m.get_data_handle());
        for (std::size_t i = 0; i < bytes / sizeof(bf16); ++i) data[i] = bf16(random.uniform(-1.0f, 1.0f));
      } else {
        auto* data = static_cast<unsigned char*>(m.get_data_handle());
        for (std::size_t i = 0; i < bytes; ++i) data[i] = static_cast<unsigned char>(random.below(256));
      }
    }
    return [prim, memories, s = stream(eng)]() mutable {
      prim.execute(s, memories);
      s.wait();
    };
  };
  if (direction == Direction::kForward) {
    return run(convolution_forward(forward), {{DNNL_ARG_SRC, memory(forward.src_desc(), eng)},
                                              {DNNL_ARG_WEIGHTS, memory(forward.weights_desc(), eng)},
                                              {DNNL_ARG_DST, memory(forward.dst_desc(), eng)}});
  }
  if (direction == Direction::kBackwardData) {
    const convolution_backward_data::primitive_desc d({algorithm, x, w, y, stride, pad, pad}, eng, forward);
    return run(convolution_backward_data(d), {{DNNL_ARG_DIFF_SRC, memory(d.diff_src_desc(), eng)},
                                              {DNNL_ARG_WEIGHTS, memory(d.weights_desc(), eng)},
                                              {DNNL_ARG_DIFF_DST, memory(d.diff_dst_desc(), eng)}});
  }
  const convolution_backward_weights::primitive_desc d({algorithm, x, w, y, stride, pad, pad}, eng, forward);
  return run(convolution_backward_weights(d), {{DNNL_ARG_SRC, memory(d.src_desc(), eng)},
                                               {DNNL_ARG_DIFF_WEIGHTS, memory(d.diff_weights_desc(), eng)},
                                               {DNNL_ARG_DIFF_DST, memory(d.diff_dst_desc(), eng)}});
} catch (const dnnl::error&) {
  return {};
}
#else
inline std::function<void()> make_peer(const ConvProblem&, Direction, PeerType, bool) { return {}; }
#endif

}  // namespace spnet::bench
