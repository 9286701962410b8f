#include "spnet/io/safetensors.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "repair_checksum.hpp"
#include "../files/text_files.hpp"

using namespace spnet;
using namespace spnet::test;
using io::TensorFile;

namespace {

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto span = std::as_bytes(std::span(text));
  return {span.begin(), span.end()};
}

// A file from a header, taken as it is, and data.
std::string file_of(const std::string& header, const std::string& data = {}) {
  const std::uint64_t length = header.size();
  std::string out(sizeof length, '\0');
  std::memcpy(out.data(), &length, sizeof length);
  return out + header + data;
}

std::string error_for(const std::string& file) {
  return error_of<FileError>([&] { TensorFile::parse("bad", bytes_of(file)); });
}

TensorFile small_file() {
  TensorFile file;
  file.put("w", Tensor<float>::from({2, 1}, {1.5f, -2.0f}));
  file.put("n", Tensor<std::int8_t>::from({1}, {std::int8_t{-7}}));
  file.set_metadata("k", "v");
  return file;
}

template <class T>
void put_samples(TensorFile& file, const std::string& name) {
  file.put(name, Tensor<T>::from({2, 2}, {static_cast<T>(0.0f), static_cast<T>(1.0f), std::numeric_limits<T>::lowest(),
                                          std::numeric_limits<T>::max()}));
}

template <class T>
void check_samples(const TensorFile& file, const std::string& name) {
  const Tensor<T> t = file.get<T>(name, {2, 2});
  CHECK(t(0, 0) == static_cast<T>(0.0f));
  CHECK(t(0, 1) == static_cast<T>(1.0f));
  CHECK(t(1, 0) == std::numeric_limits<T>::lowest());
  CHECK(t(1, 1) == std::numeric_limits<T>::max());
}

}  // namespace

TEST_CASE("io: tensors of every type and texts survive a file") {
  TemporaryFolder folder;
  TensorFile file;
  put_samples<double>(file, "f64");
  put_samples<float>(file, "f32");
  put_samples<std::int64_t>(file, "i64");
  put_samples<std::uint64_t>(file, "u64");
  put_samples<std::int32_t>(file, "i32");
  put_samples<std::uint32_t>(file, "u32");
  put_samples<std::int16_t>(file, "i16");
  put_samples<std::uint16_t>(file, "u16");
  put_samples<std::int8_t>(file, "i8");
  put_samples<std::uint8_t>(file, "u8");
  file.put("bf16", Tensor<bf16>::from({2}, {bf16(1.0f), bf16(-3.5f)}));
  file.put("bool", Tensor<bool>::from({3}, {true, false, true}));
  file.put("scalar", Tensor<float>::scalar(42));
  file.put("empty", Tensor<float>({0, 3}));
  file.put("name with \"quotes\", / and ü", Tensor<float>::scalar(1));
  const float strange[] = {std::numeric_limits<float>::quiet_NaN(), -0.0f, std::numeric_limits<float>::infinity(),
                           1e-45f};
  file.put("strange", Tensor<float>::from({4}, std::span(strange)));
  file.set_metadata("config", "{\"a\": [1, 2]}\n\t\x01 \"spnet.checksum\":\"");
  file.set_metadata("", "");
  file.save(folder / "f");

  const TensorFile back = TensorFile::load(folder / "f", {.require_checksum = true});
  CHECK(back.was_verified());
  CHECK(back.names() == file.names());
  CHECK(back.size() == 16);
  check_samples<double>(back, "f64");
  check_samples<float>(back, "f32");
  check_samples<std::int64_t>(back, "i64");
  check_samples<std::uint64_t>(back, "u64");
  check_samples<std::int32_t>(back, "i32");
  check_samples<std::uint32_t>(back, "u32");
  check_samples<std::int16_t>(back, "i16");
  check_samples<std::uint16_t>(back, "u16");
  check_samples<std::int8_t>(back, "i8");
  check_samples<std::uint8_t>(back, "u8");
  CHECK(static_cast<float>(back.get<bf16>("bf16")(1)) == -3.5f);
  CHECK(back.get<bool>("bool")(2));
  CHECK(!back.get<bool>("bool")(1));
  CHECK(back.get<float>("scalar", {}).item() == 42);
  CHECK(back.get<float>("empty").shape() == Shape{0, 3});
  CHECK(back.get<float>("name with \"quotes\", / and ü").item() == 1);
  CHECK(std::memcmp(back.get<float>("strange").data(), strange, sizeof strange) == 0);
  CHECK(back.metadata() == file.metadata());
  CHECK(back.metadata("config") == file.metadata("config"));
  CHECK(back.to_bytes() == file.to_bytes());
}

