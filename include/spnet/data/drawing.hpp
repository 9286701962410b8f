// How the built-in data set draws: distance functions give the shapes, everything else is nuisance.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "spnet/core/error.hpp"
#include "spnet/core/random.hpp"
#include "spnet/data/image.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

/// What makes a drawn image hard. Lengths are shares of the image's side, colours and amplitudes are in 0..1.
struct Nuisance {
  float noise = 0;         ///< largest noise on every channel of every pixel
  float contrast = 0;      ///< least distance of the object's brightness from the background's
  float shading = 0;       ///< how far the brightness of domed and hollow discs falls or rises; the flat ones get noise
  float texture = 0;       ///< amplitude of the waves in the background
  float light = 0;         ///< amplitude of the light that falls across the image
  float clutter = 0;       ///< largest number of small shapes beside the object
  float occlusion = 0;     ///< probability of a bar across the object
  float turn = 0;          ///< largest rotation to either side, in turns
  float shift = 0;         ///< largest shift of the centre
  float least_radius = 0;  ///< range of the object's radius
  float most_radius = 0;

  /// From difficulty 0 (clean, large, upright) to 1 (faint, small, crowded); throws ValueError outside.
  static Nuisance at(float difficulty) {
    check<ValueError>(difficulty >= 0 && difficulty <= 1, "Nuisance: difficulty ", difficulty,
                      " given, expected 0 to 1");
    const auto between = [&](float easy, float hard) { return easy + (hard - easy) * difficulty; };
    return {.noise = between(0.02f, 0.30f),
            .contrast = between(0.50f, 0.15f),
            .shading = between(0.80f, 0.30f),
            .texture = between(0.02f, 0.25f),
            .light = between(0.02f, 0.30f),
            .clutter = between(0, 5),
            .occlusion = between(0, 0.6f),
            .turn = between(0.02f, 0.5f),
            .shift = between(0.04f, 0.16f),
            .least_radius = between(0.34f, 0.20f),
            .most_radius = between(0.42f, 0.38f)};
  }
};

namespace detail {

/// The ten kinds, in the order of their labels.
enum class Kind : std::uint8_t {
  kDisc,
  kSphere,
  kBowl,
  kRing,
  kCrescent,
  kSquare,
  kTriangle,
  kStar,
  kStripes,
  kChecks
};

struct Colour {
  float r = 0, g = 0, b = 0;
  float brightness() const { return 0.3f * r + 0.59f * g + 0.11f * b; }
};
inline Colour blend(const Colour& a, const Colour& b, float share) {
  return {a.r + (b.r - a.r) * share, a.g + (b.g - a.g) * share, a.b + (b.b - a.b) * share};
}
inline Colour any_colour(Random& random) {
  const float r = random.uniform(), g = random.uniform();
  return {r, g, random.uniform()};
}
// A random colour, moved towards black or white until its brightness is at least `contrast` away.
inline Colour colour_against(const Colour& ground, float contrast, Random& random) {
  const float level = ground.brightness();
  Colour colour = any_colour(random);
  const bool up = level < 0.5f;
  const Colour end = up ? Colour{1, 1, 1} : Colour{0, 0, 0};
  for (int step = 0; step < 6 && std::abs(colour.brightness() - level) < contrast; ++step)
    colour = blend(colour, end, 0.35f);
  return colour;
}

inline float triangle_outline(float x, float y) {
  return std::max(y - 0.6f, 0.8660254f * std::abs(x) - 0.5f * y - 0.6f);
}
// Signed distance, negative inside, to a shape of about radius 1 around the origin.
inline float outline(Kind kind, float x, float y) {
  const float distance = std::sqrt(x * x + y * y);
  switch (kind) {
    case Kind::kRing:
      return std::abs(distance - 0.72f) - 0.28f;
    case Kind::kCrescent:
      return std::max(distance - 1, 0.8f - std::sqrt((x - 0.5f) * (x - 0.5f) + y * y));
    case Kind::kSquare:
      return std::max(std::abs(x), std::abs(y)) - 0.84f;
    case Kind::kTriangle:
      return triangle_outline(x, y) - 0.05f;
    case Kind::kStar:
      return std::min(triangle_outline(x, y), triangle_outline(x, -y));
    default:
      return distance - 1;
  }
}

// One shape with its place and paint.
struct Figure {
  Kind kind{};
  float x = 0, y = 0, radius = 1, cosine = 1, sine = 0;
  Colour colour, second;
  float shading = 0;  // brightness at the rim minus that at the centre, as a share
  float frequency = 0;
  float phase = 0;

