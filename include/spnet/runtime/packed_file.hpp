// The packed file (.spn): a graph with its weights, for every precision.
//
// All numbers are little-endian. Three parts follow each other:
//
//   at      bytes
//   0       8      89 53 50 4E 0D 0A 1A 0A ("SPN" between bytes that a transfer as text would change)
//   8       4      version, 3
//   12      4      01 02 03 04
//   16      8      size of the file
//   24      8      XXH64, seed 0, of the whole file but these 8 bytes
//   32      8      where the graph begins: 64
//   40      8      its size G
//   48      8      where the data begin: 64 + G, rounded up to a multiple of 64
//   56      8      their size
//   64      G      the graph: see graph_layout.hpp
//   then           the data: the floats and the bit planes of the weights, in their order, each from a multiple of 64
//                  bytes on (counted from the data's begin), zeros between
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/files/atomic_file.hpp"
#include "spnet/files/checksum.hpp"
#include "spnet/files/mapped_file.hpp"
#include "spnet/runtime/archive.hpp"
#include "spnet/runtime/graph.hpp"
#include "spnet/runtime/graph_check.hpp"
#include "spnet/runtime/graph_layout.hpp"

namespace spnet {
inline namespace v0 {

namespace runtime {

namespace detail {

inline constexpr std::array<unsigned char, 8> kMagic{0x89, 'S', 'P', 'N', '\r', '\n', 0x1A, '\n'};
inline constexpr std::uint32_t kVersion = 3, kByteOrder = 0x04030201;
inline constexpr std::uint64_t kSection = 64;
/// What the structures of a graph may take in memory beside the file's own bytes.
inline constexpr std::size_t kGraphBudget = std::size_t{48} << 20;
/// Graphs themselves are small: weights are data.
inline constexpr std::uint64_t kMaxGraphBytes = std::uint64_t{64} << 20;

struct PackedHeader {
  std::array<unsigned char, 8> magic = kMagic;
  std::uint32_t version = kVersion, byte_order = kByteOrder;
  std::uint64_t file_bytes = 0, checksum = 0, graph = kSection, graph_bytes = 0, data = 0, data_bytes = 0;
};
static_assert(sizeof(PackedHeader) == 64 && offsetof(PackedHeader, checksum) == 24);

constexpr std::uint64_t section_up(std::uint64_t at) { return (at + kSection - 1) / kSection * kSection; }

/// The writer of a graph, which lays out its data.
class GraphWriter : public Writer<GraphWriter> {
 public:
  void data(Bytes& bytes) {
    std::uint64_t begin = section_up(end_), size = bytes.span.size();
    (*this)(begin);
    (*this)(size);
    blocks_.push_back({begin, bytes.span});
    end_ = begin + size;
  }
  struct Block {
    std::uint64_t begin;
    std::span<const std::byte> bytes;
  };
  const std::vector<Block>& blocks() const { return blocks_; }
  std::uint64_t data_bytes() const { return end_; }

 private:
  std::vector<Block> blocks_;
  std::uint64_t end_ = 0;
};

/// The reader of a graph, whose data follow each other without holes.
class GraphReader : public Reader<GraphReader> {
 public:
  GraphReader(const std::string& source, std::span<const std::byte> graph, const Bytes& all)
      : Reader(source, graph, kGraphBudget), data_(all) {}
  void data(Bytes& bytes) {
    std::uint64_t begin = 0, size = 0;
    (*this)(begin);
    (*this)(size);
    const std::uint64_t all = data_.span.size();
    require(begin <= all && size <= all - begin && begin == section_up(end_), "data of ", size, " bytes from ", begin,
            " on, where ", section_up(end_), " of ", all, " is expected");
    for (std::uint64_t at = end_; at < begin; ++at)
      require(data_.span[at] == std::byte{0}, "the data have something between their parts");
    end_ = begin + size;
    bytes = {data_.owner, data_.span.subspan(begin, size)};
  }
  std::uint64_t data_bytes() const { return end_; }

 private:
  Bytes data_;
  std::uint64_t end_ = 0;
};

inline std::uint64_t packed_checksum(std::span<const std::byte> file) {
  files::Xxh64 hash;
  hash.update(file.first(offsetof(PackedHeader, checksum)));
  hash.update(file.subspan(offsetof(PackedHeader, graph)));
  return hash.digest();
}

inline void check_name(const std::string& source, const std::string& name) {
  bool plain = name.size() <= 512;
  for (const char c : name) plain = plain && static_cast<unsigned char>(c) >= 0x20 && c != 0x7F;
  check<FileError>(plain, source, ": a name is too long or holds control characters");
}

}  // namespace detail

/// The bytes of a packed file. Throws ValueError where the graph cannot run.
inline std::vector<std::byte> pack_bytes(const Graph& graph) {
  check_graph(graph);
  Graph copy = graph;
  detail::GraphWriter writer;
  writer(copy);
  const std::vector<std::byte> text = writer.take();
  detail::PackedHeader header;
  header.graph_bytes = text.size();
  header.data = detail::section_up(header.graph + header.graph_bytes);
  header.data_bytes = writer.data_bytes();
  header.file_bytes = header.data + header.data_bytes;
  std::vector<std::byte> out(header.file_bytes);
  std::memcpy(out.data(), &header, sizeof header);
  std::memcpy(out.data() + header.graph, text.data(), text.size());
  for (const auto& block : writer.blocks())
    if (!block.bytes.empty())
      std::memcpy(out.data() + header.data + block.begin, block.bytes.data(), block.bytes.size());
  header.checksum = detail::packed_checksum(out);
  std::memcpy(out.data(), &header, sizeof header);
  return out;
}

/// Writes a packed file: the earlier one stays whole where that fails. Throws FileError, and ValueError as pack_bytes.
inline void save_packed(const std::filesystem::path& path, const Graph& graph) {
  files::write_file_atomically(path, std::span<const std::byte>(pack_bytes(graph)));
}

struct LoadOptions {
  /// Leaves the weights in the file, which is mapped, instead of reading them into memory: for files that nobody else
  /// can write, and that are only ever replaced whole.
  bool mapped = false;
  bool verify_checksum = true;
  std::uint64_t max_bytes = std::uint64_t{8} << 30;
};

/// The graph in the bytes of a packed file, whose data stay where they are, and where asked for its shapes: see
/// check_graph. Throws FileError, naming `source`.
inline Graph parse_packed(const std::string& source, const Bytes& file, const LoadOptions& options = {},
                          std::vector<Shape>* shapes = nullptr) {
  using namespace detail;
  const auto require = [&](bool condition, const auto&... args) { check<FileError>(condition, source, ": ", args...); };
  PackedHeader header;
  require(file.span.size() >= sizeof header, "not a packed network: ", file.span.size(),
          " bytes are fewer than its header");
  std::memcpy(&header, file.span.data(), sizeof header);
  require(header.magic == kMagic, "not a packed network: it begins with other bytes");
  require(header.byte_order == kByteOrder, "written in another byte order, or damaged");
  require(header.version == kVersion, "version ", header.version, " of the format, this program reads ", kVersion);
  const std::uint64_t size = file.span.size();
  require(header.file_bytes == size, "cut short or lengthened: ", size, " bytes of ", header.file_bytes);
  require(header.graph == kSection && header.graph_bytes <= kMaxGraphBytes && header.graph_bytes <= size - kSection &&
              header.data == section_up(kSection + header.graph_bytes) && header.data <= size &&
              header.data_bytes == size - header.data,
          "its parts do not fit together: a graph of ", header.graph_bytes, " bytes from ", header.graph,
          " on, expected ", kSection, ", and ", header.data_bytes, " bytes of data from ", header.data, " on, in ",
          size, " bytes");
  if (options.verify_checksum) {
    const std::uint64_t found = packed_checksum(file.span);
    require(found == header.checksum, "damaged: its bytes have the checksum ", found, ", it says ", header.checksum);
  }
  // A copy, which nobody changes while it is checked.
  const auto graph_bytes = file.span.subspan(kSection, header.graph_bytes);
  const std::vector<std::byte> text(graph_bytes.begin(), graph_bytes.end());
  GraphReader reader(source, text, {file.owner, file.span.subspan(header.data)});
  Graph graph;
  reader(graph);
  graph.checksum = header.checksum;
  require(reader.is_done(), "its graph ends before its part of the file does");
  require(reader.data_bytes() == header.data_bytes, header.data_bytes - reader.data_bytes(),
          " bytes of data belong to nothing");
  for (const std::string& name : graph.layers) check_name(source, name);
  for (const std::string& name : graph.classes) check_name(source, name);
  for (const auto& configuration : graph.configurations) check_name(source, configuration.name);
  check_name(source, graph.name);
  try {
    std::vector<Shape> found = check_graph(graph);
    if (shapes) *shapes = std::move(found);
  } catch (const Error& error) {
    throw FileError(message(source, ": ", error.what()));
  }
  return graph;
}

/// The graph of a packed file. Throws FileError, naming the file and what is wrong with it.
inline Graph load_packed(const std::filesystem::path& path, const LoadOptions& options = {},
                         std::vector<Shape>* shapes = nullptr) {
  if (options.mapped) {
    const auto file = std::make_shared<const files::MappedFile>(path, options.max_bytes);
    return parse_packed(path.string(), {file, file->span()}, options, shapes);
  }
  const auto file = std::make_shared<const files::FileBytes>(files::read_file(path, options.max_bytes));
  return parse_packed(path.string(), {file, file->span()}, options, shapes);
}

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
