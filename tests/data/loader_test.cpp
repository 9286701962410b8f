#include "spnet/data/loader.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "spnet/core/memory.hpp"
#include "spnet/data/cache.hpp"
#include "spnet/data/synthetic.hpp"

using namespace spnet;
using data::Loader;
using data::LoaderOptions;

namespace {
data::DatasetPtr pictures(std::int64_t count) {
  return std::make_shared<data::SyntheticDataset>(data::SyntheticOptions{.count = count, .size = 8});
}
const data::Augmentation kAugmentation{.padding = 1, .flip = true, .brightness = 0.2f, .mean = {0.5f, 0.5f, 0.5f}};

struct Record {
  std::int64_t epoch, number;
  std::vector<float> images;
  std::vector<std::int32_t> labels;
  std::vector<std::int64_t> indices;
  bool operator==(const Record&) const = default;
};
Record record(const data::Batch& batch) {
  const auto images = batch.images.span();
  const auto labels = batch.labels.span();
  const auto indices = batch.indices.span();
  return {batch.epoch,
          batch.number,
          {images.begin(), images.end()},
          {labels.begin(), labels.end()},
          {indices.begin(), indices.end()}};
}
// The next `batches` batches, over ends of epochs.
std::vector<Record> take(Loader& loader, int batches) {
  std::vector<Record> out;
  while (static_cast<int>(out.size()) < batches)
    if (auto batch = loader.next()) out.push_back(record(*batch));
  return out;
}

// Image 5 is bad: skipped, wrongly labelled, wrongly sized or unreadable.
class Faulty final : public data::Dataset {
 public:
  enum class Fault { kSkipped, kLabel, kSize, kThrows };
  Faulty(std::int64_t count, Fault fault) : count_(count), fault_(fault) {}
  std::int64_t size() const override { return count_; }
  const std::vector<std::string>& classes() const override { return classes_; }
  data::ImageSize image_size() const override { return {2, 2}; }
  std::string name(std::int64_t index) const override { return message("picture", index, ".png"); }
  bool read(std::int64_t index, data::Sample& out) const override {
    const bool bad = index == 5;
    check<FileError>(!(bad && fault_ == Fault::kThrows), name(index), ": cut off");
    out.image.resize(bad && fault_ == Fault::kSize ? data::ImageSize{4, 3} : data::ImageSize{2, 2});
    std::fill_n(out.image.data(), out.image.bytes(), static_cast<std::uint8_t>(index));
    out.label = bad && fault_ == Fault::kLabel ? 2 : static_cast<std::int32_t>(index % 2);
    return !(bad && fault_ == Fault::kSkipped);
  }

 private:
  std::int64_t count_;
  Fault fault_;
  std::vector<std::string> classes_{"even", "odd"};
};
}  // namespace

TEST_CASE("data: any number of workers delivers the same batches") {
  LoaderOptions options{.batch_size = 7, .workers = 0, .seed = 3, .augmentation = kAugmentation};
  Loader plain(pictures(45), options);
  CHECK(plain.batches_per_epoch() == 7);
  const std::vector<Record> expected = take(plain, 24);
  for (int workers : {1, 2, 4})
    for (int prefetch : {1, 3, 16}) {
      options.workers = workers;
      options.prefetch = prefetch;
      Loader loader(pictures(45), options);
      CHECK(take(loader, 24) == expected);
    }
}

TEST_CASE("data: an epoch holds every image once, in an order of its own, and its end is told once") {
  Loader loader(pictures(45), {.batch_size = 7});
  std::vector<std::vector<std::int64_t>> orders;
  for (int epoch = 0; epoch < 3; ++epoch) {
    std::vector<std::int64_t> order;
    std::int64_t number = 0;
    while (auto batch = loader.next()) {
      CHECK(batch->epoch == epoch);
      CHECK(batch->number == number++);
      CHECK(batch->images.shape() == Shape{number == 7 ? 3 : 7, 8, 8, 3});
      for (std::int64_t i = 0; i < batch->size(); ++i) {
        order.push_back(batch->indices(i));
        CHECK(batch->labels(i) == batch->indices(i) % 10);
      }
    }
    CHECK(number == 7);
    CHECK(std::set<std::int64_t>(order.begin(), order.end()).size() == 45);
    orders.push_back(order);
  }
  CHECK(orders[0] != orders[1]);
  CHECK(orders[1] != orders[2]);
  CHECK_FALSE(std::is_sorted(orders[0].begin(), orders[0].end()));
}

TEST_CASE("data: without shuffling images come in order; drop_last leaves the incomplete batch out") {
  Loader loader(pictures(20), {.batch_size = 8, .shuffle = false, .drop_last = true, .workers = 2});
  CHECK(loader.batches_per_epoch() == 2);
  for (int epoch = 0; epoch < 2; ++epoch) {
    std::int64_t index = 0;
    while (auto batch = loader.next())
      for (std::int64_t i = 0; i < batch->size(); ++i) CHECK(batch->indices(i) == index++);
    CHECK(index == 16);
  }
}

