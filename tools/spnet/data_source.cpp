#include "data_source.hpp"

#include <array>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "commands.hpp"
#include "image_codecs.hpp"
#include "spnet/core/parallel.hpp"
#include "spnet/data/permutation.hpp"

namespace spnet::program {

namespace {

constexpr std::int64_t kStatisticsImages = 10000;
constexpr std::uint64_t kSubsetStream = 0x73756273;  // "subs"

// Mean and standard deviation of each channel, in 0..1, over images from all over the set: a folder has them by class.
void measure_channels(RunConfig& config, const data::Dataset& dataset) {
  std::array<double, 3> sum{}, squares{};
  double pixels = 0;
  data::Sample sample;
  const std::int64_t count = std::min(dataset.size(), kStatisticsImages);
  for (std::int64_t i = 0; i < count; ++i) {
    if (!dataset.read(i * dataset.size() / count, sample)) continue;
    const std::uint8_t* p = sample.image.data();
    for (std::int64_t at = 0; at < sample.image.bytes(); at += 3)
      for (std::size_t c = 0; c < 3; ++c) {
        const double value = p[at + static_cast<std::int64_t>(c)] / 255.0;
        sum[c] += value;
        squares[c] += value * value;
      }
    pixels += static_cast<double>(sample.image.bytes()) / 3;
  }
  check<FileError>(pixels > 0, "data: ", config.data, " has no image that can be read");
  config.mean.clear();
  config.deviation.clear();
  for (std::size_t c = 0; c < 3; ++c) {
    const double mean = sum[c] / pixels;
    config.mean.push_back(static_cast<float>(mean));
    config.deviation.push_back(static_cast<float>(std::sqrt(std::max(squares[c] / pixels - mean * mean, 1e-4))));
  }
}

}  // namespace

data::DataSplits open_data(const RunConfig& config, const std::string& spec) {
  try {
    return data::open_dataset(spec, image_codecs(), {.skip_bad = config.skip_bad});
  } catch (const ValueError& error) {
    throw UsageError(error.what());  // what is wrong with files comes as a FileError
  }
}
data::DataSplits open_data(const RunConfig& config) { return open_data(config, config.data); }

std::string default_stem(std::int64_t image_size) {
  return image_size <= 40 ? "cifar" : image_size <= 96 ? "tiny-imagenet" : "imagenet";
}

void complete_from_data(RunConfig& config, const data::DataSplits& splits) {
  config.classes = splits.train->classes();
  if (config.image_size == 0) {
    const data::ImageSize size = splits.train->image_size();
    check<ValueError>(size.known(), "train: the images of ", config.data, " differ in size; give --image-size");
    check<ValueError>(size.height == size.width, "train: the images of ", config.data, " are ", size,
                      ", not square; give --image-size");
    config.image_size = size.height;
  }
  if (config.stem.empty())
    config.stem = default_stem(config.image_size);
  if (config.augment == "auto") {
    const bool digits = config.data.starts_with("mnist");
    config.augment = digits ? "crop" : config.image_size <= 96 ? "crop-flip" : "resized-crop-jitter";
  }
  measure_channels(config, *splits.train);
}

namespace {

// Those from `begin` of a shuffle of the training set, the same for every run: what one run was trained on, another that
// starts from it holds out no part of.
data::DatasetPtr shuffled_part(const data::DataSplits& splits, std::int64_t begin, std::int64_t count) {
  const auto order = data::permutation(splits.train->size(), Random(/*seed=*/1, kSubsetStream));
  std::vector<std::int64_t> chosen(order.begin() + begin, order.begin() + begin + count);
  std::sort(chosen.begin(), chosen.end());
  return std::make_shared<data::Subset>(splits.train, std::move(chosen));
}

}  // namespace

data::DatasetPtr training_set(const RunConfig& config, const data::DataSplits& splits) {
  if (config.train_images == 0 || config.train_images >= splits.train->size()) return splits.train;
  return shuffled_part(splits, 0, config.train_images);
}

data::DatasetPtr held_out_set(const RunConfig& config, const data::DataSplits& splits, std::int64_t images) {
  const std::int64_t used = config.train_images == 0 ? splits.train->size() : config.train_images;
  check<ValueError>(images > 0 && used + images <= splits.train->size(), images, " held-out images asked for, ", used,
                    " are trained on, and the training set has ", splits.train->size());
  return shuffled_part(splits, used, images);
}

data::LoaderOptions loader_options(const RunConfig& config, bool training) {
  data::Augmentation a;
  a.size = {config.image_size, config.image_size};
  for (std::size_t c = 0; c < 3; ++c) {
    a.mean[c] = config.mean.at(c);
    a.deviation[c] = config.deviation.at(c);
  }
  if (config.augment == "crop" || config.augment == "crop-flip") a.padding = static_cast<int>(config.image_size / 8);
  a.flip = config.augment != "none" && config.augment != "crop";
  a.random_resized_crop = config.augment.starts_with("resized-crop");
  if (a.random_resized_crop) a.centre_share = 0.875f;
  if (config.augment == "resized-crop-jitter") a.brightness = a.contrast = a.saturation = 0.4f;
  return {.batch_size = config.batch,
          .shuffle = training,
          .drop_last = training,  // batch norm of a few leftover images would be noise
          .seed = config.seed,
          .augmentation = training ? a : a.evaluation()};
}

data::LoaderOptions recalibration_options(const RunConfig& config) {
  data::LoaderOptions options = loader_options(config, /*training=*/true);
  options.drop_last = false;
  options.batch_size = 128;
  return options;
}

void report_faults(const data::Dataset& dataset) {
  for (const auto& fault : dataset.faults())
    std::fprintf(stderr, "skipped %s: %s\n", fault.name.c_str(), fault.reason.c_str());
}

}  // namespace spnet::program
