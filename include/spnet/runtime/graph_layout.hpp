// The graph of a packed file, byte by byte. Each `describe` below writes and reads a structure's members in the order
// in which the comment before it names them. With these terms (archive.hpp):
//
//   u8 u32 u64 i32 i64   integers of so many bits, unsigned or in two's complement
//   f32 f64              IEEE 754
//   bool                 u8: 0 or 1
//   string               u32 length, then so many bytes of UTF-8
//   shape                u32 rank (at most 8), then an i64 for each axis
//   tensor               bool; where it is 1: shape, then an f32 for each element, row-major
//   list(T)              u32 length, then so many T
//   map(T)               u32 length, then so many times an i32 key and T; the keys ascend
//   maybe(T)             bool; where it is 1: T
//   one of: A, B, …      u8, which (0: A, 1: B, …), then that one
//
// Nothing lies between members, and nothing is aligned but the data (packed_file.hpp). A graph is:
//
//   name         string
//   input        shape [H,W,C] of an image
//   preparation  f32 centre share, list(f32) mean, list(f32) deviation
//   classes      list(string)
//   precisions   list(precision), 1 to 64 of them
//   accuracies   list(maybe(accuracy)), one for each precision
//   layers       list(string)
//   is fixed     bool
//   configurations  list(configuration)
//   weights      list(weight)
//   nodes        list(node)
#pragma once

#include "spnet/core/precision.hpp"
#include "spnet/ops/batch_norm.hpp"
#include "spnet/ops/conv2d_geometry.hpp"
#include "spnet/ops/pool.hpp"
#include "spnet/ops/quantize.hpp"
#include "spnet/runtime/archive.hpp"
#include "spnet/runtime/graph.hpp"

