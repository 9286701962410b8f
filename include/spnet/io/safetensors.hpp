// Named tensors in one file, in the safetensors format (https://huggingface.co/docs/safetensors), with a checksum of
// the whole file among its metadata.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/files/atomic_file.hpp"
#include "spnet/files/checksum.hpp"
#include "spnet/io/safetensors_header.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {
namespace io {

/// What `TensorFile::load` accepts.
struct TensorFileOptions {
  std::uint64_t max_bytes = std::uint64_t{4} << 30;
  bool require_checksum = false;  ///< refuse files that spnet did not write
};

/// A set of named tensors and texts, read from or written to a safetensors file. The file is
/// u64 n, n bytes of JSON padded with spaces to 64 bytes, data: little-endian, row-major, by falling element size and
/// then by name. The same content always makes the same bytes. Metadata "spnet.checksum" is XXH64, in hexadecimal, of
/// the whole file with the checksum's own digits as '0'; where it is present, it is verified.
class TensorFile {
 public:
  /// Reads and checks `path`; throws FileError naming the file and what is wrong with it.
  static TensorFile load(const std::filesystem::path& path, const TensorFileOptions& options = {},
                         const files::SystemCalls& calls = files::real_system_calls()) {
    auto bytes = std::make_shared<const files::FileBytes>(files::read_file(path, options.max_bytes, calls));
    return parse(path.string(), bytes->span(), options, bytes);
  }

  /// As `load`, from bytes in memory, which are copied; `name` stands for the file in error texts.
  static TensorFile parse(const std::string& name, std::span<const std::byte> bytes,
                          const TensorFileOptions& options = {}) {
    auto copy = std::make_shared<files::FileBytes>();
    copy->data = std::make_unique<std::byte[]>(bytes.size());
    copy->size = bytes.size();
    std::copy(bytes.begin(), bytes.end(), copy->data.get());
    return parse(name, copy->span(), options, copy);
  }

  /// Replaces `path` atomically; an earlier file stays whole where that fails. Throws FileError, and ValueError where a
  /// text is not UTF-8 or the header would pass what `load` accepts.
  void save(const std::filesystem::path& path, const files::SystemCalls& calls = files::real_system_calls()) const {
    const std::string head = header_bytes();
    std::vector<std::span<const std::byte>> pieces{std::as_bytes(std::span(head))};
    for (const auto* entry : in_data_order()) pieces.push_back(entry->second.bytes);
    files::write_file_atomically(path, pieces, calls);
  }

  /// The bytes that `save` writes.
  std::vector<std::byte> to_bytes() const {
    const std::string head = header_bytes();
    const auto first = std::as_bytes(std::span(head));
    std::vector<std::byte> out(first.begin(), first.end());
    for (const auto* entry : in_data_order())
      out.insert(out.end(), entry->second.bytes.begin(), entry->second.bytes.end());
    return out;
  }

  bool contains(const std::string& name) const { return entries_.contains(name); }
  std::size_t size() const { return entries_.size(); }
  /// The names of all tensors, sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& [name, entry] : entries_) out.push_back(name);
    return out;
  }
  DType dtype(const std::string& name) const { return find(name).dtype; }
  const Shape& shape(const std::string& name) const { return find(name).shape; }
  /// The elements of tensor `name`, row-major, little-endian, perhaps unaligned; valid as long as this object.
  std::span<const std::byte> bytes(const std::string& name) const { return find(name).bytes; }

  /// A copy of tensor `name`; throws FileError where it is missing or its elements are not of type `T`.
  template <Element T>
  Tensor<T> get(const std::string& name) const {
    const Entry& entry = find(name);
    check<FileError>(entry.dtype == dtype_of<T>(), file_, ": tensor '", name, "' holds ", dtype_name(entry.dtype), ", ",
                     dtype_name(dtype_of<T>()), " expected");
    if constexpr (std::is_same_v<T, bool>)
      for (std::byte b : entry.bytes)
        check<FileError>(b <= std::byte{1}, file_, ": tensor '", name, "' holds a BOOL of value ",
                         std::to_integer<int>(b));
    Tensor<T> out(entry.shape);
    if (!entry.bytes.empty()) std::memcpy(out.data(), entry.bytes.data(), entry.bytes.size());
    return out;
  }

  /// As `get<T>(name)`; throws FileError too where the shape is not `shape`.
  template <Element T>
  Tensor<T> get(const std::string& name, const Shape& shape) const {
    check<FileError>(find(name).shape == shape, file_, ": tensor '", name, "' has shape ", find(name).shape, ", ",
                     shape, " expected");
    return get<T>(name);
  }

