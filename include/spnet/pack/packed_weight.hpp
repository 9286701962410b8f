// A weight at all widths of a network, as a packed file keeps it.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "spnet/ops/quantize.hpp"
#include "spnet/runtime/bit_planes.hpp"
#include "spnet/runtime/graph.hpp"

namespace spnet {
inline namespace v0 {
namespace pack {

namespace detail {

inline runtime::Bytes own_bytes(std::vector<std::byte> bytes) {
  const auto owner = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  return {owner, *owner};
}

/// The levels code − zero_point of evenly spaced codes, plus 2^(bits − 1), or the codes themselves where their values
/// lie symmetrically without touching zero: what narrower widths may follow from. Nothing where the levels are others.
inline std::optional<Tensor<std::uint8_t>> master_of(const Quantized& q, int bits) {
  const auto* map = std::get_if<AffineCodes>(&q.map);
  if (map && map->step == 2 && map->zero_point == (1 << bits) - 1) return q.codes.clone();
  if (!map || map->step != 1) return std::nullopt;
  const int offset = (1 << (bits - 1)) - map->zero_point;
  if (map->qmin + offset < 0 || map->qmax + offset >= 1 << bits) return std::nullopt;
  Tensor<std::uint8_t> master = q.codes.clone();
  for (std::uint8_t& code : master.span()) code = static_cast<std::uint8_t>(code + offset);
  return master;
}

inline bool follows(const runtime::Planes& planes, runtime::Derivation derivation, int bits, const Quantized& q) {
  using runtime::Derivation;
  if (!std::holds_alternative<AffineCodes>(q.map)) return false;
  if (derivation == Derivation::kStored && planes.count > bits) return false;
  if (runtime::planes_needed(derivation, bits, planes.count) > planes.count) return false;
  const auto derived = runtime::unpack_codes(planes, derivation, bits, q.codes.shape(), runtime::largest_code(q.map));
  return std::ranges::equal(derived.span(), q.codes.span());
}

// A table has an entry for every code that its planes can hold.
inline void fill_table(CodeMap& map, int planes) {
  auto* lut = std::get_if<LutCodes>(&map);
  if (!lut) return;
  Tensor<float> table({std::int64_t{1} << planes});
  const Tensor<float> known = lut->table.contiguous();
  for (std::int64_t i = 0; i < table.size(); ++i) table(i) = known.data()[std::min(i, known.size() - 1)];
  lut->table = table;
}

/// Widths from the widest to the narrowest, with the planes that the narrower ones may follow from.
class WeightPacker {
 public:
  explicit WeightPacker(const Shape& shape) : out_{.shape = shape, .floats = {}, .planes = {}, .codes = {}} {}

  void add_floats(const Tensor<float>& floats) {
    const Tensor<float> dense = floats.contiguous();
    std::vector<std::byte> bytes(static_cast<std::size_t>(dense.size()) * sizeof(float));
    std::memcpy(bytes.data(), dense.data(), bytes.size());
    out_.floats = own_bytes(std::move(bytes));
  }
  void add(int bits, const Quantized& given) {
    const Quantized q{given.codes.contiguous(), given.map};
    check<ValueError>(runtime::largest_code(q.map) < 1 << bits, "pack: a weight's quantizer has codes up to ",
                      runtime::largest_code(q.map), " at ", bits, " bits");
    if (derive(bits, q)) return;
    if (masters_ == kNone && bits > 1) {
      if (const auto master = master_of(q, bits)) {
        masters_ = store(*master, bits);
        if (derive(bits, q)) return;
        // Levels that no derivation gives back.
        out_.planes.pop_back();
        masters_ = kNone;
      }
    }
    const int count =
        std::max(static_cast<int>(std::bit_width(static_cast<unsigned>(runtime::largest_code(q.map)))), 1);
    CodeMap map = q.map;
    fill_table(map, count);
    const auto planes = static_cast<std::uint32_t>(store(q.codes, count));
    out_.codes.emplace(bits, runtime::WeightCodes{planes, runtime::Derivation::kStored, std::move(map)});
  }
  runtime::Weight take() { return std::move(out_); }

 private:
  static constexpr std::size_t kNone = std::size_t(-1);

  std::size_t store(const Tensor<std::uint8_t>& codes, int planes) {
    out_.planes.push_back({planes, own_bytes(runtime::pack_planes(codes.span(), planes))});
    return out_.planes.size() - 1;
  }
  bool derive(int bits, const Quantized& q) {
    using runtime::Derivation;
    if (masters_ == kNone) return false;
    const runtime::Planes& planes = out_.planes[masters_];
    for (const Derivation derivation :
         {Derivation::kStored, Derivation::kFloor, Derivation::kRounded, Derivation::kPrefix}) {
      if (!follows(planes, derivation, bits, q)) continue;
      out_.codes.emplace(bits, runtime::WeightCodes{static_cast<std::uint32_t>(masters_), derivation, q.map});
      return true;
    }
    return false;
  }

  runtime::Weight out_;
  std::size_t masters_ = kNone;
};

}  // namespace detail

/// Stores `codes` (by bits) and, where they are defined, `floats`. Codes that follow from the planes of the widest
/// width (floor-nested, doubly rounded, or its highest bits, whoever quantized them) take no room of their own.
inline runtime::Weight pack_weight(const Shape& shape, const std::map<int, Quantized>& codes,
                                   const Tensor<float>& floats) {
  detail::WeightPacker packer(shape);
  if (floats.defined()) packer.add_floats(floats);
  for (auto at = codes.rbegin(); at != codes.rend(); ++at) packer.add(at->first, at->second);
  return packer.take();
}

}  // namespace pack
}  // namespace v0
}  // namespace spnet
