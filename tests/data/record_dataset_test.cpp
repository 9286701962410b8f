#include "spnet/data/record_dataset.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace spnet;

TEST_CASE("data: planar records become interleaved images, grey ones three equal channels") {
  const std::vector<std::uint8_t> planes{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  data::RecordDataset colour({"a", "b"}, {2, 2}, 3, false), grey({"a", "b"}, {3, 4}, 1, false);
  colour.append(colour.add_file("c.bin"), 0, planes.data(), 1);
  grey.append(grey.add_file("g.bin"), 4, planes.data(), 0);
  const data::Sample a = colour.get(0), b = grey.get(0);
  CHECK(a.label == 1);
  CHECK(std::vector<std::uint8_t>(a.image.data(), a.image.data() + 12) ==
        std::vector<std::uint8_t>{1, 5, 9, 2, 6, 10, 3, 7, 11, 4, 8, 12});
  CHECK(b.image.size() == data::ImageSize{3, 4});
  for (std::int64_t i = 0; i < 36; ++i) CHECK(b.image.data()[i] == i / 3 + 1);
  CHECK(grey.name(0) == "g.bin, record 4");
  CHECK_THROWS_WITH_AS(colour.append(0, 7, planes.data(), 2), "c.bin, record 7: label 2, expected 0 to 1", FileError);
  CHECK_THROWS_AS(colour.get(1), ValueError);
  CHECK_THROWS_AS(data::RecordDataset({"a"}, {2, 2}, 2, false), ValueError);
}