  void turn(float turns) {
    cosine = std::cos(2 * std::numbers::pi_v<float> * turns);
    sine = std::sin(2 * std::numbers::pi_v<float> * turns);
  }
  // Paints over `pixel`, at (px, py); `pixels_per_unit` softens the outline by one pixel.
  void paint(float px, float py, float pixels_per_unit, Colour& pixel) const {
    const float dx = (px - x) / radius, dy = (py - y) / radius;
    if (dx * dx + dy * dy > 2.6f) return;
    const float u = cosine * dx + sine * dy, v = cosine * dy - sine * dx;
    const float inside = 0.5f - outline(kind, u, v) * radius * pixels_per_unit;
    if (inside <= 0) return;
    Colour paint = colour;
    if (kind == Kind::kStripes || kind == Kind::kChecks) {
      float wave = std::sin(frequency * u + phase);
      if (kind == Kind::kChecks) wave *= std::sin(frequency * v + phase);
      paint = blend(colour, second, std::clamp(0.5f + 2.5f * wave, 0.0f, 1.0f));
    }
    const float shade = 1 + shading * (u * u + v * v - 0.5f);
    paint = {paint.r * shade, paint.g * shade, paint.b * shade};
    pixel = blend(pixel, paint, std::min(inside, 1.0f));
  }
};

// A plane wave a·sin(fx·x + fy·y + p), cheap along a row: the rotation by one pixel is applied again and again.
struct Wave {
  float fx = 0, fy = 0, phase = 0, amplitude = 0;
  static Wave any(Random& random, float least, float most, float amplitude) {
    const float angle = random.uniform(0, 2 * std::numbers::pi_v<float>), frequency = random.uniform(least, most);
    const float phase = random.uniform(0, 2 * std::numbers::pi_v<float>);
    return {frequency * std::cos(angle), frequency * std::sin(angle), phase, amplitude * random.uniform()};
  }
  struct Row {
    float sine, cosine, step_sine, step_cosine, amplitude;
    float next() {
      const float value = amplitude * sine;
      const float s = sine * step_cosine + cosine * step_sine;
      cosine = cosine * step_cosine - sine * step_sine;
      sine = s;
      return value;
    }
  };
  Row row(float y, float step) const {
    const float at = fx * step * 0.5f + fy * y + phase;
    return {std::sin(at), std::cos(at), std::sin(fx * step), std::cos(fx * step), amplitude};
  }
};

// Uniform noise in [-1, 1], a byte of randomness each.
class Noise {
 public:
  explicit Noise(Random& random) : key_{random.bits(), random.bits()} {}
  float next() {
    if (used_ == 16) {
      words_ = philox({count_++, 0, 0, 0}, key_);
      used_ = 0;
    }
    const std::uint32_t byte = words_[used_ >> 2] >> (8 * (used_ & 3)) & 255;
    ++used_;
    return static_cast<float>(byte) * (2.0f / 255) - 1;
  }