TEST_CASE("io: the same content makes the same bytes, whatever the order it came in") {
  TensorFile a = small_file();
  TensorFile b;
  b.set_metadata("k", "v");
  b.put("n", Tensor<std::int8_t>::from({1}, {std::int8_t{-7}}));
  b.put("w", Tensor<float>::from({1, 2}, {1.5f, -2.0f}).transpose(0, 1));
  CHECK(a.to_bytes() == b.to_bytes());
  b.put("x", Tensor<float>::scalar(0));
  CHECK(a.to_bytes() != b.to_bytes());
}

TEST_CASE("io: a file is laid out as the format asks, with data on 64 bytes") {
  const std::vector<std::byte> bytes = small_file().to_bytes();
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  CHECK((length + 8) % 64 == 0);
  CHECK(bytes.size() == length + 8 + 9);
  const std::string header(reinterpret_cast<const char*>(bytes.data()) + 8, length);
  const std::size_t digits = header.find("\"spnet.checksum\":\"") + 18;
  const std::string expected =
      "{\"__metadata__\":{\"k\":\"v\",\"spnet.checksum\":\"" + header.substr(digits, 16) +
      "\",\"spnet.format\":\"1\"},\"w\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
      "\"n\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[8,9]}}";
  CHECK(header.substr(0, expected.size()) == expected);
  CHECK(header.find_first_not_of(' ', expected.size()) == header.npos);
}

TEST_CASE("io: a file cut at any byte, lengthened, or with any bit flipped is refused") {
  const std::vector<std::byte> whole = small_file().to_bytes();
  CHECK_NOTHROW(TensorFile::parse("f", whole));
  for (std::size_t size = 0; size < whole.size(); ++size)
    CHECK_THROWS_AS(TensorFile::parse("f", std::span(whole).first(size)), FileError);
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    CAPTURE(bit);
    std::vector<std::byte> bytes = whole;
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    CHECK_THROWS_AS(TensorFile::parse("f", bytes), FileError);
  }
  for (char extra : {'\0', ' ', 'x'}) {
    std::vector<std::byte> bytes = whole;
    bytes.push_back(static_cast<std::byte>(extra));
    CHECK_THROWS_AS(TensorFile::parse("f", bytes), FileError);
  }
}

TEST_CASE("io: a damaged file on disk is named") {
  TemporaryFolder folder;
  small_file().save(folder / "f");
  std::string text = text_of(folder / "f");
  text.back() ^= 1;
  write_text(folder / "f", text);
  CHECK(error_of<FileError>([&] { TensorFile::load(folder / "f"); }) ==
        (folder / "f") + ": checksum does not match; the file is damaged, or another program changed it");
  CHECK_THROWS_WITH_AS(TensorFile::load(folder / "f", {.max_bytes = 8}), doctest::Contains("at most 8 are read"),
                       FileError);
  CHECK_THROWS_WITH_AS(TensorFile::load(folder / "none"), doctest::Contains("No such file or directory"), FileError);
}

