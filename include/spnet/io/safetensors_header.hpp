// The JSON header of a safetensors file, read with no trust in it: every count, offset and name is checked.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/core/shape.hpp"
#include "spnet/io/dtype.hpp"

namespace spnet {
inline namespace v0 {
namespace io {

namespace detail {

inline constexpr std::uint64_t kMaxHeaderBytes = std::uint64_t{16} << 20;
inline constexpr std::size_t kMaxTensors = 100'000;
inline constexpr std::size_t kMaxMetadata = 10'000;
inline constexpr std::size_t kMaxNameBytes = 512;
inline constexpr std::string_view kMetadataKey = "__metadata__";

struct HeaderEntry {
  std::string name;
  DType dtype = DType::kU8;
  Shape shape;
  std::uint64_t begin = 0;  // in the data section
  std::uint64_t end = 0;
};

struct Header {
  std::vector<HeaderEntry> entries;  // in the order of their data
  std::map<std::string, std::string> metadata;
};

inline bool is_valid_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name != kMetadataKey &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7F; });
}

// Accepts events of one grammar only, so that depth and types are bounded by construction:
// {"__metadata__": {string: string}, name: {"dtype": string, "shape": [unsigned], "data_offsets": [unsigned,
// unsigned]}}
class HeaderHandler {
 public:
  using json = nlohmann::json;

  HeaderHandler(const std::string& file, Header& out) : file_(file), out_(out) {}

  bool null() { return refuse("null"); }
  bool boolean(bool) { return refuse("a boolean"); }
  bool number_integer(json::number_integer_t) { return refuse("a negative number"); }
  bool number_float(json::number_float_t, const json::string_t&) { return refuse("a fraction or a number past 2^64"); }
  bool binary(json::binary_t&) { return refuse("binary data"); }

