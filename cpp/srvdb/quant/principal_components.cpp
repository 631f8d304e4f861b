#include "srvdb/quant/principal_components.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <cstdint>

namespace srvdb {
namespace {

using Matrix = Eigen::MatrixXf;

constexpr std::size_t kBlockRows = 256;     // between looks at the interrupt,
constexpr Eigen::Index kBlockColumns = 64;  // likewise
constexpr Eigen::Index kOversampling = 16;
constexpr int kIterations = 4;

Eigen::Index to_index(std::size_t n) {
  return static_cast<Eigen::Index>(n);
}

// Rows [first, last) as columns: under cosine normalised, where a zero row stays zero.
Matrix columns(std::span<const float* const> rows, std::size_t dim, Metric metric) {
  Matrix out(to_index(dim), to_index(rows.size()));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto column = out.col(to_index(i));
    column = Eigen::Map<const Eigen::VectorXf>(rows[i], to_index(dim));
    const double norm = metric == Metric::kCosine ? check_row(rows[i], dim).norm : 1;
    column *= norm > 0 ? static_cast<float>(1 / norm) : 0.0F;
  }
  return out;
}

// Numbers in [-1, 1), the same on every machine.
Matrix start(Eigen::Index rows, Eigen::Index cols) {
  std::uint64_t state = 0x9E3779B97F4A7C15;
  return Matrix::NullaryExpr(rows, cols, [&](Eigen::Index, Eigen::Index) {
    state = state * 6364136223846793005 + 1442695040888963407;
    return static_cast<float>(static_cast<std::int32_t>(state >> 32)) * 0x1p-31F;
  });
}

Matrix orthonormal(const Matrix& columns) {
  const Eigen::HouseholderQR<Matrix> qr(columns);
  return qr.householderQ() * Matrix::Identity(columns.rows(), columns.cols());
}

}  // namespace

PrincipalComponents principal_components(std::span<const float* const> rows, std::size_t dim,
                                         Metric metric, std::size_t count, Interrupt* interrupt) {
  const Eigen::Index d = to_index(dim);
  const auto blocks = [&](const auto& use) {
    for (std::size_t first = 0; first < rows.size(); first += kBlockRows) {
      check(interrupt);
      use(columns(rows.subspan(first, std::min(kBlockRows, rows.size() - first)), dim, metric));
    }
  };
  Eigen::VectorXd sum = Eigen::VectorXd::Zero(d);
  blocks([&](const Matrix& x) { sum += x.cast<double>().rowwise().sum(); });
  const Eigen::VectorXf mean = (sum / static_cast<double>(rows.size())).cast<float>();
  Matrix covariance = Matrix::Zero(d, d);  // the lower half, times the number of rows
  blocks([&](Matrix x) {
    x.colwise() -= mean;
    covariance.selfadjointView<Eigen::Lower>().rankUpdate(x);
  });
  const double all = covariance.diagonal().cast<double>().sum();
  const Eigen::Index kept = to_index(std::min(count, dim));
  PrincipalComponents out;
  out.mean.assign(mean.data(), mean.data() + d);
  if (!(all > 0) || !std::isfinite(all)) {  // nothing to tell apart, or too much
    out.directions.assign(static_cast<std::size_t>(kept * d), 0);
    out.shares.assign(static_cast<std::size_t>(kept), 0);
    return out;
  }
  const Eigen::Index width = std::min(d, kept + kOversampling);
  Matrix basis = orthonormal(start(d, width));
  Matrix product(d, width);
  const auto multiply = [&] {  // the covariance with the basis
    for (Eigen::Index first = 0; first < width; first += kBlockColumns) {
      check(interrupt);
      const Eigen::Index n = std::min(kBlockColumns, width - first);
      product.middleCols(first, n).noalias() =
          covariance.selfadjointView<Eigen::Lower>() * basis.middleCols(first, n);
    }
    check(interrupt);
  };
  for (int i = 0; i < kIterations; ++i) {
    multiply();
    basis = orthonormal(product);
  }
  multiply();
  const Matrix inner = basis.transpose() * product;
  const Eigen::SelfAdjointEigenSolver<Matrix> solved(inner);  // in rising order
  const Matrix directions = basis * solved.eigenvectors().rowwise().reverse();
  out.directions.assign(directions.data(), directions.data() + kept * d);
  double held = 0;
  for (Eigen::Index i = 0; i < kept; ++i) {
    held += std::max(0.0, static_cast<double>(solved.eigenvalues()[width - 1 - i]));
    out.shares.push_back(std::min(1.0, held / all));
  }
  return out;
}

}  // namespace srvdb
