// Whole files as text.
#pragma once

#include <fstream>
#include <iterator>
#include <string>

#include "../temporary_folder.hpp"

namespace spnet::test {

inline std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_text(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

}  // namespace spnet::test