TEST_CASE("data: a loader resumes anywhere, bit for bit") {
  const LoaderOptions options{.batch_size = 6, .workers = 2, .seed = 11, .augmentation = kAugmentation};
  Loader whole(pictures(20), options);
  std::vector<Record> batches;
  std::vector<bool> ends;
  std::vector<data::LoaderPosition> positions;
  for (int call = 0; call < 15; ++call) {
    positions.push_back(whole.position());
    const auto batch = whole.next();
    ends.push_back(!batch);
    batches.push_back(batch ? record(*batch) : Record{});
  }
  CHECK(positions[4] == data::LoaderPosition{0, 4});
  CHECK(ends[4]);
  CHECK(positions[5] == data::LoaderPosition{1, 0});
  Loader used(pictures(20), options);
  for (std::size_t from : {0u, 2u, 4u, 5u, 7u}) {
    Loader fresh(pictures(20), options);
    for (Loader* loader : {&fresh, &used}) {
      loader->seek(positions[from]);
      for (std::size_t call = from; call < 15; ++call) {
        CHECK(loader->position() == positions[call]);
        const auto batch = loader->next();
        REQUIRE(!batch == ends[call]);
        if (batch) CHECK(record(*batch) == batches[call]);
      }
    }
  }
  CHECK_THROWS_WITH_AS(used.seek({0, 5}), "Loader: position (epoch 0, batch 5) given, an epoch has 4 batches",
                       ValueError);
  CHECK_THROWS_AS(used.seek({-1, 0}), ValueError);
}

TEST_CASE("data: epochs of one batch, and queues longer than an epoch") {
  LoaderOptions options{.batch_size = 8, .workers = 0, .seed = 1};
  Loader plain(pictures(5), options);
  options.workers = 4;
  options.prefetch = 9;
  Loader loader(pictures(5), options);
  CHECK(take(loader, 12) == take(plain, 12));
}

TEST_CASE("data: seeds change order and augmentation") {
  Loader a(pictures(30), {.batch_size = 30, .seed = 1}), b(pictures(30), {.batch_size = 30, .seed = 2});
  CHECK(take(a, 1)[0].indices != take(b, 1)[0].indices);
}

TEST_CASE("data: a skipped image leaves its batch smaller; a batch without an image is passed over") {
  for (int workers : {0, 1, 3}) {
    const auto set = std::make_shared<Faulty>(8, Faulty::Fault::kSkipped);
    Loader loader(set, {.batch_size = 3, .shuffle = false, .workers = workers});
    std::vector<std::int64_t> sizes;
    while (auto batch = loader.next()) sizes.push_back(batch->images.dim(0));
    CHECK(sizes == std::vector<std::int64_t>{3, 2, 2});
    Loader single(set, {.batch_size = 1, .shuffle = false, .workers = workers});
    std::vector<std::int64_t> numbers;
    while (auto batch = single.next()) numbers.push_back(batch->number);
    CHECK(numbers == std::vector<std::int64_t>{0, 1, 2, 3, 4, 6, 7});
    CHECK(single.position() == data::LoaderPosition{1, 0});
  }
}

TEST_CASE("data: what goes wrong in a worker surfaces in next(), in its place, naming the image") {
  for (int workers : {0, 1, 3}) {
    const LoaderOptions options{.batch_size = 2, .shuffle = false, .workers = workers};
    Loader broken(std::make_shared<Faulty>(12, Faulty::Fault::kThrows), options);
    CHECK(broken.next());
    CHECK(broken.next());
    CHECK_THROWS_WITH_AS(broken.next(), "picture5.png: cut off", FileError);
    CHECK_THROWS_AS(broken.next(), FileError);
    broken.seek({0, 3});
    CHECK(broken.next()->indices(0) == 6);

    Loader labels(std::make_shared<Faulty>(12, Faulty::Fault::kLabel), options);
    labels.seek({0, 2});
    CHECK_THROWS_WITH_AS(labels.next(), "picture5.png: label 2, expected 0 to 1", ValueError);
    Loader sizes(std::make_shared<Faulty>(12, Faulty::Fault::kSize), options);
    sizes.seek({0, 2});
    CHECK_THROWS_WITH_AS(sizes.next(),
                         "picture5.png: the image is 4x3, expected 2x2; give the size that all images are to have",
                         ShapeError);
    LoaderOptions resizing = options;
    resizing.augmentation.size = {2, 2};
    Loader resized(std::make_shared<Faulty>(12, Faulty::Fault::kSize), resizing);
    resized.seek({0, 2});
    CHECK(resized.next()->images.shape() == Shape{2, 2, 2, 3});
  }
}

TEST_CASE("data: a loader may be dropped at any moment") {
  for (int workers : {1, 4})
    for (int batches : {0, 1, 5}) {
      Loader loader(pictures(64), {.batch_size = 2, .workers = workers, .prefetch = 3});
      take(loader, batches);
    }
}

TEST_CASE("data: loading does without new memory after the first epochs") {
  const auto set = std::make_shared<data::CachedDataset>(pictures(60), 1 << 20);
  Loader loader(set, {.batch_size = 8, .workers = 2, .augmentation = kAugmentation});
  for (int epoch = 0; epoch < 3; ++epoch)
    while (loader.next()) {
    }
  const std::size_t before = MemoryPool::global().statistics().heap_allocations;
  for (int epoch = 0; epoch < 5; ++epoch)
    while (loader.next()) {
    }
  // How many batches are alive at once depends on timing, so that a few more blocks may be asked for, once.
  CHECK(MemoryPool::global().statistics().heap_allocations <= before + 6);
}

TEST_CASE("data: loader options outside their range are refused") {
  CHECK_THROWS_WITH_AS(Loader(nullptr, {}), "Loader: the data set is empty", ValueError);
  CHECK_THROWS_WITH_AS(Loader(pictures(5), {.batch_size = 0}), "Loader: batch_size 0 given, expected 1 to 2^20",
                       ValueError);
  CHECK_THROWS_AS(Loader(pictures(5), {.workers = -1}), ValueError);
  CHECK_THROWS_AS(Loader(pictures(5), {.prefetch = 0}), ValueError);
  CHECK_THROWS_WITH_AS(Loader(pictures(5), {.batch_size = 8, .drop_last = true}),
                       "Loader: 5 images do not fill a batch of 8, and drop_last leaves incomplete ones out",
                       ValueError);
  CHECK_THROWS_AS(Loader(pictures(5), {.augmentation = {.padding = -1}}), ValueError);
}
