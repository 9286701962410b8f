// Which of several kernels with the same results is fastest, layer by layer: measured once and remembered.
#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>

#include "spnet/core/error.hpp"
#include "spnet/core/precision.hpp"
#include "spnet/files/atomic_file.hpp"
#include "spnet/kernels/dispatch.hpp"
#include "spnet/ops/conv2d_weight_form.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

/// What a choice is made for.
struct ChoiceKey {
  std::uint32_t node = 0;
  Precision widths;
  std::int64_t images = 1;
  int threads = 1;

  friend auto operator<=>(const ChoiceKey&, const ChoiceKey&) = default;
};

/// The choices for one network on one processor. May be used from several threads at once.
class KernelChoices {
 public:
  std::optional<ops::CodesProduct> find(const ChoiceKey& key) const {
    const std::lock_guard lock(mutex_);
    const auto at = choices_.find(key);
    return at == choices_.end() ? std::nullopt : std::optional(at->second);
  }
  void set(const ChoiceKey& key, ops::CodesProduct product) {
    const std::lock_guard lock(mutex_);
    choices_[key] = product;
  }
  /// Held while a session measures, so that sessions do not disturb each other, or measure the same.
  std::unique_lock<std::mutex> measuring() { return std::unique_lock(measuring_); }
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return choices_.size();
  }

  /// Adds the choices to a file: a line for the format, one for the network, then for each instruction set and
  /// processor a line "on", their names, and lines "node, weight bits, activation bits, images, threads, bits|bytes".
  /// Those that the file holds for other processors stay, those of another network do not. Throws FileError where it
  /// cannot be written.
  void save(const std::filesystem::path& path, std::uint64_t network) const {
    Sections sections = read_sections(path, network);
    std::map<ChoiceKey, ops::CodesProduct> choices = parse(sections[here()]);
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [key, product] : choices_) choices[key] = product;
    }
    std::ostringstream lines;
    for (const auto& [key, product] : choices)
      lines << key.node << ' ' << key.widths.weight_bits << ' ' << key.widths.activation_bits << ' ' << key.images
            << ' ' << key.threads << ' ' << (product == ops::CodesProduct::kBits ? "bits" : "bytes") << '\n';
    sections[here()] = lines.str();
    std::string text = heading(network);
    for (const auto& [place, choices_there] : sections) text += "on " + place + '\n' + choices_there;
    files::write_file_atomically(path, text);
  }
  /// Takes in what `save` wrote for this network on this processor; anything else is passed over, for it can be
  /// measured again. Returns whether something was taken in.
  bool load(const std::filesystem::path& path, std::uint64_t network) {
    const Sections sections = read_sections(path, network);
    const auto at = sections.find(here());
    if (at == sections.end()) return false;
    std::map<ChoiceKey, ops::CodesProduct> read = parse(at->second);
    const std::lock_guard lock(mutex_);
    choices_.merge(read);
    return true;
  }

 private:
  /// The lines for each instruction set and processor.
  using Sections = std::map<std::string, std::string>;

  static std::string here() { return message(kernels::active().name, ' ', kernels::cpu_name()); }
  static std::string heading(std::uint64_t network) {
    std::ostringstream out;
    out << "spnet kernels 2\nnetwork " << std::hex << network << '\n';
    return out.str();
  }
  static Sections read_sections(const std::filesystem::path& path, std::uint64_t network) {
    constexpr std::uint64_t kMaxBytes = 1 << 20;
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) return {};
    std::string text;
    try {
      const files::FileBytes bytes = files::read_file(path, kMaxBytes);
      text.assign(reinterpret_cast<const char*>(bytes.data.get()), bytes.size);
    } catch (const FileError&) {
      return {};
    }
    const std::string expected = heading(network);
    if (!text.starts_with(expected)) return {};
    Sections sections;
    std::string* section = nullptr;
    std::istringstream lines(text.substr(expected.size()));
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("on ")) {
        section = &sections[line.substr(3)];
      } else if (section) {
        *section += line + '\n';
      }
    }
    return sections;
  }
  static std::map<ChoiceKey, ops::CodesProduct> parse(const std::string& text) {
    std::map<ChoiceKey, ops::CodesProduct> out;
    std::istringstream lines(text);
    ChoiceKey key;
    std::string product;
    while (lines >> key.node >> key.widths.weight_bits >> key.widths.activation_bits >> key.images >> key.threads >>
           product)
      out[key] = product == "bits" ? ops::CodesProduct::kBits : ops::CodesProduct::kBytes;
    return out;
  }

  mutable std::mutex mutex_;
  std::mutex measuring_;
  std::map<ChoiceKey, ops::CodesProduct> choices_;
};

/// Where the choices for a packed file are kept: beside it.
inline std::filesystem::path choices_path(std::filesystem::path packed) { return packed += ".kernels"; }

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
