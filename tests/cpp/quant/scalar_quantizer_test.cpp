// 8-bit codes: exact where they promise it, with errors that are true bounds, on every metric.
#include "srvdb/quant/scalar_quantizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "simd/kernel_cases.h"
#include "srvdb/base/error.h"

namespace srvdb::testing {
namespace {

constexpr Metric kMetrics[] = {Metric::kCosine, Metric::kIp, Metric::kL2};

struct Rows {
  Rows(std::size_t n, std::size_t dim, Values kind, std::uint32_t seed)
      : dim(dim), values(make_values(kind, n * dim, seed)) {
    for (std::size_t i = 0; i < n; ++i) at.push_back(values.data() + i * dim);
  }
  std::size_t dim;
  std::vector<float> values;
  std::vector<const float*> at;
};

std::vector<std::uint8_t> encode(const ScalarQuantizer& quantizer, const float* row, float* error) {
  std::vector<std::uint8_t> code(quantizer.stride(), 77);
  *error = quantizer.encode(row, reference_norm(row, quantizer.dim()), code.data());
  return code;
}

// ||x - x^|| in long double, x the row as it is coded.
double true_error(const ScalarQuantizer& quantizer, const float* row,
                  const std::vector<std::uint8_t>& code) {
  const double norm = reference_norm(row, quantizer.dim());
  const long double unit = quantizer.metric() == Metric::kCosine && norm > 0 ? 1.0L / norm : 1.0L;
  long double sum = 0;
  for (std::size_t i = 0; i < quantizer.dim(); ++i) {
    const long double coded =
        quantizer.offset() + static_cast<long double>(quantizer.scale()) * code[i];
    const long double d = row[i] * unit - coded;
    sum += d * d;
  }
  return static_cast<double>(std::sqrt(sum));
}

TEST(ScalarQuantizer, ErrorNormIsATrueBound) {
  for (const Metric metric : kMetrics) {
    for (const Values kind : kAllValues) {
      for (const std::size_t dim : ragged_dims()) {
        const Rows train(50, dim, kind, 1);
        const Rows other(50, dim, Values::kMixed, 2);  // mostly outside the coded range
        const auto quantizer = ScalarQuantizer::train(train.at, dim, metric);
        for (const Rows* rows : {&train, &other}) {
          for (const float* row : rows->at) {
            float error = 0;
            const auto code = encode(quantizer, row, &error);
            EXPECT_GE(static_cast<double>(error), true_error(quantizer, row, code) * (1 - 1e-15));
            for (std::size_t i = dim; i < code.size(); ++i) EXPECT_EQ(code[i], 0);
          }
        }
      }
    }
  }
}

TEST(ScalarQuantizer, CodesIntegersWithoutError) {
  for (const int top : {1, 3, 100, 218, 255}) {
    for (const int low : {0, -40, 1000, 300'001, -5'000'001, 8'388'000}) {
      Rows rows(64, 33, Values::kOrdinary, 3);
      for (std::size_t i = 0; i < rows.values.size(); ++i) {
        rows.values[i] = static_cast<float>(low + static_cast<int>(i * 7919) % (top + 1));
      }
      rows.values[0] = static_cast<float>(low);
      rows.values[1] = static_cast<float>(low + top);
      const auto quantizer = ScalarQuantizer::train(rows.at, 33, Metric::kL2);
      CodeQuery query;
      quantizer.prepare(rows.at[0], query);
      const CodeDistance distance(query);
      for (const float* row : rows.at) {
        float error = 1;
        const auto code = encode(quantizer, row, &error);
        EXPECT_EQ(error, 0);
        std::vector<float> decoded(33);
        quantizer.decode(code.data(), decoded.data());
        EXPECT_TRUE(std::equal(decoded.begin(), decoded.end(), row));
        EXPECT_EQ(query.approx_score(distance.key(code.data())),
                  exact_score(Metric::kL2, rows.at[0], row, 33));
      }
    }
  }
}

TEST(ScalarQuantizer, BytesKeepTheirValuesAsCodes) {
  Rows rows(8, 16, Values::kOrdinary, 4);
  for (std::size_t i = 0; i < rows.values.size(); ++i) rows.values[i] = static_cast<float>(i + 20);
  rows.values[5] = 200;
  const auto quantizer = ScalarQuantizer::train(rows.at, 16, Metric::kL2);
  EXPECT_EQ(quantizer.scale(), 1);
  EXPECT_EQ(quantizer.offset(), 0);
}

TEST(ScalarQuantizer, ApproximatesScoresOfOrdinaryRows) {
  for (const Metric metric : kMetrics) {
    const Rows rows(300, 96, Values::kOrdinary, 5);
    const auto quantizer = ScalarQuantizer::train(rows.at, 96, metric);
    CodeQuery query;
    quantizer.prepare(rows.at[7], query);
    const CodeDistance distance(query);
    for (const float* row : rows.at) {
      float error = 0;
      const auto code = encode(quantizer, row, &error);
      const double exact = exact_score(metric, rows.at[7], row, 96);
      const double room = metric == Metric::kCosine ? 0.01 : 5.0;  // of about 200
      EXPECT_NEAR(query.approx_score(distance.key(code.data())), exact, room);
    }
  }
}

TEST(CodeQuery, KeysGrowAsSquaredDistancesAboveTheNearest) {
  for (const Metric metric : {Metric::kL2, Metric::kCosine}) {
    const Rows rows(300, 96, Values::kOrdinary, 25);
    const auto quantizer = ScalarQuantizer::train(rows.at, 96, metric);
    CodeQuery query;
    quantizer.prepare(rows.at[7], query);
    const CodeDistance distance(query);
    const auto above = [&](Row row) {
      float error = 0;
      return distance.key(encode(quantizer, rows.at[row], &error).data()) - distance.nearest_key();
    };
    const auto squared = [&](Row row) {  // under cosine half of it
      const double score = exact_score(metric, rows.at[7], rows.at[row], 96);
      return metric == Metric::kL2 ? -score : 1 - score;
    };
    for (Row row = 0; row < 300; ++row) {
      EXPECT_NEAR(above(row) / above(100), squared(row) / squared(100), 0.03) << row;
    }
  }
}

TEST(CodeQuery, InnerProductsHaveNoNearestKey) {
  const Rows rows(20, 8, Values::kOrdinary, 26);
  CodeQuery query;
  ScalarQuantizer::train(rows.at, 8, Metric::kIp).prepare(rows.at[7], query);
  EXPECT_TRUE(std::isnan(query.nearest_key()));
}

// Bounds of the exact score, also for rows and queries far outside the trained range.
TEST(CodeQuery, ScoreBoundAndKeyLimitNeverMissARow) {
  for (const Metric metric : kMetrics) {
    for (const std::size_t dim : {std::size_t{1}, std::size_t{33}, std::size_t{128}}) {
      const Rows train(100, dim, Values::kOrdinary, 6);
      const auto quantizer = ScalarQuantizer::train(train.at, dim, metric);
      for (const Values kind : kAllValues) {
        const Rows rows(100, dim, kind, 7);
        const Rows queries(8, dim, kind, 8);
        for (std::size_t i = 0; i < 2 * queries.at.size(); ++i) {
          const float* q = queries.at[i / 2];
          CodeQuery query;
          i % 2 == 0 ? quantizer.prepare(q, query) : quantizer.prepare_bytes(q, query);
          const CodeDistance distance(query);
          for (const float* row : rows.at) {
            float error = 0;
            const auto code = encode(quantizer, row, &error);
            const double norm = reference_norm(row, dim) * (1 + 1e-12);
            const std::int32_t key = distance.key(code.data());
            const double exact = exact_score(metric, q, row, dim);
            EXPECT_GE(query.score_bound(key, error, norm), exact);
            EXPECT_LE(query.score_floor(key, error, norm), exact);
            EXPECT_LE(key, query.key_limit(exact, error, norm));
          }
        }
      }
    }
  }
}

TEST(CodeQuery, BytesGiveTheKey) {
  for (const Metric metric : kMetrics) {
    for (const Values kind : {Values::kOrdinary, Values::kMixed}) {
      const Rows rows(50, 70, kind, 9);
      const auto quantizer = ScalarQuantizer::train(rows.at, 70, metric);
      for (const float* q : rows.at) {
        CodeQuery query;
        quantizer.prepare_bytes(q, query);
        float error = 0;
        const auto code = encode(quantizer, rows.at[3], &error);
        std::int64_t product = 0;
        std::int64_t squares = 0;
        for (std::size_t i = 0; i < 70; ++i) {
          product += std::int64_t{code[i]} * query.bytes()[i];
          squares += (std::int64_t{code[i]} - 128) * (std::int64_t{code[i]} - 128);
        }
        const std::int64_t key =
            metric == Metric::kL2 ? squares + query.bytes_zero() - 2 * product : -product;
        EXPECT_EQ(key, CodeDistance(query).key(code.data()));
        EXPECT_LE(std::abs(product), query.bytes_reach());
        for (std::size_t i = 70; i < query.stride(); ++i) EXPECT_EQ(query.bytes()[i], 0);
      }
    }
  }
}

// A row without error of its own that lies just where the query was rounded.
TEST(CodeQuery, ScoreBoundCountsTheRoundingOfTheQuery) {
  const Rows rows(100, 64, Values::kOrdinary, 17);
  const auto quantizer = ScalarQuantizer::train(rows.at, 64, Metric::kIp);
  for (const float* q : rows.at) {
    float largest = 0;
    for (std::size_t i = 0; i < 64; ++i) largest = std::max(largest, std::abs(q[i]));
    const float step = largest / 127;
    std::vector<std::uint8_t> code(64);
    for (std::size_t i = 0; i < 64; ++i) {
      code[i] = q[i] > std::nearbyint(q[i] / step) * step ? 228 : 28;
    }
    std::vector<float> row(64);
    quantizer.decode(code.data(), row.data());
    float error = 0;
    EXPECT_EQ(encode(quantizer, row.data(), &error), code);
    CodeQuery query;
    quantizer.prepare(q, query);
    const std::int32_t key = CodeDistance(query).key(code.data());
    const double exact = exact_score(Metric::kIp, q, row.data(), 64);
    EXPECT_GT(exact, query.approx_score(key) + static_cast<double>(error) * 64);
    EXPECT_GE(query.score_bound(key, error, reference_norm(row.data(), 64)), exact);
    EXPECT_LE(key, query.key_limit(exact, error, reference_norm(row.data(), 64)));
  }
}

TEST(CodeQuery, KeyLimitSkipsRowsThatAreClearlyWorse) {
  const Rows rows(500, 128, Values::kOrdinary, 9);
  for (const Metric metric : kMetrics) {
    const auto quantizer = ScalarQuantizer::train(rows.at, 128, metric);
    CodeQuery query;
    quantizer.prepare(rows.at[0], query);
    const CodeDistance distance(query);
    const double best = exact_score(metric, rows.at[0], rows.at[0], 128);
    std::size_t kept = 0;
    for (const float* row : rows.at) {
      float error = 0;
      const auto code = encode(quantizer, row, &error);
      const double norm = reference_norm(row, 128);
      kept += distance.key(code.data()) <= query.key_limit(best, error, norm) ? 1u : 0u;
    }
    EXPECT_LE(kept, 3u) << metric_name(metric);
  }
}

// Row 0 as a query for codes of the rows.
CodeQuery first_row_as_query(const Rows& rows, Metric metric) {
  CodeQuery query;
  ScalarQuantizer::train(rows.at, rows.dim, metric).prepare(rows.at[0], query);
  return query;
}

TEST(CodeQuery, KeyLimitIsOpenAndClosedAtTheEnds) {
  const Rows rows(10, 16, Values::kOrdinary, 10);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const Metric metric : kMetrics) {
    const CodeQuery query = first_row_as_query(rows, metric);
    EXPECT_EQ(query.key_limit(-kInfinity, 0.1f, 4), std::numeric_limits<std::int32_t>::max());
    EXPECT_EQ(query.key_limit(kInfinity, 0.1f, 4), std::numeric_limits<std::int32_t>::min());
  }
}

TEST(CodeQuery, AKeyLimitAdmitsTheKeysThatAreNotAboveIt) {
  const Rows rows(10, 16, Values::kOrdinary, 10);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const Metric metric : kMetrics) {
    const CodeQuery query = first_row_as_query(rows, metric);
    const double best = exact_score(metric, rows.at[0], rows.at[0], 16);
    for (const double wanted : {-kInfinity, -1e30, best - 7.3, best, best + 0.1, kInfinity}) {
      const KeyLimit limit = query.key_limits(wanted);
      for (const float error : {0.0f, 0.003f, 0.1f, 1e30f}) {
        const std::int32_t most = limit(error, 4);
        for (const std::int64_t off : {-100'000, -1, 0, 1, 2, 100'000}) {
          const std::int64_t key = most + off;
          if (key < -2'000'000'000 || key > 2'000'000'000) continue;  // no sum of products is
          const auto narrow = static_cast<std::int32_t>(key);
          EXPECT_EQ(limit.admits(narrow, error, 4), narrow <= most)
              << metric_name(metric) << ' ' << wanted << ' ' << error << ' ' << key;
        }
        for (const std::int32_t key : {-2'000'000'000, -1, 0, 2'000'000'000}) {
          EXPECT_EQ(limit.admits(key, error, 4), key <= most);
        }
      }
    }
  }
}

TEST(CodeQuery, FromACodeEqualsTheQueryOfTheDecodedRow) {
  for (const Metric metric : kMetrics) {
    const Rows rows(60, 100, Values::kOrdinary, 11);
    const auto quantizer = ScalarQuantizer::train(rows.at, 100, metric);
    float error = 0;
    const auto code = encode(quantizer, rows.at[3], &error);
    CodeQuery from_code;
    quantizer.prepare_from_code(code.data(), from_code);
    std::vector<float> decoded(100);
    quantizer.decode(code.data(), decoded.data());
    for (const float* row : rows.at) {
      const auto other = encode(quantizer, row, &error);
      std::vector<float> x(100);
      quantizer.decode(other.data(), x.data());
      const double exact = exact_score(metric == Metric::kL2 ? Metric::kL2 : Metric::kIp,
                                       decoded.data(), x.data(), 100);
      EXPECT_NEAR(from_code.approx_score(CodeDistance(from_code).key(other.data())), exact, 1e-3);
    }
  }
}

TEST(CodeQuery, ReuseWithAnotherShapeLeavesNothingBehind) {
  CodeQuery reused;
  for (const Metric metric : {Metric::kIp, Metric::kL2, Metric::kCosine, Metric::kL2}) {
    for (const std::size_t dim : {std::size_t{128}, std::size_t{70}, std::size_t{100}}) {
      const Rows rows(20, dim, Values::kOrdinary, 12);
      const auto quantizer = ScalarQuantizer::train(rows.at, dim, metric);
      CodeQuery fresh;
      quantizer.prepare(rows.at[1], fresh);
      quantizer.prepare(rows.at[1], reused);
      float error = 0;
      const auto code = encode(quantizer, rows.at[2], &error);
      EXPECT_EQ(CodeDistance(reused).key(code.data()), CodeDistance(fresh).key(code.data()));
    }
  }
}

TEST(ScalarQuantizer, L2KeysCannotOverflowAtAnyDimension) {
  for (const std::size_t dim :
       {std::size_t{1}, std::size_t{33025}, std::size_t{33026}, std::size_t{65536}}) {
    std::vector<float> low(dim, 0.0f), high(dim, 1.0f), beyond(dim, 1e6f), below(dim, -1e6f);
    const std::vector<const float*> rows = {low.data(), high.data()};
    const auto quantizer = ScalarQuantizer::train(rows, dim, Metric::kL2);
    std::vector<std::uint8_t> code(quantizer.stride());
    for (const auto& row : {low, high, beyond, below}) {
      quantizer.encode(row.data(), 1, code.data());
      for (const auto& q : {low, high, beyond, below}) {
        CodeQuery query;
        quantizer.prepare(q.data(), query);
        for (const simd::Kernels* k : simd::supported_kernels()) {
          EXPECT_GE(CodeDistance(query, *k).key(code.data()), 0) << dim << " " << k->name;
        }
      }
    }
  }
}

TEST(ScalarQuantizer, MisfitsAreRowsOutsideTheRange) {
  const Rows train(400, 64, Values::kOrdinary, 13);
  for (const Metric metric : {Metric::kIp, Metric::kL2}) {
    const auto quantizer = ScalarQuantizer::train(train.at, 64, metric);
    const Rows same(400, 64, Values::kOrdinary, 14);
    Rows larger(400, 64, Values::kOrdinary, 15);
    for (float& x : larger.values) x *= 10;
    MisfitCounter fits, fits_not;
    float error = 0;
    for (int round = 0; round < 3; ++round) {
      for (std::size_t i = 0; i < 400; ++i) {
        encode(quantizer, same.at[i], &error);
        fits.add(quantizer.misfit(error));
        encode(quantizer, larger.at[i], &error);
        fits_not.add(quantizer.misfit(error));
      }
    }
    EXPECT_FALSE(fits.retrain()) << fits.misfits();
    EXPECT_TRUE(fits_not.retrain());
  }
}

TEST(ScalarQuantizer, TrainsOnRowsThatSayNothing) {
  for (const Metric metric : kMetrics) {
    for (const float value : {0.0f, 0.3f, -1e30f, 1e-42f, 3e38f, -3.4e38f, 3.4e38f}) {
      const std::vector<float> row(20, value);
      const float* at = row.data();
      const auto quantizer = ScalarQuantizer::train({&at, 1}, 20, metric);
      float error = 0;
      const auto code = encode(quantizer, at, &error);
      EXPECT_TRUE(std::isfinite(error)) << metric_name(metric) << value << quantizer.scale();
      EXPECT_GE(static_cast<double>(error), true_error(quantizer, at, code) * (1 - 1e-15));
      EXPECT_GT(quantizer.scale(), 0);
    }
  }
}

TEST(ScalarQuantizer, SurvivesItsHeaderAndRefusesDamage) {
  const Rows rows(50, 40, Values::kOrdinary, 16);
  const auto quantizer = ScalarQuantizer::train(rows.at, 40, Metric::kL2);
  const std::string bytes = quantizer.to_bytes();
  ASSERT_EQ(bytes.size(), ScalarQuantizer::kHeaderBytes);
  const auto again = ScalarQuantizer::from_bytes(as_byte_span(bytes), 40, Metric::kL2);
  float first = 0;
  float second = 0;
  EXPECT_EQ(encode(quantizer, rows.at[1], &first), encode(again, rows.at[1], &second));
  EXPECT_EQ(first, second);
  EXPECT_EQ(quantizer.misfit(first), again.misfit(first));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    EXPECT_THROW(ScalarQuantizer::from_bytes(as_byte_span(damaged), 40, Metric::kL2), Error);
  }
  EXPECT_THROW(ScalarQuantizer::from_bytes(as_byte_span(bytes), 41, Metric::kL2), Error);
  EXPECT_THROW(ScalarQuantizer::from_bytes(as_byte_span(bytes), 40, Metric::kIp), Error);
  EXPECT_THROW(ScalarQuantizer::from_bytes(ByteSpan{}, 40, Metric::kL2), Error);
}

}  // namespace
}  // namespace srvdb::testing
