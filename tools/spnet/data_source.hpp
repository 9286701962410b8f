// The data of a run: opened, augmented and loaded as its configuration says.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "run_config.hpp"
#include "spnet/data/loader.hpp"
#include "spnet/data/sources.hpp"

namespace spnet::program {

/// Training and test set of `config.data` (or of `spec`). Throws UsageError where the name is unknown, FileError where
/// files are bad.
data::DataSplits open_data(const RunConfig& config);
data::DataSplits open_data(const RunConfig& config, const std::string& spec);

/// Completes a new run's configuration from its data: classes, image size, stem, augmentation, and the mean and
/// deviation of each channel over images from all over the training set.
void complete_from_data(RunConfig& config, const data::DataSplits& splits);

/// The stem for images of that height and width.
std::string default_stem(std::int64_t image_size);

/// The training set as the run uses it (perhaps only some images).
data::DatasetPtr training_set(const RunConfig& config, const data::DataSplits& splits);

/// Images of the training set that a run with `train_images` of its own does not use: `images` of them, the same each
/// time. Throws ValueError where there are not so many.
data::DatasetPtr held_out_set(const RunConfig& config, const data::DataSplits& splits, std::int64_t images);

/// How batches are made: augmented and shuffled for training, only resized and normalised for evaluation.
data::LoaderOptions loader_options(const RunConfig& config, bool training);

/// For train::recalibrate_norms: as training, whose augmented images are to a network more like new ones than those that
/// it knows by heart; the same each time, and in batches of one size whatever the run's are.
data::LoaderOptions recalibration_options(const RunConfig& config);

/// Prints what bad files were skipped, if any.
void report_faults(const data::Dataset& dataset);

}  // namespace spnet::program
