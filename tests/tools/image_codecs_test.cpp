#include "image_codecs.hpp"

#include <doctest/doctest.h>

// jpeglib.h needs stdio.h to come first.
#include <cstdio>

#include <jpeglib.h>
#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/core/random.hpp"

using namespace spnet;
using Bytes = std::vector<std::uint8_t>;

namespace {
const data::Codecs kCodecs = program::image_codecs();

data::Image smooth(std::int64_t height, std::int64_t width) {
  data::Image image({height, width});
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x) {
      image.row(y)[3 * x] = static_cast<std::uint8_t>(40 + 5 * y);
      image.row(y)[3 * x + 1] = static_cast<std::uint8_t>(200 - 4 * x);
      image.row(y)[3 * x + 2] = static_cast<std::uint8_t>(90 + 2 * (x + y));
    }
  return image;
}

// `channels` 1: the green channel as grey; 3: colours; 4: CMYK, inverted as Adobe writes it, without black.
Bytes encode_jpeg(const data::Image& image, int channels = 3, bool progressive = false) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* out = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &out, &size);
  info.image_height = static_cast<JDIMENSION>(image.height());
  info.image_width = static_cast<JDIMENSION>(image.width());
  info.input_components = channels;
  info.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 95, TRUE);
  if (channels == 4) info.write_Adobe_marker = TRUE;
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  Bytes row;
  for (std::int64_t y = 0; y < image.height(); ++y) {
    row.clear();
    for (std::int64_t x = 0; x < image.width(); ++x) {
      const std::uint8_t* pixel = image.row(y) + 3 * x;
      if (channels == 1)
        row.push_back(pixel[1]);
      else
        row.insert(row.end(), pixel, pixel + 3);
      if (channels == 4) row.push_back(255);
    }
    JSAMPROW rows[] = {row.data()};
    jpeg_write_scanlines(&info, rows, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  Bytes bytes(out, out + size);
  std::free(out);
  return bytes;
}

Bytes encode_png(const Bytes& pixels, std::uint32_t height, std::uint32_t width, std::uint32_t format) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.height = height;
  image.width = width;
  image.format = format;
  png_alloc_size_t size = 0;
  REQUIRE(png_image_write_to_memory(&image, nullptr, &size, 0, pixels.data(), 0, nullptr));
  Bytes out(size);
  REQUIRE(png_image_write_to_memory(&image, out.data(), &size, 0, pixels.data(), 0, nullptr));
  out.resize(size);
  return out;
}
Bytes encode_png(const data::Image& image) {
  return encode_png(Bytes(image.data(), image.data() + image.bytes()), static_cast<std::uint32_t>(image.height()),
                    static_cast<std::uint32_t>(image.width()), PNG_FORMAT_RGB);
}

Bytes gzip(const Bytes& bytes) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  Bytes out(bytes.size() + 1000);
  stream.next_in = const_cast<Bytef*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

data::Image decode(std::span<const std::uint8_t> bytes, std::int64_t max_pixels = 1 << 20) {
  data::Image out;
  kCodecs.decode_image(bytes, max_pixels, out);
  return out;
}
// False where the bytes are refused.
bool decodes(std::span<const std::uint8_t> bytes) {
  try {
    decode(bytes);
    return true;
  } catch (const FileError&) {
    return false;
  }
}
int largest_difference(const data::Image& a, const data::Image& b) {
  REQUIRE(a.size() == b.size());
  int out = 0;
  for (std::int64_t i = 0; i < a.bytes(); ++i) out = std::max(out, std::abs(a.data()[i] - b.data()[i]));
  return out;
}
}  // namespace

TEST_CASE("tools: JPEG images decode, baseline and progressive, colour, grey and CMYK") {
  const data::Image image = smooth(19, 23);
  for (bool progressive : {false, true}) {
    CHECK(largest_difference(decode(encode_jpeg(image, 3, progressive)), image) <= 8);
    const data::Image grey = decode(encode_jpeg(image, 1, progressive));
    for (std::int64_t i = 0; i < grey.bytes(); ++i) CHECK(std::abs(grey.data()[i] - image.data()[i / 3 * 3 + 1]) <= 6);
    CHECK(largest_difference(decode(encode_jpeg(image, 4, progressive)), image) <= 8);
  }
}

TEST_CASE("tools: PNG images decode exactly; grey becomes three channels, what is transparent black") {
  const data::Image image = smooth(7, 9);
  CHECK(decode(encode_png(image)) == image);
  const data::Image grey = decode(encode_png({10, 20, 30, 40, 50, 60}, 2, 3, PNG_FORMAT_GRAY));
  CHECK(grey.size() == data::ImageSize{2, 3});
  for (int i = 0; i < 18; ++i) CHECK(grey.data()[i] == 10 * (i / 3 + 1));
  const data::Image clear = decode(encode_png({200, 100, 50, 255, 200, 100, 50, 0}, 1, 2, PNG_FORMAT_RGBA));
  CHECK(Bytes(clear.data(), clear.data() + 6) == Bytes{200, 100, 50, 0, 0, 0});
}

