// Weights as they are stored, which convolutions read as floats when they pack them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include "spnet/kernels/integer.hpp"
#include "spnet/ops/quantize.hpp"

namespace spnet {
inline namespace v0 {
namespace ops {

/// Gives the `count` codes of weights from number `begin` on, where they are or in `scratch`, which has room for 8
/// more. Calls come from several threads at once.
using CodesReader = std::function<const std::uint8_t*(std::int64_t begin, std::int64_t count, std::uint8_t* scratch)>;

/// Of row-major codes, for as long as they are there.
inline CodesReader codes_in_memory(const std::uint8_t* codes) {
  return [codes](std::int64_t begin, std::int64_t, std::uint8_t*) { return codes + begin; };
}

/// Weights [O,kH,kW,C/groups]: floats, or what codes stand for, times a factor where there is one, which leaves no
/// negative zero. They must be there for as long as this is. Calls may come from several threads.
class WeightReader {
 public:
  /// Row-major floats.
  explicit WeightReader(const float* floats, std::optional<float> factor = {}) : floats_(floats), factor_(factor) {}
  /// Codes of `shape`, which have passed `check_quantized`.
  WeightReader(CodesReader codes, const CodeMap& map, const Shape& shape, std::optional<float> factor = {})
      : codes_(std::move(codes)), decoder_(std::in_place, map, shape), factor_(factor) {}

  /// Where the floats lie as they are wanted; else null.
  const float* in_memory() const { return factor_ ? nullptr : floats_; }
  /// The `count` weights from number `begin` on, where they lie or in `scratch`, which has room for them.
  const float* values(std::int64_t begin, std::int64_t count, float* scratch) const {
    if (in_memory()) return floats_ + begin;
    constexpr std::int64_t kPiece = 2048;  // these stay in the first-level cache
    std::array<std::uint8_t, kPiece + 8> codes;
    for (std::int64_t at = 0; at < count; at += kPiece) {
      const std::int64_t n = std::min(kPiece, count - at);
      const float* from = scratch + at;
      if (floats_) {
        from = floats_ + begin + at;
      } else {
        (*decoder_)(codes_(begin + at, n, codes.data()), begin + at, n, scratch + at);
      }
      for (std::int64_t i = 0; factor_ && i < n; ++i) scratch[at + i] = *factor_ * from[i] + 0.0f;
    }
    return scratch;
  }

  /// Bytes of scratch for the form of so many outputs.
  std::int64_t form_bytes(std::int64_t outputs, std::int64_t row) const {
    if (floats_) return 0;
    return packs_codes(row) ? outputs * row + 8 : outputs * row * static_cast<std::int64_t>(sizeof(float));
  }
  /// `outputs` outputs of `row` weights each, from weight number `begin` on, as kernels pack them; of a panel everything
  /// but channels, width and place. May lie in `scratch`.
  kernels::PackFloatsArgs form(std::int64_t begin, std::int64_t outputs, std::int64_t row, std::byte* scratch) const {
    kernels::PackFloatsArgs args{};
    args.row = row;
    args.outputs = outputs;
    args.scaled = factor_.has_value();
    args.factor = factor_.value_or(1.0f);
    if (floats_) {
      args.floats = floats_ + begin;
    } else if (packs_codes(row)) {
      const AffineCodes* map = decoder_->map();
      args.codes = codes_(begin, outputs * row, reinterpret_cast<std::uint8_t*>(scratch));
      args.step = map->step;
      args.zero_point = map->zero_point;
      args.scale_step = map->scale.size() > 1 ? 1 : 0;
      args.scales = map->scale.data() + begin / row * args.scale_step;
    } else {
      args.floats = values(begin, outputs * row, reinterpret_cast<float*>(scratch));
      args.scaled = false;
    }
    return args;
  }

 private:
  bool packs_codes(std::int64_t row) const { return decoder_->map() && decoder_->has_scale_of(row); }

  const float* floats_ = nullptr;
  CodesReader codes_;
  std::optional<Decoder> decoder_;
  std::optional<float> factor_;
};

}  // namespace ops
}  // namespace v0
}  // namespace spnet