 private:
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 4> words_{};
  std::uint32_t count_ = 0;
  unsigned used_ = 16;
};

/// Draws an object of `kind` with all the nuisance into `image`, whose size decides the resolution.
inline void draw_picture(Kind kind, const Nuisance& nuisance, Random& random, Image& image) {
  constexpr int kMostClutter = 16;
  const Colour ground = any_colour(random), far_ground = blend(ground, any_colour(random), 0.35f);

  Figure object;
  object.kind = kind;
  object.radius = random.uniform(nuisance.least_radius, nuisance.most_radius);
  object.x = 0.5f + random.uniform(-nuisance.shift, nuisance.shift);
  object.y = 0.5f + random.uniform(-nuisance.shift, nuisance.shift);
  object.turn(random.uniform(-nuisance.turn, nuisance.turn));
  object.colour = colour_against(ground, nuisance.contrast, random);
  object.second = colour_against(object.colour, nuisance.contrast, random);
  object.frequency = random.uniform(5.5f, 8.0f);
  object.phase = random.uniform(0, 2 * std::numbers::pi_v<float>);
  const float shading = nuisance.shading * random.uniform(0.8f, 1.2f);
  object.shading = kind == Kind::kSphere ? -shading
                   : kind == Kind::kBowl ? shading
                                         : 0.25f * nuisance.shading * random.uniform(-1, 1);

  std::array<Figure, kMostClutter> clutter;
  const int pieces =
      static_cast<int>(random.uniform(0, 1) * std::min(nuisance.clutter + 1, static_cast<float>(kMostClutter)));
  for (int i = 0; i < std::min(pieces, kMostClutter); ++i) {
    Figure& piece = clutter[static_cast<std::size_t>(i)];
    piece.kind = static_cast<Kind>(random.below(8));
    piece.radius = random.uniform(0.05f, 0.11f);
    piece.x = random.uniform();
    piece.y = random.uniform();
    piece.turn(random.uniform());
    piece.colour = any_colour(random);
  }

  const bool barred = random.uniform() < nuisance.occlusion;
  const float bar_angle = random.uniform(0, 2 * std::numbers::pi_v<float>);
  const float bar_x = std::cos(bar_angle), bar_y = std::sin(bar_angle);
  const float bar_at = bar_x * object.x + bar_y * object.y + object.radius * random.uniform(-0.9f, 0.9f);
  const float bar_half = random.uniform(0.02f, 0.05f);
  const Colour bar = any_colour(random);

  const std::array waves{Wave::any(random, 8, 20, nuisance.texture), Wave::any(random, 20, 50, nuisance.texture)};
  const Wave light = Wave::any(random, 1, 3, nuisance.light);
  const float ramp_angle = random.uniform(0, 2 * std::numbers::pi_v<float>);
  const float ramp_x = std::cos(ramp_angle), ramp_y = std::sin(ramp_angle);
  Noise noise(random);

  const float side = static_cast<float>(std::min(image.height(), image.width())), step = 1 / side;
  for (std::int64_t row = 0; row < image.height(); ++row) {
    const float y = (static_cast<float>(row) + 0.5f) * step;
    std::array rows{waves[0].row(y, step), waves[1].row(y, step)};
    Wave::Row lights = light.row(y, step);
    std::uint8_t* out = image.row(row);
    for (std::int64_t column = 0; column < image.width(); ++column) {
      const float x = (static_cast<float>(column) + 0.5f) * step;
      const float share = std::clamp(0.5f + 0.7f * ((x - 0.5f) * ramp_x + (y - 0.5f) * ramp_y), 0.0f, 1.0f);
      Colour pixel = blend(ground, far_ground, share);
      const float wave = rows[0].next() + rows[1].next();
      pixel = {pixel.r + wave, pixel.g + wave, pixel.b + wave};
      for (int i = 0; i < pieces; ++i) clutter[static_cast<std::size_t>(i)].paint(x, y, side, pixel);
      object.paint(x, y, side, pixel);
      if (barred) {
        const float inside = 0.5f + (bar_half - std::abs(bar_x * x + bar_y * y - bar_at)) * side;
        if (inside > 0) pixel = blend(pixel, bar, std::min(inside, 1.0f));
      }
      const float lit = lights.next();
      for (float value : {pixel.r, pixel.g, pixel.b}) {
        const float level = 255 * (value + lit + nuisance.noise * noise.next());
        *out++ = static_cast<std::uint8_t>(std::clamp(level + 0.5f, 0.0f, 255.0f));
      }
    }
  }
}

}  // namespace detail

}  // namespace data
}  // namespace v0
}  // namespace spnet
