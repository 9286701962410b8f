// Batches for a training or evaluation loop, prepared ahead by threads of their own.
#pragma once

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/data/augmentation.hpp"
#include "spnet/data/dataset.hpp"
#include "spnet/data/permutation.hpp"
#include "spnet/data/random_streams.hpp"
#include "spnet/tensor/tensor.hpp"

namespace spnet {
inline namespace v0 {
namespace data {

/// images [N,H,W,3], labels [N] in 0..classes − 1, indices [N] into the data set. N is the batch size, except in the
/// last batch of an epoch and where bad images were skipped.
struct Batch {
  Tensor<float> images;
  Tensor<std::int32_t> labels;
  Tensor<std::int64_t> indices;
  std::int64_t epoch = 0;
  std::int64_t number = 0;  ///< within the epoch
  std::int64_t size() const { return labels.size(); }
};

/// Where a loader stands: the next batch it delivers. All that a checkpoint has to keep of it.
struct LoaderPosition {
  std::int64_t epoch = 0;
  std::int64_t batch = 0;
  friend bool operator==(const LoaderPosition&, const LoaderPosition&) = default;
};

struct LoaderOptions {
  std::int64_t batch_size = 128;
  bool shuffle = true;     ///< a new order every epoch
  bool drop_last = false;  ///< leaves out an incomplete last batch
  int workers = 1;         ///< threads, 0 to 64; 0 prepares a batch when it is asked for
  int prefetch = 4;        ///< batches prepared ahead, 1 to 1024
  std::uint64_t seed = 0;
  Augmentation augmentation{};
};

/// Delivers a data set batch by batch, epoch after epoch. The batches are a pure function of (data set, options,
/// position): neither the number of workers nor timing changes a bit. One thread at a time may call its members.
class Loader {
 public:
  /// Throws ValueError where an option is outside its range or the set holds no batch.
  Loader(DatasetPtr dataset, const LoaderOptions& options) : dataset_(std::move(dataset)), options_(options) {
    const LoaderOptions& o = options_;
    check<ValueError>(dataset_ && dataset_->size() > 0, "Loader: the data set is empty");
    check<ValueError>(o.batch_size >= 1 && o.batch_size <= (1 << 20), "Loader: batch_size ", o.batch_size,
                      " given, expected 1 to 2^20");
    check<ValueError>(o.workers >= 0 && o.workers <= 64, "Loader: ", o.workers, " workers given, expected 0 to 64");
    check<ValueError>(o.prefetch >= 1 && o.prefetch <= 1024, "Loader: prefetch ", o.prefetch,
                      " given, expected 1 to 1024");
    const std::int64_t images = dataset_->size();
    batches_ = o.drop_last ? images / o.batch_size : (images + o.batch_size - 1) / o.batch_size;
    check<ValueError>(batches_ > 0, "Loader: ", images, " images do not fill a batch of ", o.batch_size,
                      ", and drop_last leaves incomplete ones out");
    image_size_ = o.augmentation.size.known() ? o.augmentation.size : dataset_->image_size();
    own_.emplace(o.augmentation, image_size_);  // checks the options, too
    slots_.resize(static_cast<std::size_t>(std::max(o.prefetch, 1)));
    start();
  }
  ~Loader() { stop(); }
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  const Dataset& dataset() const { return *dataset_; }
  const LoaderOptions& options() const { return options_; }
  /// Height and width of the batches' images.
  ImageSize image_size() const { return image_size_; }
  std::int64_t batches_per_epoch() const { return batches_; }

  /// The next batch, or nothing at the end of an epoch, once; the call after that begins the next epoch. Throws what
  /// reading the images throws (FileError, ShapeError), and again at each call until `seek`. A batch of which every
  /// image was skipped is passed over.
  std::optional<Batch> next() {
    for (;;) {
      if (position_.batch == batches_) {
        position_ = {position_.epoch + 1, 0};
        return std::nullopt;
      }
      Batch batch = workers_.empty() ? make_batch(position_, *own_, sample_) : take();
      ++position_.batch;
      if (batch.size() > 0) return batch;
    }
  }

  /// The position of the next batch; its `batch` is batches_per_epoch() where the end of the epoch has not been told
  /// yet.
  LoaderPosition position() const { return position_; }
  /// Goes to `position`, from where the batches are those of an uninterrupted run. Throws ValueError outside the range.
  void seek(LoaderPosition position) {
    check<ValueError>(position.epoch >= 0 && position.epoch < (std::int64_t{1} << 40) && position.batch >= 0 &&
                          position.batch <= batches_,
                      "Loader: position (epoch ", position.epoch, ", batch ", position.batch, ") given, an epoch has ",
                      batches_, " batches");
    stop();
    position_ = position;
    start();
  }

 private:
  // Batch `ticket` counts from the last start; it lives in slot ticket mod prefetch.
  struct Slot {
    bool ready = false;
    Batch batch;
    std::exception_ptr error;
  };

  void start() {
    begin_ = position_;
    claimed_ = taken_ = 0;
    stopping_ = false;
    for (Slot& slot : slots_) slot = {};
    try {
      for (int i = 0; i < options_.workers; ++i) workers_.emplace_back([this] { work(); });
    } catch (...) {
      stop();
      throw;
    }
  }
  void stop() noexcept {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    room_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
  }

  LoaderPosition position_of(std::int64_t ticket) const {
    // A start at the end of an epoch continues with the next one.
    const std::int64_t number = begin_.batch + ticket;
    return {begin_.epoch + number / batches_, number % batches_};
  }

  void work() {
    Augmenter augmenter = *own_;
    Sample sample;
    std::unique_lock lock(mutex_);
    for (;;) {
      room_.wait(lock, [&] { return stopping_ || claimed_ < taken_ + static_cast<std::int64_t>(slots_.size()); });
      if (stopping_) return;
      const std::int64_t ticket = claimed_++;
      lock.unlock();
      Slot made;
      try {
        made.batch = make_batch(position_of(ticket), augmenter, sample);
      } catch (...) {
        made.error = std::current_exception();
      }
      made.ready = true;
      lock.lock();
      slots_[static_cast<std::size_t>(ticket) % slots_.size()] = std::move(made);
      filled_.notify_one();
    }
  }

  Batch take() {
    std::unique_lock lock(mutex_);
    Slot& slot = slots_[static_cast<std::size_t>(taken_) % slots_.size()];
    filled_.wait(lock, [&] { return slot.ready; });
    if (slot.error) std::rethrow_exception(slot.error);
    Batch batch = std::move(slot.batch);
    slot = {};
    ++taken_;
    lock.unlock();
    room_.notify_one();
    return batch;
  }

  // The order of an epoch; the two used last are kept, since workers run ahead into the next.
  std::shared_ptr<const Permutation> order(std::int64_t epoch) {
    std::lock_guard lock(order_mutex_);
    Order& kept = orders_[static_cast<std::size_t>(epoch & 1)];
    if (!kept.indices || kept.epoch != epoch) {
      const Random random(purpose_seed(options_.seed, Purpose::kShuffle), static_cast<std::uint64_t>(epoch));
      kept = {epoch, std::allocate_shared<const Permutation>(PoolAllocator<Permutation>(),
                                                             permutation(dataset_->size(), random))};
    }
    return kept.indices;
  }

  Batch make_batch(LoaderPosition at, Augmenter& augmenter, Sample& sample) {
    const std::shared_ptr<const Permutation> shuffled = options_.shuffle ? order(at.epoch) : nullptr;
    const std::int64_t first = at.batch * options_.batch_size;
    const std::int64_t wanted = std::min(options_.batch_size, dataset_->size() - first);
    const auto classes = static_cast<std::int64_t>(dataset_->classes().size());
    Batch out;
    out.images = Tensor<float>({wanted, image_size_.height, image_size_.width, Image::kChannels});
    out.labels = Tensor<std::int32_t>({wanted});
    out.indices = Tensor<std::int64_t>({wanted});
    out.epoch = at.epoch;
    out.number = at.batch;
    const std::int64_t image_elements = image_size_.height * image_size_.width * Image::kChannels;
    std::int64_t count = 0;
    for (std::int64_t i = first; i < first + wanted; ++i) {
      const std::int64_t index = shuffled ? (*shuffled)[static_cast<std::size_t>(i)] : i;
      if (!dataset_->read(index, sample)) continue;
      check<ValueError>(sample.label >= 0 && sample.label < classes, dataset_->name(index), ": label ", sample.label,
                        ", expected 0 to ", classes - 1);
      check<ShapeError>(sample.image.size() == image_size_ || options_.augmentation.size.known(), dataset_->name(index),
                        ": the image is ", sample.image.size(), ", expected ", image_size_,
                        "; give the size that all images are to have");
      augmenter.apply(sample.image, augmentation_random(options_.seed, at.epoch, index),
                      out.images.data() + count * image_elements);
      out.labels.data()[count] = sample.label;
      out.indices.data()[count++] = index;
    }
    if (count < wanted) {
      out.images = out.images.narrow(0, 0, count);
      out.labels = out.labels.narrow(0, 0, count);
      out.indices = out.indices.narrow(0, 0, count);
    }
    return out;
  }

  struct Order {
    std::int64_t epoch = -1;
    std::shared_ptr<const Permutation> indices;
  };

  DatasetPtr dataset_;
  LoaderOptions options_;
  std::int64_t batches_ = 0;
  ImageSize image_size_;
  std::optional<Augmenter> own_;
  Sample sample_;
  LoaderPosition position_, begin_;

  std::mutex order_mutex_;
  std::array<Order, 2> orders_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable room_, filled_;
  std::vector<Slot> slots_;
  std::int64_t claimed_ = 0, taken_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace data
}  // namespace v0
}  // namespace spnet
