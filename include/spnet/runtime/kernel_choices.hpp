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
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return choices_.size();
  }

  /// A line each for format, processor, instruction set and network, then "node, weight bits, activation bits, images,
  /// threads, bits|bytes". Throws FileError where it cannot be written.
  void save(const std::filesystem::path& path, std::uint64_t network) const {
    std::ostringstream out;
    out << heading(network);
    const std::lock_guard lock(mutex_);
    for (const auto& [key, product] : choices_)
      out << key.node << ' ' << key.widths.weight_bits << ' ' << key.widths.activation_bits << ' ' << key.images << ' '
          << key.threads << ' ' << (product == ops::CodesProduct::kBits ? "bits" : "bytes") << '\n';
    files::write_file_atomically(path, out.str());
  }
  /// Takes in what `save` wrote for this network on this processor; anything else is passed over, for it can be
  /// measured again. Returns whether something was taken in.
  bool load(const std::filesystem::path& path, std::uint64_t network) {
    constexpr std::uint64_t kMaxBytes = 1 << 20;
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) return false;
    std::string text;
    try {
      const files::FileBytes bytes = files::read_file(path, kMaxBytes);
      text.assign(reinterpret_cast<const char*>(bytes.data.get()), bytes.size);
    } catch (const FileError&) {
      return false;
    }
    const std::string expected = heading(network);
    if (!text.starts_with(expected)) return false;
    std::map<ChoiceKey, ops::CodesProduct> read;
    std::istringstream lines(text.substr(expected.size()));
    ChoiceKey key;
    std::string product;
    while (lines >> key.node >> key.widths.weight_bits >> key.widths.activation_bits >> key.images >> key.threads >>
           product)
      read[key] = product == "bits" ? ops::CodesProduct::kBits : ops::CodesProduct::kBytes;
    const std::lock_guard lock(mutex_);
    choices_.merge(read);
    return true;
  }

 private:
  static std::string heading(std::uint64_t network) {
    std::ostringstream out;
    out << "spnet kernels 1\n"
        << kernels::cpu_name() << '\n'
        << kernels::active().name << '\n'
        << std::hex << network << '\n';
    return out.str();
  }

  mutable std::mutex mutex_;
  std::map<ChoiceKey, ops::CodesProduct> choices_;
};

/// Where the choices for a packed file are kept: beside it.
inline std::filesystem::path choices_path(std::filesystem::path packed) { return packed += ".kernels"; }

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
