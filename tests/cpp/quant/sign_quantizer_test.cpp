// Codes of signs: estimates without bias, as sharp as the method promises, at any size of numbers.
#include "srvdb/quant/sign_quantizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "srvdb/base/error.h"
#include "srvdb/quant/short_coder.h"
#include "support/code_of.h"

namespace srvdb {
namespace {

constexpr Metric kMetrics[] = {Metric::kCosine, Metric::kIp, Metric::kL2};

// Rows about `centre`, in every component but the even ones of small variance.
struct Rows {
  Rows(std::size_t n, std::size_t dim, float centre = 0, std::uint32_t seed = 1) : values(n * dim) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < n * dim; ++i) {
      values[i] = centre + normal(random) * (i % 2 == 0 ? 0.1F : 1.0F);
    }
    for (std::size_t i = 0; i < n; ++i) at.push_back(values.data() + i * dim);
  }
  std::vector<float> values;
  std::vector<const float*> at;
};

// Codes of rows, and which of them pass.
struct Coded {
  Coded(const SignQuantizer& signs, const std::vector<const float*>& rows)
      : stride(signs.stride()), codes(rows.size() * stride) {
    SignQuantizer::Scratch scratch;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      signs.encode(rows[i], scratch, codes.data() + i * stride);
      ids.push_back(static_cast<std::uint32_t>(i));
    }
  }
  std::vector<std::uint32_t> passing(const SignQuery& query, double score) const {
    std::vector<std::uint32_t> out(ids.size());
    out.resize(query.select(score, codes.data(), stride, ids.data(), ids.size(), out.data()));
    return out;
  }
  // The score that the estimate of each row stands for, less the room there is, by trying them.
  std::vector<double> estimates(const SignQuery& query, double low, double high) const {
    std::vector<double> lows(ids.size(), low), highs(ids.size(), high);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      while (highs[i] - lows[i] > 1e-4 * (high - low)) {
        const double middle = (lows[i] + highs[i]) / 2;
        std::uint32_t out = 0;
        const bool passes = query.select(middle, codes.data(), stride, &ids[i], 1, &out) == 1;
        (passes ? lows : highs)[i] = middle;
      }
    }
    return lows;
  }

  std::size_t stride;
  AlignedBuffer<std::uint8_t> codes;
  std::vector<std::uint32_t> ids;
};

TEST(Rotation, KeepsDistancesAndSpreadsEveryComponentOverAll) {
  for (const std::size_t n : {512U, 576U, 768U, 1024U, 1536U, 4096U}) {
    const Rotation rotation(n);
    ASSERT_EQ(rotation.components(), n);
    std::vector<float> room(n);
    double largest = 0;
    for (std::size_t i = 0; i < n; i += 37) {
      std::vector<float> unit(n, 0);
      unit[i] = 1;
      rotation.apply(unit.data(), room.data());
      double square = 0;
      for (const float x : unit) {
        square += static_cast<double>(x) * static_cast<double>(x);
        largest = std::max(largest, std::abs(static_cast<double>(x)));
      }
      EXPECT_NEAR(square, 1, 1e-5) << n;
    }
    EXPECT_LT(largest, 8 / std::sqrt(static_cast<double>(n))) << n;
    std::vector<float> a = Rows(1, n).values;
    std::vector<float> b = Rows(1, n, 0, 2).values;
    const double before = exact_score(Metric::kL2, a.data(), b.data(), n);
    rotation.apply(a.data(), room.data());
    rotation.apply(b.data(), room.data());
    EXPECT_NEAR(exact_score(Metric::kL2, a.data(), b.data(), n), before, 1e-4 * std::abs(before));
  }
}

TEST(SignQuantizer, IsPossibleWhereItsCodesAreMuchShorterThanTheUsualOnes) {
  EXPECT_FALSE(SignQuantizer::possible(0));
  EXPECT_FALSE(SignQuantizer::possible(SignQuantizer::kLeastDimensions - 1));
  EXPECT_TRUE(SignQuantizer::possible(SignQuantizer::kLeastDimensions));
  EXPECT_TRUE(SignQuantizer::possible(SignQuantizer::kMostDimensions));
  EXPECT_FALSE(SignQuantizer::possible(SignQuantizer::kMostDimensions + 1));
  for (const std::size_t dim : {512U, 600U, 768U, 1024U, 1536U, 3072U, 4096U}) {
    const Rows rows(2, dim);
    EXPECT_LE(SignQuantizer::train(rows.at, dim, Metric::kL2).stride(), dim / 4) << dim;
  }
}

