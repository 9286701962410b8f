// A session on a packed network: images in, logits out, at a precision that may change between two images.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "spnet/core/memory.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/runtime/model.hpp"
#include "spnet/runtime/plan.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

struct EngineOptions {
  int threads = 0;  ///< of this session's loops: 1 opens no parallel region at all; 0: one per processor
  /// Measures which kernel is fastest where several have the same results, when a plan is first made, unless it was
  /// measured before on this processor: see ModelOptions::keep_choices. Else the one that is faster as a rule is taken
  /// where nothing was measured.
  bool tune = true;
  /// Plans for precisions and batch sizes that were used before are kept, so many.
  std::size_t plans = 64;
  /// What the values of a batch and the weights of a plan may take; larger batches, and networks from strangers that
  /// ask for more, are refused.
  std::int64_t max_bytes = std::int64_t{2} << 30;
};

/// One session. Its members may be called from one thread at a time; sessions on one Model may run side by side.
class Engine {
 public:
  /// Begins at the highest precision, with all layers, or where these are fixed with the model's first configuration.
  explicit Engine(std::shared_ptr<const Model> model, const EngineOptions& options = {})
      : model_(std::move(model)), options_(options), configuration_(model_->graph().layers.size()) {
    check<ValueError>(options.threads >= 0 && options.threads <= 1024, "engine: ", options.threads,
                      " threads given, expected 0 to 1024");
    const Graph& graph = model_->graph();
    if (graph.is_fixed) {
      set_configuration(graph.configurations.front().layers);
    } else {
      set_precision(*std::max_element(graph.precisions.begin(), graph.precisions.end()));
    }
  }
  /// Throws FileError, naming the file and what is wrong with it.
  explicit Engine(const std::filesystem::path& path, const EngineOptions& options = {}, const ModelOptions& model = {})
      : Engine(Model::load(path, model), options) {}

  /// Sets all layers. Throws ValueError where the network was not packed for `precision`.
  void set_precision(Precision precision) {
    const std::size_t p = model_->precision_index(precision);
    if (!model_->is_uniform(p))
      throw ValueError(message("engine: ", precision, " given, the network was not packed for it in all layers"));
    std::fill(configuration_.begin(), configuration_.end(), static_cast<std::uint8_t>(p));
    current_ = nullptr;
  }
  /// Sets each layer, in the order of the graph's. Throws ValueError on another number, or where the network was not
  /// packed for one of them; nothing has changed then.
  void set_precisions(std::span<const Precision> precisions) {
    Configuration next;
    for (const Precision p : precisions) next.push_back(static_cast<std::uint8_t>(model_->precision_index(p)));
    set_configuration(next);
  }

  /// The same by the places of the precisions in the graph's list.
  void set_configuration(const Configuration& configuration) {
    check<ValueError>(configuration.size() == configuration_.size(), "engine: ", configuration.size(),
                      " precisions given for ", configuration_.size(), " layers");
    const runtime::Graph& graph = model_->graph();
    for (std::size_t l = 0; l < configuration.size(); ++l) {
      const std::uint8_t p = configuration[l];
      if (p < graph.precisions.size() && model_->works_at(l, p)) continue;
      check<ValueError>(p < graph.precisions.size(), "engine: precision number ", int{p}, " of ",
                        graph.precisions.size());
      throw ValueError(message("engine: the network was not packed with ", graph.layers[l], " at ", graph.precisions[p]));
    }
    configuration_ = configuration;
    current_ = nullptr;
  }

  /// Makes ready for batches of `images` at the present precision, so that the next `run` only runs. Throws ValueError
  /// where there are none, or what they take is more than is allowed.
  void prepare(std::int64_t images = 1) {
    check<ValueError>(images >= 1 && images <= kMaxImages, "engine: ", images, " images given, expected 1 to ",
                      kMaxImages);
    const ThreadCountGuard threads(options_.threads);
    current_ = nullptr;  // should this fail
    current_ = &session(images);
  }

  /// images [N,H,W,C], prepared as the network's Preparation says → logits [N,classes]. Throws ShapeError on other
  /// images, NumericError where values that are to become codes are not finite.
  Tensor<float> run(const Tensor<float>& images) {
    return run_steps(images, [](const auto& step) { return step(); });
  }

  /// Milliseconds that each step of plan() takes for one image, for reports. Throws as `run`.
  std::vector<double> step_times(const Tensor<float>& image) {
    run(image);
    std::vector<double> out;
    run_steps(image, [&](const auto& step) {
      const auto begin = std::chrono::steady_clock::now();
      const bool finite = step();
      out.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
      return finite;
    });
    return out;
  }

