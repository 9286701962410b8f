// Reading tests/reference/*.safetensors, whose layout tools/make_reference_vectors.py describes.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "spnet/autograd/variable.hpp"
#include "spnet/io/safetensors.hpp"

#ifndef SPNET_SOURCE_DIR
#error "define SPNET_SOURCE_DIR, the folder of the project"
#endif

// One case of one operator, in the element type under test.
template <class T>
class ReferenceCase {
 public:
  ReferenceCase(const spnet::io::TensorFile& file, std::string name) : file_(file), name_(std::move(name)) {}

  const std::string& name() const { return name_; }
  bool has(const std::string& key) const { return file_.contains(name_ + "/" + key); }
  spnet::Tensor<T> tensor(const std::string& key) const { return read(key).template to<T>(); }
  /// A leaf that collects a gradient.
  spnet::Variable<T> input(const std::string& key) const { return {tensor(key), true}; }
  spnet::Tensor<std::int64_t> labels(const std::string& key) const {
    return file_.get<std::int64_t>(name_ + "/" + key);
  }
  double number(const std::string& key) const { return read(key).item(); }
  /// Entry `i` of a vector of options.
  std::int64_t integer(const std::string& key, std::int64_t i = 0) const {
    const auto values = file_.get<std::int64_t>(name_ + "/" + key);
    return values.rank() == 0 ? values.item() : values(i);
  }

  /// Compares with what PyTorch computed in double, relative to the largest element.
  void check(const std::string& key, const spnet::Tensor<T>& value, double tolerance = 0) const {
    if (tolerance == 0) tolerance = std::is_same_v<T, double> ? 1e-10 : 1e-5;
    const auto expected = read(key);
    INFO(name_, "/", key);
    REQUIRE(value.defined());
    REQUIRE(value.shape() == expected.shape());
    const auto given = value.contiguous();
    double largest = 1, difference = 0;
    for (std::int64_t i = 0; i < given.size(); ++i) {
      largest = std::max(largest, std::abs(expected.data()[i]));
      // NaN must not slip through: max(difference, NaN) keeps the first.
      const double d = std::abs(static_cast<double>(given.data()[i]) - expected.data()[i]);
      difference = d <= difference ? difference : d;
      if (std::isnan(d)) break;
    }
    CHECK(difference <= tolerance * largest);
  }

  /// Checks "out", runs backward from "grad_out" (1 where the output is a scalar) and checks "grad_<name>" of each
  /// input.
  void check_gradients(const spnet::Variable<T>& out,
                       const std::vector<std::pair<std::string, spnet::Variable<T>>>& inputs,
                       double tolerance = 0) const {
    check("out", out.value(), tolerance);
    if (has("grad_out")) {
      out.backward(tensor("grad_out"));
    } else {
      out.backward();
    }
    for (const auto& [key, variable] : inputs) check("grad_" + key, variable.grad(), tolerance);
  }

 private:
  spnet::Tensor<double> read(const std::string& key) const {
    const std::string full = name_ + "/" + key;
    if (file_.dtype(full) == spnet::io::DType::kF64) return file_.get<double>(full);
    if (file_.dtype(full) == spnet::io::DType::kI64) return file_.get<std::int64_t>(full).to<double>();
    return file_.get<float>(full).to<double>();
  }

  const spnet::io::TensorFile& file_;
  std::string name_;
};

// A file of cases. The destructor fails the test where a case was never asked for.
class ReferenceFile {
 public:
  explicit ReferenceFile(const std::string& name)
      : name_(name), file_(spnet::io::TensorFile::load(SPNET_SOURCE_DIR "/tests/reference/" + name + ".safetensors")) {
    for (const std::string& key : file_.names()) {
      const std::string head = key.substr(0, key.find('/'));
      if (names_.empty() || names_.back() != head) names_.push_back(head);
    }
    unseen_ = names_;
  }
  ReferenceFile(const ReferenceFile&) = delete;
  ReferenceFile& operator=(const ReferenceFile&) = delete;
  ~ReferenceFile() {
    for (const std::string& name : unseen_) {
      INFO(name_, ": ", name);
      CHECK_MESSAGE(false, "this case is not tested");
    }
  }

  template <class T>
  ReferenceCase<T> get(const std::string& name) {
    std::erase(unseen_, name);
    return {file_, name};
  }
  /// All cases whose names begin with `prefix`.
  template <class T>
  std::vector<ReferenceCase<T>> all(const std::string& prefix = {}) {
    std::vector<ReferenceCase<T>> out;
    for (const std::string& name : names_)
      if (name.starts_with(prefix)) out.push_back(get<T>(name));
    CHECK_FALSE(out.empty());
    return out;
  }

 private:
  std::string name_;
  spnet::io::TensorFile file_;
  std::vector<std::string> names_, unseen_;
};
