// Bit-Mixer's training (arXiv 2103.17267): towards a network in which every layer may have any of the widths.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "spnet/core/random.hpp"
#include "spnet/nn/quantized_layer.hpp"
#include "spnet/nn/transitional_batch_norm.hpp"
#include "spnet/train/method.hpp"

namespace spnet {
inline namespace v0 {
namespace train {

/// The three stages. In each a width is drawn for every step [whether in the first too is not known].
enum class BitMixerStage {
  kActivations,  ///< activations quantized to the width, weights float
  kNetworkWide,  ///< both, every layer at the width
  kLayerWide,    ///< then each layer draws a width of its own, with a probability that rises from 0 to `most_redraws`
};

struct BitMixerOptions {
  std::array<std::uint64_t, 3> stage_steps{};  ///< steps of each stage; 0 leaves it out
  double most_redraws = 0.5;
  /// Configurations drawn in a step, whose gradients add up; 1 as published. More are taught by the highest precision
  /// ("top") or by nobody ("none").
  std::int64_t draws = 1;
  /// The whole network at its lowest precision learns in every step, too, as it does at its highest where that teaches
  /// (the sandwich rule of slimmable networks, arXiv 1903.05134); with "top" or "none".
  bool lowest = false;
  /// So does the whole network at every other precision, as an SP-Net's; with "top" or "none" [ours].
  bool all_widths = false;
  /// The network went through the stages before: its transitional norms stay as they are, and layers draw for themselves
  /// with `most_redraws` from the beginning of the last stage.
  bool continues = false;
};

/// The Bit-Mixer training step: one width, or one for each layer, drawn anew, forward, loss, backward, one optimizer
/// step. Where the distillation has teachers, the whole network at its highest precision learns from the labels in the
/// same step and teaches what was drawn; with "none" what was drawn learns alone, as published. What is drawn is a
/// function of the seed and the number of the step, so that a run can go on from any step. Of several draws that share
/// a result it is the last one's. Transitional norms start from the norms of whole widths when the last stage begins,
/// or at the end where it has no steps.
class BitMixerTrainer final : public TrainingMethod {
 public:
  /// Throws as TrainingMethod; ValueError where there are no steps, no layers, no draws, several draws,
  /// `lowest` or `all_widths` with another distillation than "top" or "none", or a probability outside 0..1.
  BitMixerTrainer(nn::Classifier& model, std::vector<Precision> switches, optim::Optimizer& optimizer,
                  const BitMixerOptions& options, DistillationOptions distillation = {}, std::uint64_t seed = 0)
      : TrainingMethod("BitMixerTrainer", model, std::move(switches), optimizer, std::move(distillation), seed),
        options_(options),
        layers_(nn::quantized_layers(model)) {
    check<ValueError>(options.stage_steps[0] + options.stage_steps[1] + options.stage_steps[2] > 0,
                      "BitMixerTrainer: no stage has any steps");
    check<ValueError>(!layers_.empty(), "BitMixerTrainer: the network has no quantized layer");
    check<ValueError>(options.most_redraws >= 0 && options.most_redraws <= 1, "BitMixerTrainer: probability ",
                      options.most_redraws, " given, expected 0 to 1");
    check<ValueError>(options.draws >= 1, "BitMixerTrainer: ", options.draws, " draws given, expected at least 1");
    // Plans name switches from the highest down; what is drawn comes in any order.
    const std::string& plan = this->distillation().name;
    const char* several = options.all_widths  ? "all precisions in every step"
                          : options.lowest    ? "the lowest precision in every step"
                          : options.draws > 1 ? "several draws"
                                              : nullptr;
    check<ValueError>(!several || plan == "top" || plan == "none", "BitMixerTrainer: ", several ? several : "",
                      " with distillation '", plan, "' given, expected 'top' or 'none'");
    students_.resize(results().size() + static_cast<std::size_t>(options.draws));
    mutable_results().push_back({.mixed = true});
    for (Student& student : students_) student.layers.resize(layers_.size());
  }

  /// The stage of a step; those behind the last are of the last.
  BitMixerStage stage(std::uint64_t step) const {
    for (const auto stage : {BitMixerStage::kActivations, BitMixerStage::kNetworkWide})
      if (step < end(stage)) return stage;
    return BitMixerStage::kLayerWide;
  }
  /// With which probability a layer draws for itself.
  double redraws(std::uint64_t step) const {
    if (stage(step) != BitMixerStage::kLayerWide) return 0;
    if (options_.continues) return options_.most_redraws;
    const std::uint64_t done = step - end(BitMixerStage::kNetworkWide), steps = options_.stage_steps[2];
    return options_.most_redraws * (done < steps ? static_cast<double>(done) / static_cast<double>(steps) : 1);
  }

  /// As the base says; the results end with that of layers at precisions of their own.
  const std::vector<SwitchResult>& step(const Tensor<float>& images, const Tensor<std::int32_t>& labels, double lr,
                                        std::uint64_t step) override {
    enter(step);
    const std::size_t switches = results().size() - 1;
    const bool has_teacher = distillation().name != "none";
    // A precision that learns in every step learns once.
    const auto always = [&](std::size_t width) {
      return width < switches &&
             (options_.all_widths || (has_teacher && width == 0) || (options_.lowest && width == switches - 1));
    };
    std::size_t count = 0;
    for (std::size_t width = 0; width < switches; ++width)
      if (always(width)) students_[count++].width = width;
    for (std::int64_t i = 0; i < options_.draws; ++i)
      if (!always(draw(step, i, students_[count]))) ++count;
    const Variable<float> x(images);
    for (const Lesson& lesson : begin(step, count)) {
      const Student& student = students_[lesson.student];
      SwitchResult& result = mutable_results()[student.width];
      if (student.width < switches) {
        model().set_precision(result.precision);
      } else {
        for (std::size_t i = 0; i < layers_.size(); ++i)
          layers_[i].layer->set_precision(results()[student.layers[i]].precision);
      }
      teach(lesson, result, x, labels, step);
    }
    const auto& trained = finish(lr, step);
    // Without a last stage the network can be had at any mixture all the same.
    if (options_.stage_steps[2] == 0 && step + 1 == end(BitMixerStage::kNetworkWide)) start_transitions();
    return trained;
  }

  void restored(std::uint64_t steps) override {
    if (steps > 0) set_stage(stage(steps - 1));
  }

 private:
  static constexpr std::uint64_t kDrawStream = 0x64726177;  // "draw"

  std::uint64_t end(BitMixerStage stage) const {
    std::uint64_t steps = 0;
    for (std::size_t i = 0; i <= static_cast<std::size_t>(stage); ++i) steps += options_.stage_steps[i];
    return steps;
  }

  // Makes the network ready for the stage of a step.
  void enter(std::uint64_t step) {
    const BitMixerStage now = stage(step);
    if (now == BitMixerStage::kLayerWide && step == end(BitMixerStage::kNetworkWide)) start_transitions();
    set_stage(now);
  }
  void start_transitions() {
    if (options_.continues) return;
    model().for_each([](nn::Module& module) {
      if (auto* norm = dynamic_cast<nn::TransitionalBatchNorm*>(&module)) norm->start_transitions();
    });
  }
  void set_stage(BitMixerStage now) {
    if (now == entered_) return;
    for (const nn::NamedLayer& l : layers_) l.layer->quantize_weights(now != BitMixerStage::kActivations);
    entered_ = now;
  }

  // What learns in a step.
  struct Student {
    std::size_t width = 0;            // the switch of all layers; the number of switches where each has its own
    std::vector<std::size_t> layers;  // the switch of each
  };

  std::size_t draw(std::uint64_t step, std::int64_t number, Student& student) {
    const auto switches = static_cast<std::uint32_t>(results().size() - 1);
    Random random(seed(), kDrawStream + static_cast<std::uint64_t>(number), step * 4096);
    const std::size_t width = random.below(switches);
    const double redraws = this->redraws(step);
    student.width = width;
    for (std::size_t& layer : student.layers) {
      layer = width;
      if (random.uniform() < redraws) layer = random.below(switches);
      if (layer != width) student.width = switches;
    }
    return student.width;
  }

  BitMixerOptions options_;
  std::vector<nn::NamedLayer> layers_;
  std::vector<Student> students_;  // what learns in every step, and what was drawn
  std::optional<BitMixerStage> entered_;
};

}  // namespace train
}  // namespace v0
}  // namespace spnet