TEST_CASE("io: files of other programs are read, unless a checksum is asked for") {
  // Names in no order, data in another, blanks, a newline, padding, escapes.
  const std::string text = file_of(
      "{\n \"b\" : {\"shape\":[2], \"data_offsets\":[4,12], \"dtype\":\"F32\"}, \"\\u0061\":{\"dtype\":\"BF16\","
      "\"shape\":[1,2],\"data_offsets\":[0,4]}, \"__metadata__\":{\"format\":\"pt\"} }   ",
      std::string("\x80\x3f\x00\xc0", 4) + std::string("\0\0\x80\x3f\0\0\0\x40", 8));
  const TensorFile file = TensorFile::parse("f", bytes_of(text));
  CHECK(!file.was_verified());
  CHECK(file.names() == std::vector<std::string>{"a", "b"});
  CHECK(file.get<float>("b")(1) == 2.0f);
  CHECK(static_cast<float>(file.get<bf16>("a")(0, 1)) == -2.0f);
  CHECK(file.get_float("a")(0, 0) == 1.0f);
  CHECK(file.metadata("format") == "pt");
  CHECK(file.dtype("a") == io::DType::kBF16);
  CHECK(file.shape("a") == Shape{1, 2});
  CHECK_THROWS_WITH_AS(TensorFile::parse("f", bytes_of(text), {.require_checksum = true}),
                       "f: no checksum; not written by spnet", FileError);
  CHECK(TensorFile::parse("f", bytes_of(file_of("{}"))).size() == 0);
}

TEST_CASE("io: half precision is read as float") {
  std::string data;
  const std::vector<std::pair<std::uint16_t, float>> halves{{0x3C00, 1.0f},
                                                            {0xC000, -2.0f},
                                                            {0x7BFF, 65504.0f},
                                                            {0x0400, 6.103515625e-05f},
                                                            {0x0001, 5.9604644775390625e-08f},
                                                            {0x03FF, 6.097555160522461e-05f},
                                                            {0x8000, -0.0f},
                                                            {0x3555, 0.333251953125f},
                                                            {0x7C00, std::numeric_limits<float>::infinity()},
                                                            {0xFC00, -std::numeric_limits<float>::infinity()}};
  for (const auto& [half, value] : halves) data.append(reinterpret_cast<const char*>(&half), 2);
  const TensorFile file = TensorFile::parse(
      "f", bytes_of(file_of("{\"h\":{\"dtype\":\"F16\",\"shape\":[10],\"data_offsets\":[0,20]}}", data)));
  const Tensor<float> out = file.get_float("h");
  for (std::size_t i = 0; i < halves.size(); ++i) {
    CAPTURE(i);
    CHECK(std::bit_cast<std::uint32_t>(out(static_cast<std::int64_t>(i))) ==
          std::bit_cast<std::uint32_t>(halves[i].second));
  }
  TensorFile doubles;
  doubles.put("d", Tensor<double>::scalar(0.5));
  doubles.put("i", Tensor<std::int32_t>::scalar(1));
  CHECK(doubles.get_float("d").item() == 0.5f);
  CHECK_THROWS_WITH_AS(doubles.get_float("i"), "TensorFile: tensor 'i' holds I32, F32 expected", FileError);
}

TEST_CASE("io: a wrong request names the file, the tensor and both types or shapes") {
  const TensorFile file = TensorFile::parse("net.safetensors", small_file().to_bytes());
  CHECK_THROWS_WITH_AS(file.get<float>("v"), "net.safetensors: no tensor 'v'", FileError);
  CHECK_THROWS_WITH_AS(file.get<double>("w"), "net.safetensors: tensor 'w' holds F32, F64 expected", FileError);
  CHECK_THROWS_WITH_AS(file.get<float>("w", {1, 2}), "net.safetensors: tensor 'w' has shape [2,1], [1,2] expected",
                       FileError);
  CHECK_THROWS_WITH_AS(file.metadata("q"), "net.safetensors: no metadata 'q'", FileError);
  const TensorFile bad = TensorFile::parse(
      "f", bytes_of(file_of("{\"b\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[0,2]}}", "\x01\x02")));
  CHECK_THROWS_WITH_AS(bad.get<bool>("b"), "f: tensor 'b' holds a BOOL of value 2", FileError);
}

