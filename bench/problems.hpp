// The shapes that kernel benchmarks and tests share, named after the networks they come from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace spnet::bench {

/// A square convolution x [n,size,size,c] * w [o,kernel,kernel,c/groups] with padding kernel/2.
struct ConvProblem {
  std::string network;
  std::int64_t n, size, c, o, kernel, stride = 1, groups = 1;

  std::int64_t padding() const { return kernel / 2; }
  std::int64_t out_size() const { return (size + 2 * padding() - kernel) / stride + 1; }
  double macs() const {
    return static_cast<double>(n * out_size() * out_size() * o * kernel * kernel) * static_cast<double>(c / groups);
  }
  std::string name() const {
    return network + '/' + std::to_string(n) + 'x' + std::to_string(size) + "^2/" + std::to_string(c) + "to" +
           std::to_string(o) + '/' + std::to_string(kernel) + 'x' + std::to_string(kernel) + 's' +
           std::to_string(stride) + (groups > 1 ? "g" + std::to_string(groups) : "");
  }
};

/// Every kind of convolution in ResNet-20 at batch 128, ResNet-18 (64² at batch 32; 224² at batch 1 and 8), and the
/// pointwise and depthwise ones of MobileNet-V1 and -V2 (224²).
inline std::vector<ConvProblem> conv_problems() {
  std::vector<ConvProblem> problems;
  for (const auto& p : std::vector<ConvProblem>{{"", 128, 32, 3, 16, 3},
                                                {"", 128, 32, 16, 16, 3},
                                                {"", 128, 32, 16, 32, 3, 2},
                                                {"", 128, 32, 16, 32, 1, 2},
                                                {"", 128, 16, 32, 32, 3},
                                                {"", 128, 16, 32, 64, 3, 2},
                                                {"", 128, 16, 32, 64, 1, 2},
                                                {"", 128, 8, 64, 64, 3}}) {
    problems.push_back(p);
    problems.back().network = "resnet20";
  }
  auto resnet18 = [&](const std::string& name, std::int64_t n, std::int64_t size, bool cifar_stem) {
    if (cifar_stem) {
      problems.push_back({name, n, size, 3, 64, 3});
    } else {
      problems.push_back({name, n, size, 3, 64, 7, 2});
      size /= 4;
    }
    problems.push_back({name, n, size, 64, 64, 3});
    for (std::int64_t c = 64; c < 512; c *= 2, size /= 2) {
      problems.push_back({name, n, size, c, 2 * c, 3, 2});
      problems.push_back({name, n, size, c, 2 * c, 1, 2});
      problems.push_back({name, n, size / 2, 2 * c, 2 * c, 3});
    }
  };
  resnet18("resnet18_64", 32, 64, true);
  resnet18("resnet18_224", 1, 224, false);
  resnet18("resnet18_224", 8, 224, false);
  for (std::int64_t n : {std::int64_t{1}, std::int64_t{8}}) {
    for (const auto& p : std::vector<ConvProblem>{{"mobilenet_v1", n, 112, 32, 64, 1},
                                                  {"mobilenet_v1", n, 56, 128, 128, 1},
                                                  {"mobilenet_v1", n, 14, 512, 512, 1},
                                                  {"mobilenet_v1", n, 7, 1024, 1024, 1},
                                                  {"mobilenet_v1", n, 112, 32, 32, 3, 1, 32},
                                                  {"mobilenet_v1", n, 112, 64, 64, 3, 2, 64},
                                                  {"mobilenet_v1", n, 14, 512, 512, 3, 1, 512},
                                                  {"mobilenet_v2", n, 112, 16, 96, 1},
                                                  {"mobilenet_v2", n, 56, 96, 24, 1},
                                                  {"mobilenet_v2", n, 56, 24, 144, 1},
                                                  {"mobilenet_v2", n, 14, 96, 576, 1},
                                                  {"mobilenet_v2", n, 7, 960, 160, 1},
                                                  {"mobilenet_v2", n, 56, 144, 144, 3, 1, 144},
                                                  {"mobilenet_v2", n, 14, 576, 576, 3, 2, 576}})
      problems.push_back(p);
  }
  return problems;
}

}  // namespace spnet::bench
