#include "image_codecs.hpp"

// jpeglib.h needs stdio.h to come first.
#include <cstdio>

#include <jpeglib.h>
#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "spnet/core/error.hpp"

namespace spnet::program {
namespace {

using data::Image;
using Bytes = std::span<const std::uint8_t>;

void require_size(const char* format, std::uint64_t height, std::uint64_t width, std::int64_t max_pixels) {
  check<FileError>(height >= 1 && width >= 1 && height <= data::kMaxImageSide && width <= data::kMaxImageSide &&
                       height * width <= static_cast<std::uint64_t>(std::max<std::int64_t>(max_pixels, 0)),
                   format, ": the image is ", height, "x", width, ", at most ", max_pixels, " pixels are read");
}

struct JpegErrors {
  jpeg_error_mgr manager;
  std::jmp_buf on_error;
  char text[JMSG_LENGTH_MAX];
};

[[noreturn]] void jpeg_fail(j_common_ptr info) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  errors->manager.format_message(info, errors->text);
  std::longjmp(errors->on_error, 1);
}
void jpeg_emit(j_common_ptr info, int level) {
  if (level < 0) jpeg_fail(info);  // a warning: the data are corrupt or end early
}
// A progressive file may repeat its scans for hours.
void jpeg_progress(j_common_ptr info) {
  constexpr int kMostScans = 200;
  if (!info->is_decompressor || reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMostScans) return;
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  std::snprintf(errors->text, sizeof errors->text, "more than %d scans", kMostScans);
  std::longjmp(errors->on_error, 1);
}

// Two steps with the size's check between them. Errors jump back into the step they happen in, which holds no object
// with a destructor.
class JpegDecoder {
 public:
  explicit JpegDecoder(Bytes bytes) : bytes_(bytes) {
    info_.err = jpeg_std_error(&errors_.manager);
    errors_.manager.error_exit = jpeg_fail;
    errors_.manager.emit_message = jpeg_emit;
    errors_.text[0] = 0;
    progress_.progress_monitor = jpeg_progress;
  }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;
  ~JpegDecoder() { jpeg_destroy_decompress(&info_); }

  bool read_header() {
    if (setjmp(errors_.on_error)) return false;
    jpeg_create_decompress(&info_);
    info_.progress = &progress_;
    jpeg_mem_src(&info_, bytes_.data(), static_cast<unsigned long>(bytes_.size()));
    jpeg_read_header(&info_, TRUE);
    four_channels_ = info_.jpeg_color_space == JCS_CMYK || info_.jpeg_color_space == JCS_YCCK;
    info_.out_color_space = four_channels_ ? JCS_CMYK : JCS_RGB;
    return true;
  }
  // `row` holds one row of four channels.
  bool read_pixels(Image& out, std::uint8_t* row) {
    if (setjmp(errors_.on_error)) return false;
    jpeg_start_decompress(&info_);
    while (info_.output_scanline < info_.output_height) {
      JSAMPROW target = four_channels_ ? row : out.row(info_.output_scanline);
      std::uint8_t* pixels = out.row(info_.output_scanline);
      jpeg_read_scanlines(&info_, &target, 1);
      if (four_channels_) to_rgb(row, pixels);
    }
    jpeg_finish_decompress(&info_);
    return true;
  }
  std::uint32_t height() const { return info_.image_height; }
  std::uint32_t width() const { return info_.image_width; }
  const char* error() const { return errors_.text; }

 private:
  // Adobe writes inverted CMYK.
  void to_rgb(const std::uint8_t* row, std::uint8_t* out) const {
    const bool inverted = info_.saw_Adobe_marker;
    for (std::uint32_t x = 0; x < info_.image_width; ++x, row += 4)
      for (int c = 0; c < 3; ++c) {
        const int ink = inverted ? row[c] : 255 - row[c], black = inverted ? row[3] : 255 - row[3];
        *out++ = static_cast<std::uint8_t>((ink * black + 127) / 255);
      }
  }

