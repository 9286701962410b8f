// Regression by a Gaussian process.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "spnet/core/error.hpp"
#include "spnet/tensor/cholesky.hpp"

namespace spnet {
inline namespace v0 {
namespace prune {

/// A Gaussian process with the Matérn-5/2 kernel, a length of its own for each input and independent noise (Rasmussen,
/// Williams, "Gaussian Processes for Machine Learning", 2006, ch. 2, 4 and 5). The mean, a constant, and the signal's
/// variance are those of highest likelihood, in closed form; points should lie about within the unit cube.
class GaussianProcess {
 public:
  struct Hyperparameters {
    std::vector<double> lengths;  ///< over which values change, for each input
    double noise = 1e-4;          ///< variance, as a share of the signal's
  };
  struct Prediction {
    double mean, deviation;  ///< of the value without noise
  };

  /// With fixed hyperparameters. Throws ValueError unless there are points, as many values, and lengths and noise > 0,
  /// one length an input; NumericError where a value is not finite.
  GaussianProcess(std::vector<std::vector<double>> points, const std::vector<double>& values,
                  Hyperparameters hyperparameters)
      : points_(std::move(points)), hyperparameters_(std::move(hyperparameters)) {
    const std::size_t inputs = hyperparameters_.lengths.size();
    check<ValueError>(!points_.empty() && values.size() == points_.size() && inputs > 0,
                      "GaussianProcess: ", points_.size(), " points with ", inputs, " lengths, ", values.size(),
                      " values given");
    for (const auto& p : points_)
      check<ValueError>(p.size() == inputs, "GaussianProcess: a point of ", p.size(), " inputs given, ", inputs,
                        " lengths");
    for (const double l : hyperparameters_.lengths)
      check<ValueError>(l > 0, "GaussianProcess: length ", l, " given, expected > 0");
    check<ValueError>(hyperparameters_.noise > 0, "GaussianProcess: noise ", hyperparameters_.noise,
                      " given, expected > 0");
    for (const double v : values) check<NumericError>(std::isfinite(v), "GaussianProcess: a value is ", v);
    const auto n = static_cast<Eigen::Index>(points_.size());
    RowMajorMatrix<double> covariance(n, n);
    for (Eigen::Index i = 0; i < n; ++i) {
      for (Eigen::Index j = 0; j < i; ++j) covariance(i, j) = correlation(point(i), point(j));
      covariance(i, i) = 1 + hyperparameters_.noise;
    }
    factor_.emplace(covariance);
    const ColumnVector y = Eigen::Map<const ColumnVector>(values.data(), n);
    of_ones_ = factor_->solve(ColumnVector::Ones(n));
    mean_ = of_ones_.dot(y) / of_ones_.sum();
    weights_ = factor_->solve((y.array() - mean_).matrix());
    // A floor, so that equal values do no harm.
    signal_ = std::max(weights_.dot((y.array() - mean_).matrix()) / static_cast<double>(n), 1e-30);
  }

  /// With the hyperparameters of highest marginal likelihood, times weak log-normal priors that keep few points from
  /// extremes [ours: lengths around ½ within a factor of e^1.5, noise around 1e-4 within e^3]. Found by Rprop on the
  /// exact gradient from two starts: the same points and values give the same process.
  static GaussianProcess fitted(const std::vector<std::vector<double>>& points, const std::vector<double>& values) {
    const std::size_t inputs = points.empty() ? 0 : points.front().size();
    std::optional<GaussianProcess> best;
    for (const double length : {0.2, 1.0}) {
      Climb climb(std::vector<double>(inputs, length), 1e-4);
      for (int i = 0; i < kSteps; ++i) {
        GaussianProcess at(points, values, climb.hyperparameters());
        climb.move(at.gradient());
        if (!best || at.score() > best->score()) best = std::move(at);
      }
    }
    return std::move(*best);
  }

  Prediction predict(std::span<const double> x) const {
    ColumnVector k(weights_.size());
    for (Eigen::Index i = 0; i < k.size(); ++i) k(i) = correlation(x, point(i));
    // What is not known of the mean counts, too.
    const double of_mean = 1 - of_ones_.dot(k);
    const double left = 1 - factor_->half_solve(k).squaredNorm() + of_mean * of_mean / of_ones_.sum();
    return {mean_ + weights_.dot(k), std::sqrt(signal_ * std::max(left, 0.0))};
  }

  /// log p(values | points, hyperparameters), at the best mean and signal.
  double log_likelihood() const {
    const auto n = static_cast<double>(weights_.size());
    constexpr double kTwoPiE = 17.079468445347132;
    return -0.5 * (n * std::log(kTwoPiE * signal_) + factor_->log_determinant());
  }
  const Hyperparameters& hyperparameters() const { return hyperparameters_; }

 private:
  static constexpr int kSteps = 40;
  static constexpr double kRoot5 = 2.23606797749979;

  // Logarithms of the lengths, then that of the noise.
  struct Prior {
    double center, deviation, least, most;
  };
  static Prior prior(bool noise) {
    return noise ? Prior{std::log(1e-4), 3, std::log(1e-8), 0}
                 : Prior{std::log(0.5), 1.5, std::log(0.01), std::log(20)};
  }

  // Rprop: steps by the signs of the gradient.
  class Climb {
   public:
    Climb(const std::vector<double>& lengths, double noise) {
      for (const double l : lengths) at_.push_back(std::log(l));
      at_.push_back(std::log(noise));
      steps_.assign(at_.size(), 0.3);
      last_.assign(at_.size(), 0);
    }
    Hyperparameters hyperparameters() const {
      Hyperparameters out;
      for (std::size_t i = 0; i + 1 < at_.size(); ++i) out.lengths.push_back(std::exp(at_[i]));
      out.noise = std::exp(at_.back());
      return out;
    }
    void move(const std::vector<double>& gradient) {
      for (std::size_t i = 0; i < at_.size(); ++i) {
        const double agreement = gradient[i] * last_[i];
        if (agreement != 0) steps_[i] = std::clamp(steps_[i] * (agreement > 0 ? 1.3 : 0.5), 1e-3, 1.0);
        last_[i] = agreement < 0 ? 0 : gradient[i];
        const Prior p = prior(i + 1 == at_.size());
        if (last_[i] != 0) at_[i] = std::clamp(at_[i] + (last_[i] > 0 ? steps_[i] : -steps_[i]), p.least, p.most);
      }
    }

   private:
    std::vector<double> at_, steps_, last_;
  };

  std::span<const double> point(Eigen::Index i) const { return points_[static_cast<std::size_t>(i)]; }
  double distance(std::span<const double> a, std::span<const double> b) const {
    double sum = 0;
    for (std::size_t d = 0; d < a.size(); ++d) {
      const double step = (a[d] - b[d]) / hyperparameters_.lengths[d];
      sum += step * step;
    }
    return std::sqrt(sum);
  }
  double correlation(std::span<const double> a, std::span<const double> b) const {
    const double r = kRoot5 * distance(a, b);
    return (1 + r + r * r / 3) * std::exp(-r);
  }

  // What `fitted` maximises, and its gradient by the logarithms.
  double score() const {
    double out = log_likelihood();
    for (std::size_t d = 0; d <= hyperparameters_.lengths.size(); ++d) {
      const Prior p = prior(d == hyperparameters_.lengths.size());
      const double away = (logarithm(d) - p.center) / p.deviation;
      out -= 0.5 * away * away;
    }
    return out;
  }
  double logarithm(std::size_t d) const {
    return std::log(d < hyperparameters_.lengths.size() ? hyperparameters_.lengths[d] : hyperparameters_.noise);
  }
  std::vector<double> gradient() const {
    const std::size_t inputs = hyperparameters_.lengths.size();
    std::vector<double> out(inputs + 1, 0);
    // d log p = ½·Σ (w·wᵀ/signal − A⁻¹)·dA, w = A⁻¹·(y − mean) (eq. 5.9, with the signal's own maximum put in).
    const RowMajorMatrix<double> inverse = factor_->inverse();
    for (Eigen::Index i = 0; i < weights_.size(); ++i) {
      out[inputs] += 0.5 * (weights_(i) * weights_(i) / signal_ - inverse(i, i)) * hyperparameters_.noise;
      for (Eigen::Index j = 0; j < i; ++j) {
        const double r = kRoot5 * distance(point(i), point(j));
        const double factor = (weights_(i) * weights_(j) / signal_ - inverse(i, j)) * 5 / 3 * (1 + r) * std::exp(-r);
        for (std::size_t d = 0; d < inputs; ++d) {
          const double step = (point(i)[d] - point(j)[d]) / hyperparameters_.lengths[d];
          out[d] += factor * step * step;
        }
      }
    }
    for (std::size_t d = 0; d <= inputs; ++d) {
      const Prior p = prior(d == inputs);
      out[d] -= (logarithm(d) - p.center) / (p.deviation * p.deviation);
    }
    return out;
  }

  std::vector<std::vector<double>> points_;
  Hyperparameters hyperparameters_;
  std::optional<Cholesky> factor_;
  ColumnVector of_ones_, weights_;  // A⁻¹·1 and A⁻¹·(y − mean)
  double mean_ = 0, signal_ = 0;
};

}  // namespace prune
}  // namespace v0
}  // namespace spnet
