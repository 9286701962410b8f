// libFuzzer target for the tensor file reader. Run: safetensors_fuzz CORPUS, after safetensors_seeds CORPUS.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "../io/repair_checksum.hpp"
#include "spnet/io/safetensors.hpp"

using namespace spnet;

template <class T>
static void read(const io::TensorFile& file, const std::string& name) {
  if (file.dtype(name) == io::dtype_of<T>()) file.get<T>(name);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  std::vector<std::byte> bytes(input.begin(), input.end());
  repair_checksum(bytes);
  try {
    const io::TensorFile file = io::TensorFile::parse("fuzz", bytes);
    for (const std::string& name : file.names()) {
      read<double>(file, name);
      read<bf16>(file, name);
      read<std::int64_t>(file, name);
      read<std::uint8_t>(file, name);
      if (file.dtype(name) == io::DType::kF16 || file.dtype(name) == io::DType::kF32) file.get_float(name);
    }
    // What was read can be written, and is then read as the same.
    if (file.names().empty() || file.dtype(file.names().front()) == io::DType::kF32) {
      io::TensorFile copy;
      for (const std::string& name : file.names())
        if (file.dtype(name) == io::DType::kF32) copy.put(name, file.get<float>(name));
      for (const auto& [key, text] : file.metadata()) copy.set_metadata(key, text);
      const auto once = copy.to_bytes();
      const io::TensorFile back = io::TensorFile::parse("copy", once, {.require_checksum = true});
      if (back.names() != copy.names() || back.metadata() != file.metadata()) std::abort();
    }
  } catch (const FileError&) {
  }
  return 0;
}