  /// Tensor `name`, of F64, F32, F16 or BF16, as float; F64 is rounded. For weights of other programs.
  Tensor<float> get_float(const std::string& name) const {
    const Entry& entry = find(name);
    switch (entry.dtype) {
      case DType::kF64:
        return get<double>(name).to<float>();
      case DType::kBF16:
        return get<bf16>(name).to<float>();
      case DType::kF16: {
        Tensor<float> out(entry.shape);
        for (std::int64_t i = 0; i < out.size(); ++i) {
          std::uint16_t half;
          std::memcpy(&half, entry.bytes.data() + 2 * i, sizeof half);
          out.data()[i] = float_of_half(half);
        }
        return out;
      }
      default:
        return get<float>(name);
    }
  }

  /// Adds a tensor. Memory is shared, not copied, where it is contiguous: later writes to `tensor` reach the file.
  /// Throws ValueError where the name is taken, empty, "__metadata__", too long or has control characters, or the
  /// tensor is undefined.
  template <Element T>
  void put(const std::string& name, const Tensor<T>& tensor) {
    check<ValueError>(tensor.defined(), "TensorFile::put: tensor '", name, "' is undefined");
    check<ValueError>(detail::is_valid_name(name), "TensorFile::put: '", name, "' is no tensor name");
    check<ValueError>(entries_.size() < detail::kMaxTensors, "TensorFile::put: more than ", detail::kMaxTensors,
                      " tensors");
    auto owner = std::make_shared<const Tensor<T>>(tensor.contiguous());
    const auto bytes = std::as_bytes(owner->span());
    const bool added = entries_.emplace(name, Entry{dtype_of<T>(), tensor.shape(), bytes, owner}).second;
    check<ValueError>(added, "TensorFile::put: tensor '", name, "' is there already");
  }

  /// Free texts that go with the tensors, without those that begin with "spnet." and belong to the format.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// Sets a text; throws ValueError where `key` begins with "spnet.".
  void set_metadata(const std::string& key, std::string text) {
    check<ValueError>(!key.starts_with(kReserved), "TensorFile: metadata key '", key, "' is reserved");
    metadata_[key] = std::move(text);
  }
  /// The text of `key`; throws FileError where it is missing.
  const std::string& metadata(const std::string& key) const {
    const auto at = metadata_.find(key);
    check<FileError>(at != metadata_.end(), file_, ": no metadata '", key, "'");
    return at->second;
  }
  /// True where the file carried a checksum (which was right).
  bool was_verified() const { return verified_; }

 private:
  struct Entry {
    DType dtype;
    Shape shape;
    std::span<const std::byte> bytes;
    std::shared_ptr<const void> owner;
  };
  using Entries = std::map<std::string, Entry>;

  static constexpr std::string_view kReserved = "spnet.";
  static constexpr std::string_view kChecksumKey = "spnet.checksum";
  // Tells a file whose checksum key was damaged from one that never had a checksum.
  static constexpr std::string_view kVersionKey = "spnet.format";
  static constexpr std::string_view kVersion = "1";
  static constexpr std::string_view kChecksumField = "\"spnet.checksum\":\"";
  static constexpr std::string_view kNoChecksum = "0000000000000000";
  static constexpr std::size_t kPrefix = sizeof(std::uint64_t);

  static TensorFile parse(const std::string& file, std::span<const std::byte> bytes, const TensorFileOptions& options,
                          std::shared_ptr<const void> owner) {
    check<FileError>(bytes.size() >= kPrefix, file, ": ", bytes.size(), " bytes are too few for a safetensors file");
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    check<FileError>(length <= bytes.size() - kPrefix, file, ": header of ", length, " bytes, ", bytes.size() - kPrefix,
                     " are there");
    check<FileError>(length <= detail::kMaxHeaderBytes, file, ": header of ", length, " bytes, at most ",
                     detail::kMaxHeaderBytes, " are read");
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kPrefix,
                                static_cast<std::size_t>(length));
    const auto data = bytes.subspan(kPrefix + text.size());
    detail::Header header = detail::parse_header(file, text, data.size());