  Bytes bytes_;
  jpeg_decompress_struct info_{};
  JpegErrors errors_{};
  jpeg_progress_mgr progress_{};
  bool four_channels_ = false;
};

void decode_jpeg(Bytes bytes, std::int64_t max_pixels, Image& out) {
  JpegDecoder decoder(bytes);
  check<FileError>(decoder.read_header(), "JPEG: ", decoder.error());
  require_size("JPEG", decoder.height(), decoder.width(), max_pixels);
  out.resize({decoder.height(), decoder.width()});
  std::vector<std::uint8_t> row(std::size_t{4} * decoder.width());
  check<FileError>(decoder.read_pixels(out, row.data()), "JPEG: ", decoder.error());
}

// libpng is content when the pixels are there; a file without its end is cut off all the same.
bool png_is_whole(Bytes bytes) {
  std::size_t at = 8;
  while (bytes.size() - at >= 12) {
    const std::uint8_t* chunk = bytes.data() + at;
    const std::uint64_t length =
        std::uint64_t{chunk[0]} << 24 | std::uint64_t{chunk[1]} << 16 | std::uint64_t{chunk[2]} << 8 | chunk[3];
    if (length > bytes.size() - at - 12) return false;
    constexpr std::uint8_t kEnd[] = {0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xAE, 0x42, 0x60, 0x82};
    if (std::memcmp(chunk, kEnd, sizeof kEnd) == 0) return true;
    at += 12 + static_cast<std::size_t>(length);
  }
  return false;
}

void decode_png(Bytes bytes, std::int64_t max_pixels, Image& out) {
  check<FileError>(png_is_whole(bytes), "PNG: the file is cut off");
  struct PngImage : png_image {
    PngImage() : png_image{} { version = PNG_IMAGE_VERSION; }
    ~PngImage() { png_image_free(this); }
  } image;
  check<FileError>(png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()), "PNG: ", image.message);
  require_size("PNG", image.height, image.width, max_pixels);
  out.resize({image.height, image.width});
  image.format = PNG_FORMAT_RGB;
  const png_color black{0, 0, 0};  // behind what is transparent
  check<FileError>(png_image_finish_read(&image, &black, out.data(), 0, nullptr), "PNG: ", image.message);
}

void decode_image(Bytes bytes, std::int64_t max_pixels, Image& out) {
  constexpr std::uint8_t kPng[] = {0x89, 'P', 'N', 'G', 0x0D, 0x0A, 0x1A, 0x0A};
  if (bytes.size() >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF)
    decode_jpeg(bytes, max_pixels, out);
  else if (bytes.size() >= sizeof kPng && std::memcmp(bytes.data(), kPng, sizeof kPng) == 0)
    decode_png(bytes, max_pixels, out);
  else
    throw FileError(bytes.empty() ? "the file is empty" : "neither a JPEG nor a PNG image");
}

std::vector<std::uint8_t> inflate_gzip(Bytes bytes, std::size_t max_bytes) {
  struct Stream : z_stream {
    Stream() : z_stream{} { check<Error>(inflateInit2(this, 15 + 16) == Z_OK, "gzip: zlib does not start"); }
    ~Stream() { inflateEnd(this); }
  } stream;
  check<FileError>(bytes.size() <= std::numeric_limits<uInt>::max(), "gzip: ", bytes.size(), " bytes are too many");
  stream.next_in = const_cast<Bytef*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  std::vector<std::uint8_t> out;
  std::array<std::uint8_t, 1 << 16> piece;
  for (;;) {
    stream.next_out = piece.data();
    stream.avail_out = piece.size();
    const int state = inflate(&stream, Z_NO_FLUSH);
    check<FileError>(state == Z_OK || state == Z_STREAM_END || state == Z_BUF_ERROR,
                     "gzip: ", stream.msg ? stream.msg : "damaged data");
    const std::size_t count = piece.size() - stream.avail_out;
    check<FileError>(count <= max_bytes - out.size(), "gzip: unpacks to more than ", max_bytes, " bytes");
    out.insert(out.end(), piece.data(), piece.data() + count);
    if (state == Z_STREAM_END && stream.avail_in == 0) return out;
    if (state == Z_STREAM_END) {
      // Files may be several streams, one after another.
      check<FileError>(inflateReset(&stream) == Z_OK, "gzip: damaged data");
      continue;
    }
    check<FileError>(count > 0 || stream.avail_in > 0, "gzip: the file is cut off");
    check<FileError>(state != Z_BUF_ERROR, "gzip: the file is cut off");
  }
}

}  // namespace

data::Codecs image_codecs() { return {decode_image, inflate_gzip}; }

}  // namespace spnet::program
