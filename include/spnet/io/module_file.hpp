// Modules to and from tensor files.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "spnet/core/precision.hpp"
#include "spnet/io/safetensors.hpp"
#include "spnet/nn/module.hpp"

namespace spnet {
inline namespace v0 {
namespace io {

/// Adds every parameter and buffer of `module` under `prefix` + its dotted name; the memory is shared, not copied.
/// Throws ValueError on a name that the file has already.
inline void put_module(TensorFile& file, const nn::Module& module, const std::string& prefix = "model.") {
  for (const auto& p : module.parameters()) file.put(prefix + p.name, p.variable.value());
  for (const auto& b : module.buffers()) file.put(prefix + b.name, b.tensor);
}

namespace detail {

struct ModuleTensor {
  std::string name;
  Tensor<float> tensor;  // shares the module's memory
};

inline std::vector<ModuleTensor> module_tensors(const nn::Module& module) {
  std::vector<ModuleTensor> out;
  for (const auto& p : module.parameters()) out.push_back({p.name, p.variable.value()});
  for (const auto& b : module.buffers()) out.push_back({b.name, b.tensor});
  return out;
}

// Throws FileError where the file has another number of tensors under `prefix` than the network.
inline void require_count(const char* op, const TensorFile& file, const std::string& prefix, std::size_t count) {
  std::size_t found = 0;
  for (const std::string& name : file.names()) found += name.starts_with(prefix);
  check<FileError>(found == count, op, ": the file has ", found, " tensors under '", prefix, "', the network has ",
                   count);
}

// "bn1.w2a2.weight" as {"bn1.", "weight"}; nothing where no part of the name is a switch.
inline std::optional<std::pair<std::string, std::string>> split_at_switch(const std::string& name) {
  for (std::size_t begin = 0; begin < name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    if (part.size() >= 4 && part[0] == 'w' && part.find_first_not_of("wa0123456789-") == std::string::npos)
      return {{name.substr(0, begin), end < name.size() ? name.substr(end + 1) : ""}};
    begin = end + 1;
  }
  return {};
}

}  // namespace detail

/// Fills every parameter and buffer of `module` from the tensors under `prefix`. All are checked first: throws
/// FileError, with the module unchanged, where one is missing or has another type or shape, or the file has one that
/// the module does not know.
inline void load_module(const TensorFile& file, nn::Module& module, const std::string& prefix = "model.") {
  auto targets = detail::module_tensors(module);
  std::vector<Tensor<float>> sources;
  for (const auto& target : targets) sources.push_back(file.get<float>(prefix + target.name, target.tensor.shape()));
  detail::require_count("load_module", file, prefix, targets.size());
  for (std::size_t i = 0; i < targets.size(); ++i) targets[i].tensor.copy_from(sources[i]);
}

/// As load_module, of a network that channels were removed from: `module`, which was just made by what makes the
/// unpruned one, takes the file's shapes where these have fewer filters or fewer channels of input (the first and last
/// axis of weights), and with the filters fewer of what each has one of (biases, norms, scales). Throws FileError, with
/// the module unchanged, on other shapes as well. Whether layers fit each other, a forward pass tells.
inline void load_pruned_module(const TensorFile& file, nn::Module& module, const std::string& prefix = "model.") {
  std::vector<std::pair<Tensor<float>*, Tensor<float>>> filled;
  const auto plan = [&](const std::string& name, Tensor<float>& tensor, nn::ParameterKind kind, bool is_buffer,
                        std::int64_t filters, std::int64_t filters_left) {
    const Shape& shape = file.shape(prefix + name);
    const int rank = tensor.rank();
    bool fits = shape.rank() == rank;
    for (int i = 0; fits && i < rank; ++i) {
      const bool may_shrink =
          kind == nn::ParameterKind::kWeight ? i == 0 || i + 1 == rank : rank == 1 && tensor.dim(0) == filters;
      fits = shape[i] == tensor.dim(i) || (may_shrink && shape[i] > 0 && shape[i] < tensor.dim(i));
    }
    // What quantizers keep in buffers is their own.
    if (is_buffer && kind == nn::ParameterKind::kScale) fits = shape == tensor.shape();
    if (kind != nn::ParameterKind::kWeight && rank == 1 && tensor.dim(0) == filters && filters > 1)
      fits = fits && (shape[0] == filters_left || (kind == nn::ParameterKind::kScale && shape[0] == filters));
    check<FileError>(fits, "load_pruned_module: tensor '", prefix + name, "' has shape ", shape, ", ", tensor.shape(),
                     " or what pruning leaves of it expected");
    filled.emplace_back(&tensor, file.get<float>(prefix + name));
  };
  module.visit("", [&](const std::string& path, nn::Module& below) {
    // Of a layer, those of its weight; of a norm, its channels.
    std::int64_t filters = 0, left = 0;
    if (!below.own_parameters().empty()) {
      const nn::NamedParameter& first = below.own_parameters().front();
      const Shape& shape = file.shape(prefix + path + first.name);
      if (first.variable.shape().rank() > 0) filters = first.variable.dim(0);
      if (shape.rank() > 0) left = shape[0];
    }
    for (const auto& p : below.own_parameters())
      plan(path + p.name, Variable<float>(p.variable).value(), p.kind, false, filters, left);
    for (const auto& b : below.own_buffers()) plan(path + b.name, *b.tensor, b.kind, true, filters, left);
  });
  detail::require_count("load_pruned_module", file, prefix, filled.size());
  for (auto& [tensor, source] : filled) {
    // Quantizers share the memory of their buffers.
    if (tensor->shape() == source.shape())
      tensor->copy_from(source);
    else
      *tensor = source;
  }
}

/// Starts `module` from another network's weights: a checkpoint of a run (tensors under "model.") or a file of another
/// program with PyTorch's names and layouts (a convolution's [O,C,kH,kW] is transposed). What a tensor's own name does
/// not find is looked for, if it is a transition, under the switch that it enters ("bn1.w2a2-w4a4.weight" from
/// "bn1.w4a4.weight"), then without its switch ("bn1.w2a2.weight" from "bn1.weight") and then under the file's highest
/// switch, so that the batch norms of a float network are copied to every switch; what quantizers keep starts afresh
/// where the file has none of it. Returns how many tensors were filled. Throws FileError, with the module unchanged,
/// where a weight or a batch norm is not found or has another shape.
inline std::size_t init_module(const TensorFile& file, nn::Module& module) {
  const std::vector<std::string> names = file.names();
  const bool own = std::ranges::any_of(names, [](const std::string& name) { return name.starts_with("model."); });
  std::map<std::string, std::string> by_bare_name;  // without switch → the file's name at the highest switch
  std::map<std::string, Precision> best;
  const std::string prefix = own ? "model." : "";
  for (const std::string& name : names) {
    if (!name.starts_with(prefix)) continue;
    const std::string local = name.substr(prefix.size());
    const auto parts = detail::split_at_switch(local);
    if (!parts) continue;
    const std::string bare = parts->first + parts->second;
    const std::size_t length = local.size() - bare.size() - 1;
    Precision precision;
    try {
      precision = parse_precision(local.substr(parts->first.size(), length));
    } catch (const ValueError&) {
      continue;
    }
    if (const auto at = best.find(bare); at != best.end() && precision < at->second) continue;
    best[bare] = precision;
    by_bare_name[bare] = name;
  }

  const auto find = [&](const std::string& name) -> std::string {
    if (file.contains(prefix + name)) return prefix + name;
    const auto parts = detail::split_at_switch(name);
    const std::string bare = parts ? parts->first + parts->second : name;
    if (parts) {
      // A transition starts from the switch that it enters.
      const std::string of_switch = name.substr(parts->first.size());
      const std::size_t dash = of_switch.find('-');
      if (dash < of_switch.find('.') && file.contains(prefix + parts->first + of_switch.substr(dash + 1)))
        return prefix + parts->first + of_switch.substr(dash + 1);
    }
    if (file.contains(prefix + bare)) return prefix + bare;
    const auto at = by_bare_name.find(bare);
    return at == by_bare_name.end() ? "" : at->second;
  };

  std::vector<std::pair<Tensor<float>, Tensor<float>>> copies;
  const auto plan = [&](const std::string& name, const Tensor<float>& target, bool required) {
    const std::string source = find(name);
    if (source.empty()) {
      check<FileError>(!required, "init: the file has no tensor for '", name, "'");
      return;
    }
    Tensor<float> value = file.get_float(source);
    if (!own && value.rank() == 4) value = value.permute({0, 2, 3, 1}).contiguous();
    check<FileError>(value.shape() == target.shape(), "init: tensor '", source, "' has shape ", value.shape(),
                     own ? "" : " (as [O,kH,kW,C])", ", the network's '", name, "' is ", target.shape());
    copies.emplace_back(target, value);
  };
  for (const auto& p : module.parameters()) plan(p.name, p.variable.value(), p.kind != nn::ParameterKind::kScale);
  for (const auto& b : module.buffers()) plan(b.name, b.tensor, b.kind != nn::ParameterKind::kScale);
  for (auto& [target, value] : copies) target.copy_from(value);
  return copies.size();
}

}  // namespace io
}  // namespace v0
}  // namespace spnet
