// Writes the first inputs of safetensors_fuzz into the folder named by the first argument.
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string>

#include "spnet/io/safetensors.hpp"

using namespace spnet;

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: safetensors_seeds FOLDER\n";
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  io::TensorFile empty;
  empty.save(folder / "empty");
  io::TensorFile mixed;
  mixed.put("weight", Tensor<float>::from({2, 2}, {1, 2, 3, 4}));
  mixed.put("codes", Tensor<std::int8_t>::from({3}, {std::int8_t{1}, std::int8_t{-2}, std::int8_t{3}}));
  mixed.put("mask", Tensor<bool>::from({2}, {true, false}));
  mixed.put("step", Tensor<std::int64_t>::scalar(7));
  mixed.put("mean", Tensor<double>::scalar(0.5));
  mixed.put("half", Tensor<bf16>::from({1}, {bf16(1.0f)}));
  mixed.put("none", Tensor<float>({0, 4}));
  mixed.set_metadata("config", "{\"a\": [1, \"\\u00fc\"]}");
  mixed.save(folder / "mixed");
  const std::string foreign =
      "{\"a\":{\"dtype\":\"F16\",\"shape\":[1,2],\"data_offsets\":[0,4]},\"__metadata__\":{\"format\":\"pt\"}}  ";
  const std::uint64_t length = foreign.size();
  files::write_file_atomically(folder / "foreign",
                            std::string(reinterpret_cast<const char*>(&length), 8) + foreign + "abcd");
}