TEST_CASE("tools: images that are cut off at any byte are refused") {
  for (const Bytes& whole : {encode_jpeg(smooth(16, 16)), encode_jpeg(smooth(16, 16), 3, true),
                             encode_png(smooth(6, 5)), encode_jpeg(smooth(8, 8), 4)})
    for (std::size_t length = 0; length < whole.size(); ++length)
      REQUIRE_THROWS_AS(decode(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length))), FileError);
}

TEST_CASE("tools: damaged images decode or are refused, and never crash") {
  for (const Bytes& whole : {encode_jpeg(smooth(16, 16)), encode_jpeg(smooth(16, 16), 3, true),
                             encode_png(smooth(6, 5)), encode_jpeg(smooth(8, 8), 4)}) {
    int refused = 0;
    for (std::size_t at = 0; at < whole.size(); ++at)
      for (int bit = 0; bit < 8; ++bit) {
        Bytes bytes = whole;
        bytes[at] ^= static_cast<std::uint8_t>(1 << bit);
        refused += decodes(bytes) ? 0 : 1;
      }
    CHECK(refused > 0);
  }
  const Random random(3);
  for (const Bytes& start : {Bytes{0xFF, 0xD8, 0xFF}, Bytes{0x89, 'P', 'N', 'G', 0x0D, 0x0A, 0x1A, 0x0A}})
    for (std::uint64_t trial = 0; trial < 200; ++trial) {
      Bytes bytes = start;
      for (std::uint64_t i = 0; i < 100; ++i)
        bytes.push_back(static_cast<std::uint8_t>(random.bits_at(100 * trial + i)));
      REQUIRE_THROWS_AS(decode(bytes), FileError);
    }
}

TEST_CASE("tools: every changed byte of a PNG image's critical chunks is noticed") {
  const Bytes whole = encode_png(smooth(6, 5));
  for (std::size_t at = 0; at < whole.size(); ++at) {
    Bytes bytes = whole;
    bytes[at] ^= 0x10;
    // Length, type and checksum of ancillary chunks may change without a word; the pixels may not.
    CHECK((!decodes(bytes) || decode(bytes) == smooth(6, 5)));
  }
}

TEST_CASE("tools: oversized images are refused before their pixels are allocated") {
  CHECK_THROWS_WITH_AS(decode(encode_jpeg(smooth(10, 11)), 109),
                       "JPEG: the image is 10x11, at most 109 pixels are read", FileError);
  CHECK(decode(encode_jpeg(smooth(10, 11)), 110).height() == 10);
  CHECK_THROWS_WITH_AS(decode(encode_png(smooth(10, 11)), 109), "PNG: the image is 10x11, at most 109 pixels are read",
                       FileError);
  // The header of a JPEG image says 65535x65535, which would be 12 GB.
  Bytes bytes = encode_jpeg(smooth(8, 8));
  for (std::size_t at = 0; at + 9 < bytes.size(); ++at)
    if (bytes[at] == 0xFF && bytes[at + 1] == 0xC0) std::fill_n(&bytes[at + 5], 4, std::uint8_t{0xFF});
  CHECK_THROWS_AS(decode(bytes), FileError);
}

TEST_CASE("tools: other files are refused") {
  CHECK_THROWS_WITH_AS(decode(Bytes{}), "the file is empty", FileError);
  CHECK_THROWS_WITH_AS(decode(Bytes{'G', 'I', 'F', '8'}), "neither a JPEG nor a PNG image", FileError);
}

TEST_CASE("tools: gzip files unpack whole or are refused") {
  Bytes bytes(100000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * i >> 7);
  const Bytes packed = gzip(bytes);
  CHECK(kCodecs.inflate(packed, bytes.size()) == bytes);
  CHECK_THROWS_WITH_AS(kCodecs.inflate(packed, bytes.size() - 1), "gzip: unpacks to more than 99999 bytes", FileError);
  CHECK(kCodecs.inflate(gzip({}), 0).empty());
  Bytes twice = gzip({1, 2, 3});
  const Bytes more = gzip({4, 5});
  twice.insert(twice.end(), more.begin(), more.end());
  CHECK(kCodecs.inflate(twice, 10) == Bytes{1, 2, 3, 4, 5});

  const Bytes small = gzip({1, 2, 3, 4, 5, 6, 7});
  for (std::size_t length = 0; length < small.size(); ++length)
    REQUIRE_THROWS_AS(kCodecs.inflate(std::span(small).first(length), 100), FileError);
  for (std::size_t at = 0; at < small.size(); ++at) {
    Bytes changed = small;
    changed[at] ^= 0x41;
    Bytes unpacked{1, 2, 3, 4, 5, 6, 7};
    try {
      unpacked = kCodecs.inflate(changed, 100);  // the time of day in the header may change
    } catch (const FileError&) {
    }
    CHECK(unpacked == Bytes{1, 2, 3, 4, 5, 6, 7});
  }
}