  bool number_unsigned(json::number_unsigned_t value) {
    if (state_ == State::kShape) {
      require(value <= std::numeric_limits<std::int64_t>::max(), "shape holds ", value);
      require(entry().shape.rank() < kMaxRank, "more than ", kMaxRank, " dimensions");
      entry().shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (state_ == State::kOffsets) {
      require(offsets_ < 2, "data_offsets holds more than two numbers");
      (offsets_++ == 0 ? entry().begin : entry().end) = value;
      return true;
    }
    return refuse("a number");
  }

  bool string(json::string_t& value) {
    if (state_ == State::kMetadataValue) {
      out_.metadata[metadata_key_] = value;
      state_ = State::kMetadata;
      return true;
    }
    if (state_ != State::kDType) return refuse("a string");
    const auto* info =
        std::find_if(kDTypes.begin(), kDTypes.end(), [&](const DTypeInfo& i) { return i.name == value; });
    require(info != kDTypes.end(), "dtype ", printable(value), " is not supported");
    entry().dtype = info->dtype;
    state_ = State::kTensor;
    return true;
  }

  bool start_object(std::size_t) {
    if (state_ == State::kBegin) return go(State::kRoot);
    if (state_ == State::kTensorValue) return go(State::kTensor);
    if (state_ == State::kMetadataObject) return go(State::kMetadata);
    return refuse("an object");
  }

  bool key(json::string_t& name) {
    if (state_ == State::kRoot) return root_key(name);
    if (state_ == State::kMetadata) {
      require(!out_.metadata.contains(name), "metadata key ", printable(name), " occurs twice");
      require(out_.metadata.size() < kMaxMetadata, "more than ", kMaxMetadata, " metadata entries");
      metadata_key_ = name;
      return go(State::kMetadataValue);
    }
    const int field = name == "dtype" ? 0 : name == "shape" ? 1 : name == "data_offsets" ? 2 : -1;
    require(field >= 0, "unknown field ", printable(name));
    require(!(fields_ >> field & 1u), "field ", name, " occurs twice");
    fields_ |= 1u << field;
    return go(field == 0 ? State::kDType : field == 1 ? State::kShapeArray : State::kOffsetsArray);
  }

  bool end_object() {
    if (state_ == State::kTensor) {
      require(fields_ == 7u, "needs dtype, shape and data_offsets");
      in_tensor_ = false;
    }
    return go(state_ == State::kRoot ? State::kEnd : State::kRoot);
  }

  bool start_array(std::size_t) {
    if (state_ == State::kShapeArray) return go(State::kShape);
    offsets_ = 0;
    if (state_ == State::kOffsetsArray) return go(State::kOffsets);
    return refuse("an array");
  }

  bool end_array() {
    require(state_ != State::kOffsets || offsets_ == 2, "data_offsets holds fewer than two numbers");
    return go(State::kTensor);
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) {
    throw FileError(message(file_, ": header is not valid JSON at byte ", position));
  }

 private:
  enum class State {
    kBegin,
    kRoot,
    kTensorValue,
    kTensor,
    kDType,
    kShapeArray,
    kShape,
    kOffsetsArray,
    kOffsets,
    kMetadataObject,
    kMetadata,
    kMetadataValue,
    kEnd
  };

  // Text from the file is cut and cleared of control characters before it reaches a terminal.
  static std::string printable(std::string_view text) {
    std::string out = "'";
    for (char c : text.substr(0, 64)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
    return out + (text.size() > 64 ? "...'" : "'");
  }
  bool root_key(const std::string& name) {
    if (name == kMetadataKey) {
      require(!seen_metadata_, "__metadata__ occurs twice");
      seen_metadata_ = true;
      return go(State::kMetadataObject);
    }
    require(is_valid_name(name), "tensor name ", printable(name), " is empty, longer than ", kMaxNameBytes,
            " bytes or holds control characters");
    require(out_.entries.size() < kMaxTensors, "more than ", kMaxTensors, " tensors");
    out_.entries.emplace_back().name = name;
    in_tensor_ = true;
    fields_ = 0;
    return go(State::kTensorValue);
  }
  HeaderEntry& entry() { return out_.entries.back(); }
  bool go(State state) {
    state_ = state;
    return true;
  }
  template <class... Args>
  void require(bool condition, const Args&... args) const {
    if (condition) [[likely]]
      return;
    throw FileError(in_tensor_ ? message(file_, ": tensor ", printable(out_.entries.back().name), ": ", args...)
                               : message(file_, ": header: ", args...));
  }
  bool refuse(const char* what) const {
    require(false, what, " where the format has none");
    return false;
  }

  const std::string& file_;
  Header& out_;
  State state_ = State::kBegin;
  std::string metadata_key_;
  unsigned fields_ = 0;
  int offsets_ = 0;
  bool in_tensor_ = false;
  bool seen_metadata_ = false;
};

// Lengths agree with shapes, the data section is covered once and without holes, names are unique.
inline void check_layout(const std::string& file, std::vector<HeaderEntry>& entries, std::uint64_t data_bytes) {
  for (const HeaderEntry& e : entries) {
    check<FileError>(e.begin <= e.end && e.end <= data_bytes, file, ": tensor '", e.name, "': data_offsets [", e.begin,
                     ", ", e.end, "] outside the ", data_bytes, " bytes of data");
    // The product with sizes of 0 taken as 1 bounds the strides too.
    std::int64_t extent = dtype_bytes(e.dtype);
    bool empty = false;
    bool overflow = false;
    for (std::int64_t size : e.shape) {
      empty |= size == 0;
      overflow |= __builtin_mul_overflow(extent, std::max<std::int64_t>(size, 1), &extent);
    }
    check<FileError>(!overflow, file, ": tensor '", e.name, "': shape ", e.shape, " has too many elements");
    const std::uint64_t expected = empty ? 0 : static_cast<std::uint64_t>(extent);
    check<FileError>(e.end - e.begin == expected, file, ": tensor '", e.name, "': ", dtype_name(e.dtype), " ", e.shape,
                     " takes ", expected, " bytes, data_offsets give ", e.end - e.begin);
  }
  std::sort(entries.begin(), entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) { return a.name < b.name; });
  const auto twin = std::adjacent_find(entries.begin(), entries.end(),
                                       [](const HeaderEntry& a, const HeaderEntry& b) { return a.name == b.name; });
  check<FileError>(twin == entries.end(), file, ": tensor '", twin == entries.end() ? "" : twin->name,
                   "' occurs twice");
  std::stable_sort(entries.begin(), entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::uint64_t covered = 0;
  for (const HeaderEntry& e : entries) {
    check<FileError>(e.begin == covered, file, ": tensor '", e.name, "' begins at ", e.begin,
                     ", the data before it end at ", covered);
    covered = e.end;
  }
  check<FileError>(covered == data_bytes, file, ": ", data_bytes - covered, " bytes of data belong to no tensor");
}

// Parses and checks the header `text` of a file with `data_bytes` bytes of data. `file` is for error texts.
inline Header parse_header(const std::string& file, std::string_view text, std::uint64_t data_bytes) {
  check<FileError>(text.starts_with('{'), file, ": not a safetensors file (the header does not begin with '{')");
  // The parser takes a NUL for the end of its input.
  const std::size_t nul = text.find('\0');
  check<FileError>(nul == text.npos, file, ": header is not valid JSON at byte ", nul + 1);
  Header header;
  HeaderHandler handler(file, header);
  try {
    nlohmann::json::sax_parse(text.begin(), text.end(), &handler);
  } catch (const nlohmann::json::exception&) {
    throw FileError(message(file, ": header is not valid JSON"));
  }
  check_layout(file, header.entries, data_bytes);
  return header;
}

inline std::string quoted(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw ValueError("safetensors: a name or a metadata text is not valid UTF-8");
  }
}

// The header's JSON, without padding.
inline std::string header_text(const Header& header) {
  std::string out = "{";
  if (!header.metadata.empty()) {
    out += quoted(std::string(kMetadataKey)) + ":{";
    for (const auto& [key, value] : header.metadata) out += quoted(key) + ":" + quoted(value) + ",";
    out.back() = '}';
    out += ',';
  }
  for (const HeaderEntry& e : header.entries)
    out += message(quoted(e.name), ":{\"dtype\":\"", dtype_name(e.dtype), "\",\"shape\":", e.shape,
                   ",\"data_offsets\":[", e.begin, ",", e.end, "]},");
  if (out.size() > 1) out.pop_back();
  return out + "}";
}

}  // namespace detail
}  // namespace io
}  // namespace v0
}  // namespace spnet