namespace spnet {
inline namespace v0 {

// precision: i32 weight bits, i32 activation bits; 1 to 8, or 32 for float.
template <class A>
void describe(A& a, Precision& p) {
  a(p.weight_bits), a(p.activation_bits);
}
// affine codes: tensor scale, i32 step, i32 zero point, i32 smallest and i32 largest code, i32 channel axis or −1.
// A code c stands for (step·c − zero point)·scale.
template <class A>
void describe(A& a, AffineCodes& codes) {
  a(codes.scale), a(codes.step), a(codes.zero_point), a(codes.qmin), a(codes.qmax), a(codes.channel_axis);
}
// table codes: tensor, the value of each code.
template <class A>
void describe(A& a, LutCodes& codes) {
  a(codes.table);
}
namespace ops {
// uniform form: bool sign, f32 factor, i32 low, i32 high. The code of x is x > 0 where sign is set, else
// round(clamp(x·factor, low, high)) − low, half to even.
template <class A>
void describe(A& a, UniformForm& form) {
  a(form.sign), a(form.factor), a(form.low), a(form.high);
}
// pair: i64 of the vertical, i64 of the horizontal direction.
template <class A>
void describe(A& a, Pair& pair) {
  a(pair.h), a(pair.w);
}
// convolution's options: pair stride, pair padding, pair dilation, i64 groups.
template <class A>
void describe(A& a, Conv2dOptions& options) {
  a(options.stride), a(options.padding), a(options.dilation), a(options.groups);
}
// pooling's options: i64 kernel, i64 stride (0: the kernel), i64 padding, bool whether averages count the padding.
template <class A>
void describe(A& a, Pool2dOptions& options) {
  a(options.kernel), a(options.stride), a(options.padding), a(options.count_include_pad);
}
// affine: tensor scale, tensor shift, of the same shape [C].
template <class A>
void describe(A& a, ChannelAffine<float>& affine) {
  a(affine.scale), a(affine.shift);
}
}  // namespace ops

namespace runtime {

// steps: tensor [n] of ascending bounds, list(u8) of n + 1 codes.
template <class A>
void describe(A& a, CodeSteps& steps) {
  a(steps.bounds), a(steps.codes);
}
// rule: how floats become codes, one of: uniform form, steps; what these stand for, one of: affine codes, table codes.
template <class A>
void describe(A& a, CodeRule& rule) {
  a(rule.codes), a(rule.map);
}
// data: u64 begin, from the begin of the file's data on, a multiple of 64, u64 size in bytes.
template <class A>
void describe(A& a, Bytes& bytes) {
  a.data(bytes);
}
// planes: i32 count, data. A plane is ⌈elements/8⌉ bytes, a bit for each element, the first in the lowest bit; the
// planes follow each other, that of the codes' highest bit first.
template <class A>
void describe(A& a, Planes& planes) {
  a(planes.count), a(planes.bytes);
}
// weight's codes: u32 number of the weight's planes, u8 derivation (see Derivation), one of: affine codes, table codes.
template <class A>
void describe(A& a, WeightCodes& codes) {
  a(codes.planes), a(codes.derivation), a(codes.map);
}
// weight: shape, data of f32 (of no bytes where no precision needs floats), list(planes), map(weight's codes) by bits.
template <class A>
void describe(A& a, Weight& weight) {
  a(weight.shape), a(weight.floats), a(weight.planes), a(weight.codes);
}
// 0, input: nothing.
template <class A>
void describe(A&, Input&) {}
// 1, conv2d: convolution's options, u32 number of the weight, map(rule) by activation bits.
template <class A>
void describe(A& a, Conv2d& op) {
  a(op.options), a(op.weight), a(op.rules);
}
// 2, linear: u32 number of the weight, map(rule) by activation bits.
template <class A>
void describe(A& a, Linear& op) {
  a(op.weight), a(op.rules);
}
// 3, normalize: bool relu, list(u32) of up to two layers, list(affine) for each combination of their precisions.
template <class A>
void describe(A& a, Normalize& op) {
  a(op.relu), a(op.layers), a(op.affines);
}
// 4, quantize: map(rule) by activation bits.
template <class A>
void describe(A& a, Quantize& op) {
  a(op.rules);
}
// 5, constant: tensor.
template <class A>
void describe(A& a, Constant& op) {
  a(op.value);
}
// 6, unary: u8 kind (UnaryKind), f32 a, f32 b.
template <class A>
void describe(A& a, Unary& op) {
  a(op.kind), a(op.a), a(op.b);
}
// 7, binary: u8 kind (BinaryKind).
template <class A>
void describe(A& a, Binary& op) {
  a(op.kind);
}
// 8, pool2d: u8 kind (PoolKind), pooling's options.
template <class A>
void describe(A& a, Pool2d& op) {
  a(op.kind), a(op.options);
}
// 9, global_avg_pool2d: nothing.
template <class A>
void describe(A&, GlobalAvgPool2d&) {}
// 10, reshape: shape.
template <class A>
void describe(A& a, Reshape& op) {
  a(op.shape);
}
// 11, concat: i32 axis.
template <class A>
void describe(A& a, Concat& op) {
  a(op.axis);
}
// 12, narrow: i32 axis, i64 begin, i64 length.
template <class A>
void describe(A& a, Narrow& op) {
  a(op.axis), a(op.begin), a(op.length);
}
// node: one of the operators 0 to 12, list(u32) of the nodes that it reads, i32 number of its layer or −1.
template <class A>
void describe(A& a, Node& node) {
  a(node.op), a(node.inputs), a(node.layer);
}
template <class A>
void describe(A& a, Preparation& preparation) {
  a(preparation.centre_share), a(preparation.mean), a(preparation.deviation);
}
// accuracy: i64 images, f64 top-1 in percent.
template <class A>
void describe(A& a, Accuracy& accuracy) {
  a(accuracy.images), a(accuracy.top1_percent);
}
// configuration: string name, list(u8) of each layer's precision by its number, maybe(accuracy).
template <class A>
void describe(A& a, NamedConfiguration& configuration) {
  a(configuration.name), a(configuration.layers), a(configuration.accuracy);
}
template <class A>
void describe(A& a, Graph& graph) {
  a(graph.name), a(graph.input), a(graph.preparation), a(graph.classes), a(graph.precisions), a(graph.accuracies),
      a(graph.layers), a(graph.is_fixed), a(graph.configurations), a(graph.weights), a(graph.nodes);
}

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
