// A packed network that is loaded once and shared by any number of sessions.
#pragma once

#include <atomic>
#include <compare>
#include <cstdint>
#include <filesystem>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "spnet/kernels/dispatch.hpp"
#include "spnet/runtime/graph.hpp"
#include "spnet/runtime/graph_check.hpp"
#include "spnet/runtime/kernel_choices.hpp"
#include "spnet/runtime/packed_file.hpp"
#include "spnet/runtime/product.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

/// Which product: of a node at widths, for so many images, on an instruction set, at a precision of float products.
struct ProductKey {
  std::uint32_t node = 0;
  Precision widths;
  std::int64_t images = 1;
  ops::CodesProduct choice = ops::CodesProduct::kFastest;
  const kernels::KernelTable* table = nullptr;
  ops::Float32Precision precision = ops::Float32Precision::kHighest;

  friend auto operator<=>(const ProductKey&, const ProductKey&) = default;
};

struct ModelOptions {
  /// Mapped, unless `mapped` is set to false: see LoadOptions.
  LoadOptions load = {.mapped = true};
  /// Which kernels are fastest on this processor is read from the file beside the packed one, and what sessions measure
  /// is kept there, where it can be written.
  bool keep_choices = true;
  /// Expanded weights that no session is using are kept up to so many bytes, the latest used first. What was given up
  /// waits in the memory pool for the next, no more than as many bytes.
  std::int64_t cache_bytes = std::int64_t{1} << 30;
};

/// A graph that was checked, and the weights expanded so far. Its members may be called from several threads at once.
class Model {
 public:
  /// Throws ValueError where the graph cannot run.
  explicit Model(const Graph& graph, const ModelOptions& options = {}) : Model(graph, check_graph(graph), options) {}
  /// Throws FileError, naming the file and what is wrong with it.
  static std::shared_ptr<const Model> load(const std::filesystem::path& path, const ModelOptions& options = {}) {
    std::vector<Shape> shapes;
    Graph graph = load_packed(path, options.load, &shapes);
    const std::shared_ptr<Model> model(new Model(std::move(graph), std::move(shapes), options));
    if (options.keep_choices) {
      model->choices_path_ = choices_path(path);
      model->choices_.load(model->choices_path_, model->graph_.checksum);
    }
    return model;
  }
  /// Keeps the kernels that were found to be fastest beside the packed file, for Model::load to find. Where that cannot
  /// be written, or the model did not come from one, they are measured once more another time.
  void keep_choices() const {
    if (choices_path_.empty()) return;
    try {
      choices_.save(choices_path_, graph_.checksum);
    } catch (const FileError&) {
    }
  }

  const Graph& graph() const { return graph_; }
  KernelChoices& choices() const { return choices_; }
  /// Of the nodes' results, for one image.
  const std::vector<Shape>& shapes() const { return shapes_; }
  /// The nodes that read the result of node i, once for each time they do.
  const std::vector<std::uint32_t>& consumers(std::size_t i) const { return consumers_[i]; }
  /// The place of `p` in the graph's precisions; throws ValueError, listing them, where it is none of them.
  std::size_t precision_index(Precision p) const {
    const auto& known = graph_.precisions;
    const auto at = std::find(known.begin(), known.end(), p);
    // Joining them takes longer than a switch may.
    if (at == known.end()) throw ValueError(message("engine: ", p, " given, the network was packed for ", join(known)));
    return static_cast<std::size_t>(at - known.begin());
  }

  /// Whether layer `layer` may have precision number `p`, and whether all layers may.
  bool works_at(std::size_t layer, std::size_t p) const { return precisions_[layer] >> p & 1; }
  bool is_uniform(std::size_t p) const { return uniform_ >> p & 1; }

  /// The product, expanded now.
  Product expand(const ProductKey& key) const {
    const Node& node = graph_.nodes[key.node];
    const Shape x = detail::with_batch(shapes_[node.inputs[0]], key.images);
    // It is the whole program's: where it is the same already, nothing is set.
    std::optional<ops::Float32PrecisionGuard> precision;
    if (ops::float32_matmul_precision() != key.precision) precision.emplace(key.precision);
    return make_product(graph_, node, x, key.widths, key.choice, key.precision);
  }
  /// The product, expanded now unless it still is from before.
  std::shared_ptr<const Product> product(const ProductKey& key) const {
    {
      const std::lock_guard lock(mutex_);
      if (auto found = find(key)) return found;
    }
    auto made = std::make_shared<const Product>(expand(key));
    const std::lock_guard lock(mutex_);
    if (auto found = find(key)) return found;  // another session was faster
    latest_.push_front({key, made});
    products_[key] = latest_.begin();
    cached_bytes_ += made->bytes;
    while (cached_bytes_ > cache_bytes_ && !latest_.empty()) {
      cached_bytes_ -= latest_.back().product->bytes;
      products_.erase(latest_.back().key);
      latest_.pop_back();
      evictions_.fetch_add(1, std::memory_order_relaxed);
    }
    return made;
  }
  /// Gives up the expanded weights that no session holds.
  void trim() const {
    const std::lock_guard lock(mutex_);
    for (auto at = latest_.begin(); at != latest_.end();) {
      if (at->product.use_count() > 1) {
        ++at;
        continue;
      }
      cached_bytes_ -= at->product->bytes;
      products_.erase(at->key);
      at = latest_.erase(at);
    }
  }
  /// How many expanded weights were given up so far; sessions that hold some may still use them.
  std::uint64_t evictions() const { return evictions_.load(std::memory_order_relaxed); }
  std::int64_t cache_limit() const { return cache_bytes_; }
  /// Bytes of the expanded weights that are kept.
  std::int64_t cached_bytes() const {
    const std::lock_guard lock(mutex_);
    return cached_bytes_;
  }

 private:
  // Of a graph that was checked, which gave the shapes.
  Model(Graph graph, std::vector<Shape> shapes, const ModelOptions& options)
      : graph_(std::move(graph)),
        shapes_(std::move(shapes)),
        consumers_(graph_.nodes.size()),
        precisions_(layer_precisions(graph_)),
        cache_bytes_(options.cache_bytes) {
    for (std::uint32_t i = 0; i < graph_.nodes.size(); ++i)
      for (const std::uint32_t input : graph_.nodes[i].inputs) consumers_[input].push_back(i);
    for (const std::uint64_t layer : precisions_) uniform_ &= layer;
  }

  struct Entry {
    ProductKey key;
    std::shared_ptr<const Product> product;
  };
  std::shared_ptr<const Product> find(const ProductKey& key) const {
    const auto at = products_.find(key);
    if (at == products_.end()) return nullptr;
    latest_.splice(latest_.begin(), latest_, at->second);
    return at->second->product;
  }

  Graph graph_;
  std::vector<Shape> shapes_;
  std::vector<std::vector<std::uint32_t>> consumers_;
  std::vector<std::uint64_t> precisions_;  // of each layer: see layer_precisions
  std::uint64_t uniform_ = ~std::uint64_t{0};
  std::int64_t cache_bytes_;
  mutable KernelChoices choices_;
  std::filesystem::path choices_path_;  // empty: they are not kept
  mutable std::mutex mutex_;
  mutable std::list<Entry> latest_;  // the latest used first
  mutable std::map<ProductKey, std::list<Entry>::iterator> products_;
  mutable std::int64_t cached_bytes_ = 0;
  mutable std::atomic<std::uint64_t> evictions_{0};
};

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