TEST_CASE("io: what cannot be written is refused when it is put") {
  TensorFile file = small_file();
  const auto one = Tensor<float>::scalar(1);
  CHECK_THROWS_WITH_AS(file.put("w", one), "TensorFile::put: tensor 'w' is there already", ValueError);
  CHECK_THROWS_WITH_AS(file.put("x", Tensor<float>()), "TensorFile::put: tensor 'x' is undefined", ValueError);
  for (const std::string& name :
       {std::string(), std::string("__metadata__"), std::string("a\nb"), std::string(513, 'x')})
    CHECK_THROWS_WITH_AS(file.put(name, one), doctest::Contains("is no tensor name"), ValueError);
  CHECK_THROWS_WITH_AS(file.set_metadata("spnet.checksum", ""), doctest::Contains("is reserved"), ValueError);
  file.set_metadata("k", "\xFF");
  CHECK_THROWS_WITH_AS(file.to_bytes(), doctest::Contains("not valid UTF-8"), ValueError);
  file.set_metadata("k", std::string(17 << 20, 'x'));
  CHECK_THROWS_WITH_AS(file.to_bytes(), doctest::Contains("too long, or too many"), ValueError);
}

TEST_CASE("io: every kind of bad file has an error of its own") {
  const std::string eight = "12345678";
  const auto tensor = [](const std::string& fields) { return "{\"t\":{" + fields + "}}"; };
  const auto shaped = [&](const std::string& shape, const std::string& offsets) {
    return tensor("\"dtype\":\"F32\",\"shape\":[" + shape + "],\"data_offsets\":[" + offsets + "]");
  };
  const std::string t = "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]";
  const auto expect = [&](const std::string& file, const std::string& error) {
    CHECK(error_for(file) == "bad: " + error);
  };

  expect("", "0 bytes are too few for a safetensors file");
  expect("1234567", "7 bytes are too few for a safetensors file");
  expect(std::string(8, '\xFF'), "header of 18446744073709551615 bytes, 0 are there");
  expect(eight + eight, "header of 4050765991979987505 bytes, 8 are there");
  expect(file_of(std::string((16 << 20) + 1, ' ')), "header of 16777217 bytes, at most 16777216 are read");
  expect(file_of(""), "not a safetensors file (the header does not begin with '{')");
  expect(file_of(" {}"), "not a safetensors file (the header does not begin with '{')");
  expect(file_of("\xEF\xBB\xBF{}"), "not a safetensors file (the header does not begin with '{')");
  expect(file_of("{"), "header is not valid JSON at byte 2");
  expect(file_of("{}x"), "header is not valid JSON at byte 3");
  expect(file_of("{\"\xFF\":1}"), "header is not valid JSON at byte 3");
  expect(file_of(std::string("{}\0", 3)), "header is not valid JSON at byte 3");
  expect(file_of("{}", eight), "8 bytes of data belong to no tensor");
  expect(file_of("{\"t\":1}"), "tensor 't': a number where the format has none");
  expect(file_of("{\"t\":null}"), "tensor 't': null where the format has none");
  expect(file_of("{\"t\":true}"), "tensor 't': a boolean where the format has none");
  expect(file_of("{\"t\":\"x\"}"), "tensor 't': a string where the format has none");
  expect(file_of("{\"t\":[]}"), "tensor 't': an array where the format has none");
  expect(file_of("{\"t\":{}}"), "tensor 't': needs dtype, shape and data_offsets");
  expect(file_of(tensor("\"dtype\":\"F32\",\"shape\":[2]"), eight), "tensor 't': needs dtype, shape and data_offsets");
  expect(file_of(tensor("\"dtype\":\"F32\",\"dtype\":\"F32\"")), "tensor 't': field dtype occurs twice");
  expect(file_of(tensor("\"colour\":3")), "tensor 't': unknown field 'colour'");
  expect(file_of(tensor("\"dtype\":\"F33\"")), "tensor 't': dtype 'F33' is not supported");
  expect(file_of(tensor("\"dtype\":7")), "tensor 't': a number where the format has none");
  expect(file_of(tensor("\"dtype\":\"" + std::string(99, 'A') + "\"")),
         "tensor 't': dtype '" + std::string(64, 'A') + "...' is not supported");
  expect(file_of(tensor("\"shape\":2")), "tensor 't': a number where the format has none");
  expect(file_of(tensor("\"shape\":[[2]]")), "tensor 't': an array where the format has none");
  expect(file_of(tensor("\"shape\":{}")), "tensor 't': an object where the format has none");
  expect(file_of(shaped("-2", "0,8"), eight), "tensor 't': a negative number where the format has none");
  expect(file_of(shaped("2.0", "0,8"), eight),
         "tensor 't': a fraction or a number past 2^64 where the format has none");
  expect(file_of(shaped("2e0", "0,8"), eight),
         "tensor 't': a fraction or a number past 2^64 where the format has none");
  expect(file_of(shaped("99999999999999999999", "0,8"), eight),
         "tensor 't': a fraction or a number past 2^64 where the format has none");
  expect(file_of(shaped("1e999", "0,8"), eight), "header is not valid JSON at byte 34");
  expect(file_of(shaped("9223372036854775808", "0,8"), eight), "tensor 't': shape holds 9223372036854775808");
  expect(file_of(shaped("1,1,1,1,1,1,1,1,2", "0,8"), eight), "tensor 't': more than 8 dimensions");
  expect(file_of(shaped("2", "0,8,9"), eight), "tensor 't': data_offsets holds more than two numbers");
  expect(file_of(shaped("2", "0"), eight), "tensor 't': data_offsets holds fewer than two numbers");
  expect(file_of(shaped("2", "0,9"), eight), "tensor 't': data_offsets [0, 9] outside the 8 bytes of data");
  expect(file_of(shaped("2", "8,0"), eight), "tensor 't': data_offsets [8, 0] outside the 8 bytes of data");
  expect(file_of(shaped("2", "18446744073709551612,4"), eight),
         "tensor 't': data_offsets [18446744073709551612, 4] outside the 8 bytes of data");
  expect(file_of(shaped("3", "0,8"), eight), "tensor 't': F32 [3] takes 12 bytes, data_offsets give 8");
  expect(file_of(shaped("0", "0,8"), eight), "tensor 't': F32 [0] takes 0 bytes, data_offsets give 8");
  expect(file_of(shaped("4611686018427387904,4", "0,0"), eight),
         "tensor 't': shape [4611686018427387904,4] has too many elements");
  expect(file_of(shaped("0,9223372036854775807,9223372036854775807", "0,0")),
         "tensor 't': shape [0,9223372036854775807,9223372036854775807] has too many elements");
  expect(file_of(shaped("1", "4,8"), eight), "tensor 't' begins at 4, the data before it end at 0");
  expect(file_of(shaped("1", "0,4"), eight), "4 bytes of data belong to no tensor");
  expect(file_of("{\"t\":{" + t + "},\"u\":{" + t + "}}", eight),
         "tensor 'u' begins at 0, the data before it end at 8");
  expect(file_of("{\"t\":{" + t + "},\"t\":{" + t + "}}", eight), "tensor 't' occurs twice");
  expect(file_of("{\"\":{" + t + "}}", eight),
         "header: tensor name '' is empty, longer than 512 bytes or holds control characters");
  expect(file_of("{\"a\\u001b[2J\":{" + t + "}}", eight),
         "header: tensor name 'a?[2J' is empty, longer than 512 bytes or holds control characters");
  expect(file_of("{\"" + std::string(513, 'n') + "\":{" + t + "}}", eight),
         "header: tensor name '" + std::string(64, 'n') +
             "...' is empty, longer than 512 bytes or holds control characters");
  expect(file_of("{\"__metadata__\":[]}"), "header: an array where the format has none");
  expect(file_of("{\"__metadata__\":{\"a\":1}}"), "header: a number where the format has none");
  expect(file_of("{\"__metadata__\":{\"a\":{}}}"), "header: an object where the format has none");
  expect(file_of("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}"), "header: metadata key 'a' occurs twice");
  expect(file_of("{\"__metadata__\":{},\"__metadata__\":{}}"), "header: __metadata__ occurs twice");
  expect(file_of("{\"t\":" + std::string(1000, '[')), "tensor 't': an array where the format has none");
  expect(file_of("{\"t\":{\"shape\":" + std::string(100000, '[')), "tensor 't': an array where the format has none");
  expect(file_of("{\"__metadata__\":{\"spnet.format\":\"2\",\"spnet.checksum\":\"0000000000000000\"}}"),
         "spnet.format is not 1; damaged, or from a newer spnet");
  expect(file_of("{\"__metadata__\":{\"spnet.checksum\":\"0000000000000000\"}}"),
         "spnet.format is missing; damaged, or from a newer spnet");
  expect(file_of("{\"__metadata__\":{\"spnet.format\":\"1\"}}"),
         "spnet.checksum is missing or malformed; the file is damaged");
  expect(file_of("{\"__metadata__\":{\"spnet.format\":\"1\",\"spnet.checksum\":\"0\"}}"),
         "spnet.checksum is missing or malformed; the file is damaged");
  expect(file_of("{\"__metadata__\":{\"spnet.format\":\"1\",\"spnet.checksum\": \"0000000000000000\"}}"),
         "spnet.checksum is missing or malformed; the file is damaged");
  expect(file_of("{\"__metadata__\":{\"spnet.format\":\"1\",\"spnet.checksum\":\"0000000000000000\"}}"),
         "checksum does not match; the file is damaged, or another program changed it");
}