  const Model& model() const { return *model_; }
  const Configuration& configuration() const { return configuration_; }
  /// What runs for batches of `images` at the present precision: for reports.
  const Plan& plan(std::int64_t images = 1) {
    prepare(images);
    return current_->plan;
  }
  /// Those of the plan for batches of `images` at the present precision.
  const std::vector<std::shared_ptr<const Product>>& products(std::int64_t images = 1) {
    prepare(images);
    return current_->products;
  }

  /// Gives up all plans and what was expanded for them, so that the model may, too: see Model::trim.
  void clear() {
    current_ = nullptr;
    sessions_.clear();
    block_ = {};
  }

 private:
  static constexpr std::int64_t kMaxImages = 1 << 24;

  // A plan that was used, and its products as long as nothing else needs their memory.
  struct Session {
    Configuration configuration;
    std::int64_t images;
    ops::Float32Precision precision;
    Plan plan;
    std::vector<std::shared_ptr<const Product>> products = {};
  };
  // Side by side in memory: a switch between two images finds nothing else in the cache.
  struct Entry {
    std::uint64_t key;
    std::uint64_t used;  // when, in switches
    std::unique_ptr<Session> session;
  };
  // `call(step)` calls each step, whose result it returns: whether all that became codes was finite.
  template <class Call>
  Tensor<float> run_steps(const Tensor<float>& images, const Call& call) {
    const Shape& image = model_->graph().input;
    check<ShapeError>(
        images.rank() == image.rank() + 1 && detail::without_batch(images.shape()) == image && images.dim(0) > 0,
        "engine: images ", images.shape(), " given, expected ", detail::with_batch(image, -1));
    const ThreadCountGuard threads(options_.threads);
    // Where the cache had to give something up, plans that are not in use let go of it.
    if (!current_ || current_->images != images.dim(0) || evictions_ != model_->evictions()) prepare(images.dim(0));
    const Plan& plan = current_->plan;
    const Memory memory(block_, plan.memory.offsets);
    images.copy_to(memory.at<float>(plan.input));
    for (const auto& step : plan.steps)
      if (!call([&] { return step->run(memory, product_of(*step)); })) throw_not_finite(*step);
    const Shape shape = detail::with_batch(model_->shapes().back(), images.dim(0));
    return memory.tensor(plan.output, shape).clone();
  }
  // Of the present session.
  const Product* product_of(const Step& step) const {
    return step.product < 0 ? nullptr : current_->products[static_cast<std::size_t>(step.product)].get();
  }
  std::uint64_t key_of(std::int64_t images) const {
    std::uint64_t key = static_cast<std::uint64_t>(images);
    for (const std::uint8_t p : configuration_) key = (key ^ p) * 0x100000001B3;
    return key;
  }

  // Of weights as products hold them, roughly: before any is expanded.
  std::int64_t weight_bytes(const Plan& plan) const {
    constexpr std::int64_t kGroup = 4096;  // what a group keeps beside its weights
    std::int64_t bytes = 0;
    for (const ProductKey& key : plan.products) {
      const Node& node = model_->graph().nodes[key.node];
      const Shape& w = weight_of(model_->graph(), node.op)->shape;
      const bool is_float = key.widths.weight_bits == kFloatBits || key.widths.activation_bits == kFloatBits;
      bytes += element_count(w) * static_cast<std::int64_t>(is_float ? sizeof(float) : 1);
      const auto* conv = std::get_if<Conv2d>(&node.op);
      if (!conv) continue;
      const Shape x = detail::with_batch(model_->shapes()[node.inputs[0]], key.images);
      const ops::detail::ConvSizes sizes = ops::detail::conv_sizes("engine", x, w, conv->options);
      if (!ops::detail::is_depthwise(sizes)) bytes += sizes.groups * kGroup;
    }
    return bytes;
  }
  Session& session(std::int64_t images) {
    const std::uint64_t key = key_of(images);
    const ops::Float32Precision precision = ops::float32_matmul_precision();
    auto found = std::find_if(sessions_.begin(), sessions_.end(), [&](const Entry& e) {
      return e.key == key && e.session->images == images && e.session->precision == precision &&
             e.session->configuration == configuration_;
    });
    if (found == sessions_.end()) {
      Plan plan = make_plan(*model_, configuration_, images, precision);
      const std::int64_t bytes = plan.memory.bytes + weight_bytes(plan);
      check<ValueError>(bytes <= options_.max_bytes, "engine: the values of ", images, " images and the weights take ",
                        bytes, " bytes, at most ", options_.max_bytes, " are allowed");
      if (sessions_.size() >= std::max<std::size_t>(options_.plans, 1))
        sessions_.erase(std::min_element(sessions_.begin(), sessions_.end(),
                                         [](const Entry& a, const Entry& b) { return a.used < b.used; }));
      sessions_.push_back(
          {key, 0, std::make_unique<Session>(Session{configuration_, images, precision, std::move(plan)})});
      found = std::prev(sessions_.end());
    }
    found->used = ++switches_;
    Session* const at = found->session.get();
    if (block_.size_bytes() < static_cast<std::size_t>(at->plan.memory.bytes)) {
      block_ = {};
      block_ = Buffer(static_cast<std::size_t>(at->plan.memory.bytes));
    }
    if (at->products.empty()) {
      choose_kernels(at->plan);
      std::vector<std::shared_ptr<const Product>> products;
      for (const ProductKey& key : at->plan.products) products.push_back(model_->product(key));
      at->products = std::move(products);
    }
    // Where the cache had to give something up, plans that are not in use let go of it.
    if (const std::uint64_t evictions = model_->evictions(); evictions != evictions_) {
      evictions_ = evictions;
      for (Entry& other : sessions_)
        if (other.session.get() != at) other.session->products.clear();
      MemoryPool::global().trim(static_cast<std::size_t>(model_->cache_limit()));
    }
    return *at;
  }