// Off by what the method says, 0.7555 |x - c| |q - c| / sqrt(bits), and not to one side.
TEST(SignQuantizer, EstimatesAreUnbiasedAndAsSharpAsTheMethodPromises) {
  constexpr std::size_t kDim = 768;
  for (const Metric metric : kMetrics) {
    const Rows rows(1000, kDim, 0.7F);
    const Rows queries(10, kDim, 0.7F, 2);
    const SignQuantizer signs = SignQuantizer::train(rows.at, kDim, metric);
    const Coded coded(signs, rows.at);
    // About the mean rows are 19.7 long; under cosine a row as a whole is 27.6 long.
    const double length = std::sqrt(kDim / 2.0 * 1.01);
    const double square = length * length;
    const double unit = metric == Metric::kCosine ? square + 0.49 * kDim : 1;
    const double deviation =
        0.7555 * square / unit / std::sqrt(768.0) * (metric == Metric::kL2 ? 2 : 1);
    SignQuantizer::Scratch scratch;
    SignQuery query;
    double sum = 0, squares = 0, n = 0;
    for (const float* q : queries.at) {
      signs.prepare(q, scratch, query);
      const double low = metric == Metric::kL2 ? -4 * square : metric == Metric::kIp ? 0 : -1;
      const double high = metric == Metric::kL2 ? 4 * square : metric == Metric::kIp ? 2000 : 2;
      const std::vector<double> said = coded.estimates(query, low, high);
      for (std::size_t i = 0; i < rows.at.size(); i += 5) {
        // The room of half a deviation that there is not.
        const double off = said[i] + deviation / 2 - exact_score(metric, rows.at[i], q, kDim);
        sum += off;
        squares += off * off;
        n += 1;
      }
    }
    EXPECT_LT(std::abs(sum / n), 0.12 * deviation) << metric_name(metric);
    EXPECT_NEAR(std::sqrt(squares / n), deviation, 0.15 * deviation) << metric_name(metric);
  }
}

TEST(SignQuantizer, LetsNearRowsPassAndLeavesFarOnesOut) {
  constexpr std::size_t kDim = 600;  // no multiple of 64
  for (const Metric metric : kMetrics) {
    Rows rows(500, kDim, 0.2F);
    const std::vector<float> query = Rows(1, kDim, 0.2F, 3).values;
    for (std::size_t i = 0; i < 50; ++i) {  // these lie between the query and where they were
      for (std::size_t d = 0; d < kDim; ++d) {
        float& x = rows.values[10 * i * kDim + d];
        x = query[d] + 0.3F * (x - query[d]);
      }
    }
    const SignQuantizer signs = SignQuantizer::train(rows.at, kDim, metric);
    const Coded coded(signs, rows.at);
    SignQuantizer::Scratch scratch;
    SignQuery prepared;
    signs.prepare(query.data(), scratch, prepared);
    const double near = exact_score(metric, rows.at[0], query.data(), kDim);
    const double far = exact_score(metric, rows.at[1], query.data(), kDim);
    std::vector<std::uint32_t> expected;
    for (std::uint32_t i = 0; i < 500; i += 10) expected.push_back(i);
    EXPECT_EQ(coded.passing(prepared, (near + far) / 2), expected) << metric_name(metric);
  }
}

