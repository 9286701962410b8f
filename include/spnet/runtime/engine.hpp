// A session on a packed network: images in, logits out, at a precision that may change between two images.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "spnet/core/parallel.hpp"
#include "spnet/runtime/model.hpp"
#include "spnet/runtime/plan.hpp"

namespace spnet {
inline namespace v0 {
namespace runtime {

struct EngineOptions {
  int threads = 0;  ///< of this session's loops: 1 opens no parallel region at all; 0: one per processor
  /// Measures which kernel is fastest where several have the same results, when a plan is first made; else, and where
  /// it was measured before, nothing is measured.
  bool tune = false;
  /// Plans for precisions and batch sizes that were used before are kept, so many.
  std::size_t plans = 64;
  /// What the values of a batch may take; larger batches, and networks from strangers that ask for more, are refused.
  std::int64_t max_bytes = std::int64_t{2} << 30;
};

/// One session. Its members may be called from one thread at a time; sessions on one Model may run side by side.
class Engine {
 public:
  /// Begins at the highest precision, with all layers.
  explicit Engine(std::shared_ptr<const Model> model, const EngineOptions& options = {})
      : model_(std::move(model)), options_(options), configuration_(model_->graph().layers.size()) {
    check<ValueError>(options.threads >= 0 && options.threads <= 1024, "engine: ", options.threads,
                      " threads given, expected 0 to 1024");
    const auto& precisions = model_->graph().precisions;
    set_precision(*std::max_element(precisions.begin(), precisions.end()));
  }
  /// Throws FileError, naming the file and what is wrong with it.
  explicit Engine(const std::filesystem::path& path, const EngineOptions& options = {}, const ModelOptions& model = {})
      : Engine(Model::load(path, model), options) {}

  /// Sets all layers. Throws ValueError where the network was not packed for `precision`.
  void set_precision(Precision precision) {
    std::fill(configuration_.begin(), configuration_.end(),
              static_cast<std::uint8_t>(model_->precision_index(precision)));
    current_ = nullptr;
  }
  /// Sets each layer, in the order of the graph's. Throws ValueError on another number, or where the network was not
  /// packed for one of them; nothing has changed then.
  void set_precisions(std::span<const Precision> precisions) {
    check<ValueError>(precisions.size() == configuration_.size(), "engine: ", precisions.size(),
                      " precisions given for ", configuration_.size(), " layers");
    Configuration next;
    for (const Precision p : precisions) next.push_back(static_cast<std::uint8_t>(model_->precision_index(p)));
    configuration_ = std::move(next);
    current_ = nullptr;
  }

  /// The same by the places of the precisions in the graph's list.
  void set_configuration(const Configuration& configuration) {
    check<ValueError>(configuration.size() == configuration_.size(), "engine: ", configuration.size(),
                      " precisions given for ", configuration_.size(), " layers");
    for (const std::uint8_t p : configuration)
      check<ValueError>(p < model_->graph().precisions.size(), "engine: precision number ", int{p}, " of ",
                        model_->graph().precisions.size());
    configuration_ = configuration;
    current_ = nullptr;
  }

  /// Makes ready for batches of `images` at the present precision, so that the next `run` only runs.
  void prepare(std::int64_t images = 1) {
    const ThreadCount threads(options_.threads);
    current_ = &session(images);
  }

  /// images [N,H,W,C], prepared as the network's Preparation says → logits [N,classes]. Throws ShapeError on other
  /// images, NumericError where values that are to become codes are not finite.
  Tensor<float> run(const Tensor<float>& images) {
    const Shape& image = model_->graph().input;
    check<ShapeError>(
        images.rank() == image.rank() + 1 && detail::without_batch(images.shape()) == image && images.dim(0) > 0,
        "engine: images ", images.shape(), " given, expected ", detail::with_batch(image, -1));
    const ThreadCount threads(options_.threads);
    if (!current_ || current_->images != images.dim(0)) prepare(images.dim(0));
    const Plan& plan = current_->plan;
    const Memory memory(block_, plan.memory.offsets);
    images.copy_to(memory.at<float>(plan.input));
    for (const auto& step : plan.steps) {
      const Product* product = step->product < 0 ? nullptr : products_[static_cast<std::size_t>(step->product)].get();
      if (!step->run(memory, product)) throw_not_finite(*step);
    }
    const Shape shape = detail::with_batch(model_->shapes().back(), images.dim(0));
    return memory.tensor(plan.output, shape).clone();
  }

  const Model& model() const { return *model_; }
  const std::shared_ptr<const Model>& shared_model() const { return model_; }
  const Configuration& configuration() const { return configuration_; }
  /// What runs for batches of `images` at the present precision: for reports.
  const Plan& plan(std::int64_t images = 1) {
    prepare(images);
    return current_->plan;
  }
  const std::vector<std::shared_ptr<const Product>>& products() const { return products_; }

 private:
  // For as long as one lives, loops called from this thread use so many threads.
  class ThreadCount {
   public:
    explicit ThreadCount(int threads) : before_(spnet::detail::requested_threads) {
      spnet::detail::requested_threads = threads;
    }
    ThreadCount(const ThreadCount&) = delete;
    ThreadCount& operator=(const ThreadCount&) = delete;
    ~ThreadCount() { spnet::detail::requested_threads = before_; }

   private:
    int before_;
  };
  // A plan that was used, and the products that it used: others may take their memory while it is not.
  struct Session {
    Configuration configuration;
    std::int64_t images;
    Plan plan;
    std::vector<std::weak_ptr<const Product>> products;
  };

  Session& session(std::int64_t images) {
    auto at = std::find_if(sessions_.begin(), sessions_.end(),
                           [&](const Session& s) { return s.images == images && s.configuration == configuration_; });
    if (at == sessions_.end()) {
      Plan plan = make_plan(*model_, configuration_, images);
      check<ValueError>(plan.memory.bytes <= options_.max_bytes, "engine: the values of ", images, " images take ",
                        plan.memory.bytes, " bytes, at most ", options_.max_bytes, " are allowed");
      sessions_.push_front({configuration_, images, std::move(plan), {}});
      at = sessions_.begin();
      if (sessions_.size() > std::max<std::size_t>(options_.plans, 1)) sessions_.pop_back();
    } else {
      sessions_.splice(sessions_.begin(), sessions_, at);
    }
    if (block_.size_bytes() < static_cast<std::size_t>(at->plan.memory.bytes)) {
      block_ = {};
      block_ = Buffer(static_cast<std::size_t>(at->plan.memory.bytes));
    }
    if (at->products.empty()) {
      at->products.resize(at->plan.products.size());
      choose_kernels(at->plan);
    }
    // What both this plan and the one before use is never given up.
    std::vector<std::shared_ptr<const Product>> products;
    products.reserve(at->products.size());
    for (std::size_t i = 0; i < at->products.size(); ++i) {
      auto product = at->products[i].lock();
      if (!product) at->products[i] = product = model_->product(at->plan.products[i]);
      products.push_back(std::move(product));
    }
    products_ = std::move(products);
    return *at;
  }

  // Sets the choice of each product: what was measured, before or now, else what is faster as a rule.
  void choose_kernels(Plan& plan) {
    for (const auto& step : plan.steps) {
      if (step->product < 0) continue;
      ProductKey& key = plan.products[static_cast<std::size_t>(step->product)];
      if (!has_choice(model_->graph(), model_->graph().nodes[key.node], key.widths)) continue;
      const ChoiceKey choice{key.node, key.widths, key.images, num_threads()};
      if (const auto known = model_->choices().find(choice)) {
        key.choice = *known;
      } else if (options_.tune) {
        key.choice = faster(plan, *step, key);
        model_->choices().set(choice, key.choice);
      }
    }
  }
  // Whatever lies in the buffers, a step takes as long.
  ops::CodesProduct faster(const Plan& plan, const Step& step, ProductKey key) const {
    const Memory memory(block_, plan.memory.offsets);
    std::memset(block_.data(), 0, block_.size_bytes());
    constexpr std::array kChoices{ops::CodesProduct::kBytes, ops::CodesProduct::kBits};
    std::array<std::shared_ptr<const Product>, 2> products;
    std::array<double, 2> best{1e9, 1e9};
    for (std::size_t i = 0; i < 2; ++i) {
      key.choice = kChoices[i];
      products[i] = model_->product(key);
    }
    constexpr int kRuns = 6;  // in turn, the first of them to warm up
    for (int run = 0; run < kRuns; ++run) {
      for (std::size_t i = 0; i < 2; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        step.run(memory, products[i].get());
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        if (run > 0) best[i] = std::min(best[i], seconds);
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
  std::list<Session> sessions_;  // the latest used first
  Session* current_ = nullptr;
  std::vector<std::shared_ptr<const Product>> products_;  // of the current plan
  Buffer block_;
};

}  // namespace runtime
}  // namespace v0
}  // namespace spnet