    TensorFile out;
    out.file_ = file;
    out.verified_ = verify(file, header.metadata, text, bytes);
    check<FileError>(out.verified_ || !options.require_checksum, file, ": no checksum; not written by spnet");
    for (const detail::HeaderEntry& e : header.entries)
      out.entries_.emplace(e.name, Entry{e.dtype, e.shape, data.subspan(e.begin, e.end - e.begin), owner});
    std::erase_if(header.metadata, [](const auto& item) { return item.first.starts_with(kReserved); });
    out.metadata_ = std::move(header.metadata);
    return out;
  }

  // False where the file carries no checksum and was never meant to.
  static bool verify(const std::string& file, const std::map<std::string, std::string>& metadata,
                     std::string_view header, std::span<const std::byte> bytes) {
    const auto version = metadata.find(std::string(kVersionKey));
    const auto checksum = metadata.find(std::string(kChecksumKey));
    if (version == metadata.end() && checksum == metadata.end()) return false;
    check<FileError>(version != metadata.end() && version->second == kVersion, file, ": ", kVersionKey, " is ",
                     version == metadata.end() ? "missing" : "not 1", "; damaged, or from a newer spnet");
    const std::size_t at = header.find(kChecksumField);
    check<FileError>(checksum != metadata.end() && at != header.npos && checksum->second.size() == kNoChecksum.size() &&
                         header.substr(at + kChecksumField.size()).starts_with(checksum->second),
                     file, ": ", kChecksumKey, " is missing or malformed; the file is damaged");
    const std::size_t digits = kPrefix + at + kChecksumField.size();
    files::Xxh64 hash;
    hash.update(bytes.first(digits));
    hash.update(std::as_bytes(std::span(kNoChecksum)));
    hash.update(bytes.subspan(digits + kNoChecksum.size()));
    check<FileError>(hexadecimal(hash.digest()) == checksum->second, file,
                     ": checksum does not match; the file is damaged, or another program changed it");
    return true;
  }

  std::vector<const Entries::value_type*> in_data_order() const {
    std::vector<const Entries::value_type*> order;
    for (const auto& item : entries_) order.push_back(&item);
    std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
      return dtype_bytes(a->second.dtype) > dtype_bytes(b->second.dtype);
    });
    return order;
  }

  // Length and padded JSON, with the checksum of what they and the tensors now hold.
  std::string header_bytes() const {
    detail::Header header;
    header.metadata = metadata_;
    header.metadata[std::string(kVersionKey)] = kVersion;
    header.metadata[std::string(kChecksumKey)] = kNoChecksum;
    std::uint64_t offset = 0;
    const auto order = in_data_order();
    for (const auto* item : order) {
      const Entry& e = item->second;
      header.entries.push_back({item->first, e.dtype, e.shape, offset, offset + e.bytes.size()});
      offset += e.bytes.size();
    }
    std::string text = detail::header_text(header);
    text.append((kAlignment - (kPrefix + text.size()) % kAlignment) % kAlignment, ' ');
    check<ValueError>(text.size() <= detail::kMaxHeaderBytes && metadata_.size() + 2 <= detail::kMaxMetadata,
                      "TensorFile::save: the names and texts are too long, or too many, for one header");
    const std::size_t digits = kPrefix + text.find(kChecksumField) + kChecksumField.size();
    const std::uint64_t length = text.size();
    std::string out(reinterpret_cast<const char*>(&length), kPrefix);
    out += text;
    files::Xxh64 hash;
    hash.update(std::as_bytes(std::span(out)));
    for (const auto* item : order) hash.update(item->second.bytes);
    return out.replace(digits, kNoChecksum.size(), hexadecimal(hash.digest()));
  }

  static std::string hexadecimal(std::uint64_t value) {
    std::string out(kNoChecksum);
    for (std::size_t i = out.size(); i-- > 0; value >>= 4) out[i] = "0123456789abcdef"[value & 15];
    return out;
  }

  static float float_of_half(std::uint16_t half) {
    const int exponent = half >> 10 & 31;
    const int fraction = half & 1023;
    const auto sign = static_cast<std::uint32_t>(half >> 15) << 31;
    if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | static_cast<std::uint32_t>(fraction) << 13);
    const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                          : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }

  const Entry& find(const std::string& name) const {
    const auto at = entries_.find(name);
    check<FileError>(at != entries_.end(), file_, ": no tensor '", name, "'");
    return at->second;
  }

  std::string file_ = "TensorFile";
  Entries entries_;
  std::map<std::string, std::string> metadata_;
  bool verified_ = false;
};

}  // namespace io
}  // namespace v0
}  // namespace spnet