  // Sets the choice of each product: what was measured, before or now, else what is faster as a rule.
  void choose_kernels(Plan& plan) {
    bool has_measured = false;
    for (const auto& step : plan.steps) {
      if (step->product < 0) continue;
      ProductKey& key = plan.products[static_cast<std::size_t>(step->product)];
      if (!has_choice(model_->graph(), model_->graph().nodes[key.node], key.widths)) continue;
      const ChoiceKey choice{key.node, key.widths, key.images, num_threads()};
      std::optional<ops::CodesProduct> known = model_->choices().find(choice);
      if (!known && options_.tune) {
        const auto lock = model_->choices().measuring();
        known = model_->choices().find(choice);  // another session was faster
        if (!known) {
          if (!std::exchange(has_measured, true)) std::memset(block_.data(), 0, block_.size_bytes());
          known = faster(plan, *step, key);
          model_->choices().set(choice, *known);
        }
      }
      if (known) key.choice = *known;
    }
    if (has_measured) model_->keep_choices();
  }
  // Whatever lies in the buffers, a step takes as long.
  ops::CodesProduct faster(const Plan& plan, const Step& step, ProductKey key) const {
    const Memory memory(block_, plan.memory.offsets);
    constexpr std::array kChoices{ops::CodesProduct::kBytes, ops::CodesProduct::kBits};
    std::array<std::optional<Product>, 2> products;
    std::array<double, 2> best{1e9, 1e9};
    for (std::size_t i = 0; i < 2; ++i) {
      key.choice = kChoices[i];
      products[i].emplace(model_->expand(key));
    }
    // In turn, the first of them to warm up; of large batches, whose times differ by less, only two.
    constexpr int kRuns = 6, kLeastRuns = 2;
    constexpr double kEnoughSeconds = 0.01;
    double spent = 0;
    for (int run = 0; run < kRuns && (run < kLeastRuns || spent < kEnoughSeconds); ++run) {
      for (std::size_t i = 0; i < 2; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        step.run(memory, &*products[i]);
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        if (run > 0) best[i] = std::min(best[i], seconds);
        spent += seconds;
      }
    }
    return best[1] < best[0] ? kChoices[1] : kChoices[0];
  }
  [[noreturn]] void throw_not_finite(const Step& step) const {
    const Graph& graph = model_->graph();
    const Node& node = graph.nodes[step.node];
    throw NumericError(message("engine: values that become codes after node ", step.node, " (", operator_name(node.op),
                               node.layer < 0 ? "" : " ",
                               node.layer < 0 ? "" : graph.layers[static_cast<std::size_t>(node.layer)],
                               ") are not finite"));
  }

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  Configuration configuration_;
  std::vector<Entry> sessions_;
  std::uint64_t switches_ = 0;
  Session* current_ = nullptr;
  std::uint64_t evictions_ = 0;  // of the model's, when this session last looked
  Buffer block_;
};

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
