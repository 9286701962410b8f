// Weights on their way from bit planes to the order of products, written once for every instruction set: see
// conv_body.hpp. `I` supplies vectors of 32-bit units.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "spnet/kernels/conv_body.hpp"
#include "spnet/kernels/integer.hpp"
#include "spnet/kernels/lanes.hpp"

namespace spnet {
inline namespace v0 {
namespace kernels::body {

// The same vector as bytes, as int16 and as int64.
template <class I>
struct WeightLanes {
  static constexpr int kBytes = 4 * I::kLanes;
  typedef std::uint8_t Bytes __attribute__((vector_size(kBytes)));
  typedef std::uint16_t Words __attribute__((vector_size(kBytes)));
  typedef std::uint8_t HalfBytes __attribute__((vector_size(kBytes / 2)));
  typedef std::uint64_t Wide __attribute__((vector_size(kBytes)));
};
// As many bytes and words as a vector has floats.
template <class I>
struct FloatLanes {
  typedef float Float __attribute__((vector_size(4 * I::kLanes)));
  typedef std::int32_t Int __attribute__((vector_size(4 * I::kLanes)));
  typedef std::uint16_t Half __attribute__((vector_size(2 * I::kLanes)));
  typedef std::uint8_t Byte __attribute__((vector_size(I::kLanes)));
};

// Byte i of v becomes its byte i / 8, of those that every 16 bytes repeat.
template <class Bytes, int... kAt>
SPNET_INLINE void repeat_eightfold(Bytes& v, std::integer_sequence<int, kAt...>) {
  v = __builtin_shufflevector(v, v, (kAt / 16 * 16 + kAt / 8)...);
}

// Adds a plane, from `from` on, as the lowest bit of every byte of `codes`.
template <class I>
SPNET_INLINE void add_plane(typename WeightLanes<I>::Bytes& codes, const std::byte* from) {
  using L = WeightLanes<I>;
  typename L::Bytes bytes;
  if constexpr (L::kBytes == 16) {  // SSE2 has no such shuffle
    constexpr std::uint64_t kEightfold = 0x0101010101010101;
    const typename L::Wide both{std::to_integer<std::uint64_t>(from[0]) * kEightfold,
                                std::to_integer<std::uint64_t>(from[1]) * kEightfold};
    bytes = reinterpret_cast<typename L::Bytes>(both);
  } else {
    using Run = std::conditional_t<L::kBytes == 64, std::uint64_t, std::uint32_t>;
    typedef Run Runs __attribute__((vector_size(L::kBytes)));
    Run run;
    std::memcpy(&run, from, sizeof run);
    const Runs runs = run - Runs{};
    bytes = reinterpret_cast<typename L::Bytes>(runs);
    repeat_eightfold(bytes, std::make_integer_sequence<int, L::kBytes>{});
  }
  // Of every byte one bit counts; where it is set, the comparison's -1 is subtracted.
  const auto places = reinterpret_cast<typename L::Bytes>(0x8040201008040201 - typename L::Wide{});
  const auto set = (bytes & places) == places;
  codes += codes - reinterpret_cast<typename L::Bytes>(set);
}

// What becomes of the numbers t that the planes hold.
template <class I>
SPNET_INLINE void make_codes(typename WeightLanes<I>::Bytes& t, PrefixCode code, std::uint8_t most) {
  using Bytes = typename WeightLanes<I>::Bytes;
  if (code == PrefixCode::kRounded) t = (t >> 1) + (t & 1);
  if (code == PrefixCode::kLowered) t -= (((t & 0x7f) + 0x7f) | t) >> 7;
  const Bytes limit = most - Bytes{};
  t = t < limit ? t : limit;
}

template <class I>
SPNET_INLINE void unpack_planes(const UnpackPlanesArgs& a) {
  using L = WeightLanes<I>;
  constexpr std::int64_t kPlaneBytes = L::kBytes / 8;
  std::int64_t i = 0;
  const std::byte* from = a.planes;
  for (; i + L::kBytes <= a.count; i += L::kBytes, from += kPlaneBytes) {
    typename L::Bytes codes{};
    for (std::int64_t p = 0; p < a.plane_count; ++p) add_plane<I>(codes, from + p * a.plane_step);
    make_codes<I>(codes, a.code, a.most);
    AllLanes{}.store(a.codes + i, codes);
  }
  if (i == a.count) return;
  typename L::Bytes codes{};
  for (std::int64_t p = 0; p < a.plane_count; ++p) {
    std::byte rest[kPlaneBytes] = {};
    std::memcpy(rest, from + p * a.plane_step, static_cast<std::size_t>((a.count - i + 7) / 8));
    add_plane<I>(codes, rest);
  }
  make_codes<I>(codes, a.code, a.most);
  FirstLanes{static_cast<std::size_t>(a.count - i)}.store(a.codes + i, codes);
}

// Elements step·code − shift of as many codes as fill a vector, modulo the element's size.
template <class I, class Element>
SPNET_INLINE void make_units(typename I::Vector& units, const std::uint8_t* codes, int step, int shift) {
  using L = WeightLanes<I>;
  if constexpr (sizeof(Element) == 1) {
    typename L::Bytes v;
    AllLanes{}.load(v, codes);
    if (step == 2)
      v += v;
    else if (step != 1)
      v = v * static_cast<std::uint8_t>(step);
    v -= static_cast<std::uint8_t>(shift);
    units = reinterpret_cast<typename I::Vector>(v);
  } else {
    typename L::HalfBytes v;
    AllLanes{}.load(v, codes);
    const typename L::Words words = __builtin_convertvector(v, typename L::Words) * static_cast<std::uint16_t>(step) -
                                    static_cast<std::uint16_t>(shift);
    units = reinterpret_cast<typename I::Vector>(words);
  }
}

// The lanes of a and b in which bit kBit of the lane's number is not set; those of a to the right by as much.
template <int kBit, class V, int... kAt>
SPNET_INLINE void exchange(V& a, V& b, std::integer_sequence<int, kAt...>) {
  constexpr int kCount = sizeof...(kAt);
  const V first = __builtin_shufflevector(a, b, (kAt & kBit ? kCount + kAt - kBit : kAt)...);
  b = __builtin_shufflevector(a, b, (kAt & kBit ? kCount + kAt : kAt + kBit)...);
  a = first;
}
// Lane j of vector i becomes lane i of vector j.
template <int kBit, class V, int N>
SPNET_INLINE void transpose(V (&v)[N]) {
  SPNET_UNROLL for (int i = 0; i < N; ++i) if (!(i & kBit))
      exchange<kBit>(v[i], v[i + kBit], std::make_integer_sequence<int, N>{});
  if constexpr (2 * kBit < N) transpose<2 * kBit>(v);
}

template <class I, class Element>
SPNET_INLINE void pack_weights(const PackWeightsArgs& a) {
  constexpr int kUnit = 4 / sizeof(Element), kLanes = I::kLanes;
  constexpr std::int64_t kChannels = kUnit * kLanes;
  std::int64_t c = 0;
  std::byte* to = a.panel;
  for (; c + kChannels <= a.channels; c += kChannels, to += 4 * kLanes * a.width) {
    for (std::int64_t o = 0; o < a.width; o += kLanes) {
      typename I::Vector units[kLanes];
      SPNET_UNROLL for (int i = 0; i < kLanes; ++i) {
        units[i] = typename I::Vector{};
        if (o + i < a.outputs) make_units<I, Element>(units[i], a.codes + (o + i) * a.code_step + c, a.step, a.shift);
      }
      transpose<1>(units);
      SPNET_UNROLL for (int i = 0; i < kLanes; ++i) AllLanes{}.store(to + 4 * (i * a.width + o), units[i]);
    }
  }
  for (; c < a.padded; c += kUnit) {
    for (std::int64_t o = 0; o < a.width; ++o, to += 4) {
      Element unit[kUnit] = {};
      for (int i = 0; i < kUnit; ++i)
        if (o < a.outputs && c + i < a.channels)
          unit[i] = static_cast<Element>(a.step * a.codes[o * a.code_step + c + i] - a.shift);
      std::memcpy(to, unit, sizeof unit);
    }
  }
}

// Weights of output `o` from channel `c` on.
template <class I, bool kCodes, class Move>
SPNET_INLINE void load_weights(typename FloatLanes<I>::Float& v, const PackFloatsArgs& a, std::int64_t o,
                               std::int64_t c, const Move& move) {
  using L = FloatLanes<I>;
  if constexpr (kCodes) {
    typename L::Byte bytes;
    move.load(bytes, a.codes + o * a.row + c);
    typename L::Int codes;
    widen<L>(codes, bytes);
    v = __builtin_convertvector(codes * a.step - a.zero_point, typename L::Float) * a.scales[o * a.scale_step];
  } else {
    move.load(v, a.floats + o * a.row + c);
  }
  if (a.scaled) v = a.factor * v + 0.0f;
}

// Past the caches where that is asked for and can be.
template <class I>
SPNET_INLINE void store_weights(float* to, const typename FloatLanes<I>::Float& v, [[maybe_unused]] bool stream) {
  if constexpr (requires { I::stream(to, v); }) {
    if (stream) return I::stream(to, v);
  }
  AllLanes{}.store(to, v);
}

// The `channels` channels from `c` on of all outputs, to `to`.
template <class I, bool kCodes, class Move>
SPNET_INLINE void pack_channels(const PackFloatsArgs& a, std::int64_t c, std::int64_t channels, float* to,
                                const Move& move) {
  constexpr int kLanes = I::kLanes;
  using Float = typename FloatLanes<I>::Float;
  for (std::int64_t o = 0; o < a.width; o += kLanes) {
    Float rows[kLanes];
    SPNET_UNROLL for (int i = 0; i < kLanes; ++i) {
      rows[i] = Float{};
      if (o + i < a.outputs) load_weights<I, kCodes>(rows[i], a, o + i, c, move);
    }
    transpose<1>(rows);
    SPNET_UNROLL for (int i = 0; i < kLanes; ++i) {
      if (i < channels) store_weights<I>(to + i * a.width + o, rows[i], a.stream);
    }
  }
}
template <class I, bool kCodes>
SPNET_INLINE void pack_floats(const PackFloatsArgs& a) {
  std::int64_t c = 0;
  for (; c + I::kLanes <= a.channels; c += I::kLanes)
    pack_channels<I, kCodes>(a, c, I::kLanes, a.panel + c * a.width, AllLanes{});
  if (const std::int64_t rest = a.channels - c; rest > 0)
    pack_channels<I, kCodes>(a, c, rest, a.panel + c * a.width, FirstLanes{static_cast<std::size_t>(rest)});
}
template <class I>
SPNET_INLINE void pack_floats(const PackFloatsArgs& a) {
  if (a.floats) return pack_floats<I, false>(a);
  pack_floats<I, true>(a);
}

}  // namespace kernels::body
}  // namespace v0
}  // namespace spnet