TEST_CASE("io: more tensors than the reader takes are refused") {
  std::string header = "{";
  for (int i = 0; i <= 100'000; ++i)
    header += "\"" + std::to_string(i) + "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},";
  header.back() = '}';
  CHECK(error_for(file_of(header)).find("more than 100000 tensors") != std::string::npos);
}

TEST_CASE("io: mutated files with a repaired checksum are read or refused, never worse") {
  const std::vector<std::byte> whole = small_file().to_bytes();
  const std::string interesting = "\"\\{}[],:0123456789-.eEtfn \xFF\x7F";
  int accepted = 0;
  for (std::uint64_t seed = 0; seed < 20'000; ++seed) {
    std::uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
    const auto draw = [&](std::size_t below) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      return static_cast<std::size_t>(state % below);
    };
    std::vector<std::byte> bytes = whole;
    for (std::size_t edits = 1 + draw(4); edits > 0 && !bytes.empty(); --edits) {
      const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(draw(bytes.size()));
      switch (draw(5)) {
        case 0:
          *at = static_cast<std::byte>(draw(256));
          break;
        case 1:
          *at = static_cast<std::byte>(interesting[draw(interesting.size())]);
          break;
        case 2:
          bytes.erase(at);
          break;
        case 3:
          bytes.insert(at, static_cast<std::byte>(interesting[draw(interesting.size())]));
          break;
        default:
          *at ^= static_cast<std::byte>(1 << draw(8));
          break;
      }
    }
    if (draw(2) && bytes.size() > 8) {  // a header that ends where the data begin, so that parsing gets further
      const std::uint64_t length = bytes.size() - std::min<std::size_t>(bytes.size(), 8 + 9);
      std::memcpy(bytes.data(), &length, sizeof length);
    }
    repair_checksum(bytes);
    try {
      const TensorFile file = TensorFile::parse("f", bytes);
      for (const std::string& name : file.names())
        if (file.dtype(name) == io::DType::kF32) file.get<float>(name);
      ++accepted;
    } catch (const FileError&) {
    }
  }
  // Harmless edits (data, names, texts) are many enough to show that the checksum was repaired.
  CHECK(accepted > 200);
  CHECK(accepted < 15'000);
}
