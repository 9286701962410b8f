// What the commands on packed networks share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "spnet/data/augmentation.hpp"
#include "spnet/data/open_options.hpp"
#include "spnet/runtime/model.hpp"
#include "spnet/train/evaluate.hpp"

namespace spnet::program {

/// True where `path` is a file rather than the folder of a run.
bool is_packed(const std::string& path);

/// Reads "w2a2,w4a4"; empty: none. Throws UsageError on another form.
std::vector<Precision> parse_switches_option(const std::string& switches);

/// Reads "w2a2,w4a4" as some of the network's precisions; empty: all. Throws UsageError on another form, ValueError on
/// a precision that the network was not packed for.
std::vector<Precision> chosen_switches(const runtime::Graph& graph, const std::string& switches);

/// How images become the network's input.
data::Augmentation preparation(const runtime::Graph& graph);

/// Throws FileError where the data have another number of classes than the network.
void require_classes(const runtime::Graph& graph, const data::DataSplits& splits);

/// The accuracy of each configuration on the test set of `splits`, a few images at a time, shown as it goes. Throws
/// FileError where the data has other classes.
std::vector<train::Evaluation> evaluate_packed(const std::shared_ptr<const runtime::Model>& model,
                                               const std::vector<runtime::NamedConfiguration>& configurations,
                                               const data::DataSplits& splits, std::int64_t batch);

/// Bytes of weights read at a configuration.
std::int64_t weight_bytes(const runtime::Model& model, const runtime::Configuration& configuration);

/// Prints what a packed file holds; returns the exit code.
int print_packed(const std::string& path);

}  // namespace spnet::program
