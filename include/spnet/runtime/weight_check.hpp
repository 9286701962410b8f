// Whether the weights and the quantizers of a graph are what they should be. Nothing in them is trusted: they may come
// from a stranger's file.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <variant>

#include "spnet/core/error.hpp"
#include "spnet/runtime/bit_planes.hpp"
#include "spnet/runtime/graph.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

/// Elements of one tensor that a graph may hold, or ask for, for one image.
inline constexpr std::int64_t kMaxElements = std::int64_t{1} << 28;

namespace detail {

inline void check_finite(std::span<const float> values, const char* what) {
  for (const float v : values) check<ValueError>(std::isfinite(v), what, ": ", v, " where a finite number is expected");
}

/// Codes up to `most`, of a tensor with `channels` along axis 0 that may have a scale each.
inline void check_map(const CodeMap& map, int most, std::int64_t channels) {
  if (const auto* lut = std::get_if<LutCodes>(&map)) {
    check<ValueError>(lut->table.defined() && lut->table.rank() == 1 && lut->table.size() == most + 1, "a table of ",
                      most + 1, " values is expected");
    return check_finite(lut->table.span(), "a table's value");
  }
  const auto& affine = std::get<AffineCodes>(map);
  check<ValueError>(affine.qmin == 0 && affine.qmax >= 0 && affine.qmax <= most, "codes from ", affine.qmin, " to ",
                    affine.qmax, ", expected 0 to at most ", most);
  check<ValueError>(affine.step != 0 && std::abs(std::int64_t{affine.step}) <= 256 &&
                        std::abs(std::int64_t{affine.zero_point}) <= 65536,
                    "step ", affine.step, ", zero point ", affine.zero_point, ", expected up to 256 (not 0) and 65536");
  check<ValueError>(affine.channel_axis == -1 || affine.channel_axis == 0, "scales along axis ", affine.channel_axis);
  check<ValueError>(affine.scale.defined() && affine.scale.rank() == 1 &&
                        affine.scale.size() == (affine.channel_axis == 0 ? channels : 1),
                    "another number of scales than ", affine.channel_axis == 0 ? channels : 1);
  for (const float s : affine.scale.span())
    check<ValueError>(std::isfinite(s) && s > 0, "scale ", s, ", expected finite and > 0");
}

inline void check_rule(const CodeRule& rule, int bits) {
  check<ValueError>(bits >= 1 && bits <= 8, "codes of ", bits, " bits, expected 1 to 8");
  int most = 1;
  if (const auto* form = std::get_if<ops::UniformForm>(&rule.codes)) {
    check<ValueError>(std::isfinite(form->factor) && form->factor > 0, "factor ", form->factor,
                      ", expected finite and > 0");
    const std::int64_t levels = form->sign ? 1 : std::int64_t{form->high} - form->low;
    check<ValueError>(levels >= 0 && levels <= 255 && std::abs(std::int64_t{form->low}) <= 65536, "levels from ",
                      form->low, " to ", form->high);
    most = static_cast<int>(levels);
  } else {
    const auto& steps = std::get<CodeSteps>(rule.codes);
    check<ValueError>(
        steps.bounds.defined() && steps.bounds.rank() == 1 && std::ssize(steps.codes) == steps.bounds.size() + 1,
        steps.codes.size(), " codes between bounds: expected one more than there are bounds");
    const std::span<const float> t = steps.bounds.span();
    for (std::size_t i = 0; i < t.size(); ++i)
      check<ValueError>(std::isfinite(t[i]) && (i == 0 || t[i - 1] < t[i]), "bounds do not ascend");
    most = 1;
    for (const std::uint8_t code : steps.codes) most = std::max<int>(most, code);
    // Codes that never occur are none the less codes.
    if (const auto* lut = std::get_if<LutCodes>(&rule.map); lut && lut->table.defined())
      most = std::max(most, static_cast<int>(std::min<std::int64_t>(lut->table.size() - 1, 255)));
    if (const auto* affine = std::get_if<AffineCodes>(&rule.map)) most = std::max(most, std::min(affine->qmax, 255));
  }
  check_map(rule.map, most, 1);
  check<ValueError>(most < 1 << bits, "codes up to ", most, " do not fit ", bits, " bits");
  if (const auto* affine = std::get_if<AffineCodes>(&rule.map))
    check<ValueError>(affine->channel_axis == -1 && affine->qmax == most, "codes up to ", most, " read as up to ",
                      affine->qmax);
}

inline void check_weight(const Weight& w) {
  check<ValueError>((w.shape.rank() == 4 || w.shape.rank() == 2), "shape ", w.shape,
                    ", expected [O,kH,kW,C] or [out,in]");
  for (const std::int64_t size : w.shape) check<ValueError>(size >= 1 && size <= kMaxElements, "shape ", w.shape);
  const std::int64_t count = element_count(w.shape);
  check<ValueError>(count <= kMaxElements, "shape ", w.shape, " is too large");
  const std::size_t bytes = w.floats.span.size();
  check<ValueError>(bytes == 0 || bytes == static_cast<std::size_t>(count) * sizeof(float), bytes,
                    " bytes of floats for ", w.shape);
  check<ValueError>(bytes != 0 || !w.codes.empty(), "neither floats nor codes");
  for (std::size_t i = 0; i < bytes; i += sizeof(float)) {
    float v;
    std::memcpy(&v, w.floats.span.data() + i, sizeof v);
    check<ValueError>(std::isfinite(v), "a float that is ", v);
  }
  for (const Planes& planes : w.planes)
    check<ValueError>(
        planes.count >= 1 && planes.count <= 8 && std::ssize(planes.bytes.span) == planes.count * plane_bytes(count),
        planes.bytes.span.size(), " bytes of ", planes.count, " planes for ", w.shape);
  for (const auto& [bits, codes] : w.codes) {
    check<ValueError>(bits >= 1 && bits <= 8, "codes of ", bits, " bits, expected 1 to 8");
    check<ValueError>(codes.planes < w.planes.size(), "planes ", codes.planes, " of ", w.planes.size());
    const int stored = w.planes[codes.planes].count;
    check<ValueError>(static_cast<unsigned>(codes.derivation) <= static_cast<unsigned>(Derivation::kPrefix),
                      "derivation ", static_cast<unsigned>(codes.derivation));
    check<ValueError>(codes.derivation == Derivation::kStored ? stored <= bits
                                                              : planes_needed(codes.derivation, bits, stored) <= stored,
                      bits, " bits from ", stored, " planes");
    check_map(codes.map, (1 << (codes.derivation == Derivation::kStored ? stored : bits)) - 1, w.shape[0]);
  }
}

}  // namespace detail
}  // namespace runtime
}  // namespace v0
}  // namespace spnet