TEST(SignQuantizer, TakesAnyFiniteVectorAndLosesNoRowToOverflow) {
  constexpr std::size_t kDim = 512;
  const auto filled = [](float value) { return std::vector<float>(kDim, value); };
  const float largest = std::numeric_limits<float>::max();
  for (const Metric metric : kMetrics) {
    const Rows rows(100, kDim);
    const SignQuantizer signs = SignQuantizer::train(rows.at, kDim, metric);
    SignQuantizer::Scratch scratch;
    SignQuery query;
    const Coded usual(signs, rows.at);
    for (const float value : {0.0F, 1e-42F, 100.0F, 1e20F, 1e30F, -largest, largest}) {
      const std::vector<float> vector = filled(value);
      signs.prepare(vector.data(), scratch, query);
      const bool beyond = metric == Metric::kCosine ? value == 1e-42F : std::abs(value) > 1e18F;
      if (beyond) {  // nothing can be said: neither of rows by such a query,
        EXPECT_EQ(usual.passing(query, 1e30).size(), 100u) << value;
        const Coded coded(signs, {vector.data()});  // nor of such a row by others
        signs.prepare(rows.at[0], scratch, query);
        EXPECT_EQ(coded.passing(query, 1e30).size(), 1u) << value;
        continue;
      }
      double worst = 1e9;
      double best = -1e9;
      for (const float* row : rows.at) {
        const double score = exact_score(metric, row, vector.data(), kDim);
        worst = std::min(worst, score);
        best = std::max(best, score);
      }
      // Ten deviations: rows are 16.1 long about their mean, near 0; directions 1.
      const bool directions = metric == Metric::kCosine;
      const double size =
          directions ? 1 : std::abs(static_cast<double>(value)) * std::sqrt(512.0) + 1;
      const double off = 20 * 0.7555 * (directions ? 1 : 16.1) * size / std::sqrt(512.0);
      EXPECT_EQ(usual.passing(query, worst - off).size(), 100u) << value;
      EXPECT_EQ(usual.passing(query, best + off).size(), 0u) << value;
    }
    const Rows equal(50, kDim, 3);
    std::vector<const float*> same(50, equal.at[0]);
    const SignQuantizer flat = SignQuantizer::train(same, kDim, metric);  // all rows are the mean
    flat.prepare(same[0], scratch, query);
    EXPECT_EQ(Coded(flat, same)
                  .passing(query, exact_score(metric, same[0], same[0], kDim) - 0.001)
                  .size(),
              50u);
  }
}

TEST(SignQuantizer, ComesBackFromItsBytesAndOnlyFromThose) {
  constexpr std::size_t kDim = 600;
  for (const Metric metric : kMetrics) {
    const Rows rows(300, kDim, 1);
    const SignQuantizer signs = SignQuantizer::train(rows.at, kDim, metric);
    const std::string bytes = signs.to_bytes();
    EXPECT_LE(bytes.size(), SignQuantizer::kMostBytes);
    EXPECT_EQ(SignQuantizer::train(rows.at, kDim, metric).to_bytes(), bytes);
    const ShortCoder back = ShortCoder::from_bytes(as_byte_span(bytes), kDim, metric);
    ASSERT_NE(back.signs(), nullptr);
    EXPECT_EQ(back.components(), nullptr);
    EXPECT_EQ(back.to_bytes(), bytes);
    EXPECT_EQ(back.stride(), signs.stride());
    EXPECT_EQ(back.code_bytes(), 88u);  // 640 bits
    const Coded one(signs, rows.at);
    const Coded other(*back.signs(), rows.at);
    EXPECT_TRUE(
        std::equal(one.codes.data(), one.codes.data() + one.codes.size(), other.codes.data()));
    const auto refused = [&](const std::string& others, std::size_t dim, Metric of) {
      return code_of([&] { ShortCoder::from_bytes(as_byte_span(others), dim, of); }) ==
             ErrorCode::kCorruption;
    };
    for (std::size_t at = 0; at < bytes.size(); at += at < 100 ? 1 : 97) {
      std::string flipped = bytes;
      flipped[at] = static_cast<char>(flipped[at] ^ 1);
      EXPECT_TRUE(refused(flipped, kDim, metric)) << at;
    }
    for (const std::size_t n :
         {std::size_t{0}, std::size_t{3}, std::size_t{10}, bytes.size() - 1}) {
      EXPECT_TRUE(refused(bytes.substr(0, n), kDim, metric)) << n;
    }
    EXPECT_TRUE(refused(bytes + "x", kDim, metric));
    EXPECT_TRUE(refused(bytes, kDim + 1, metric));
    EXPECT_TRUE(refused(bytes, kDim, metric == Metric::kL2 ? Metric::kIp : Metric::kL2));
  }
}

}  // namespace
}  // namespace srvdb
