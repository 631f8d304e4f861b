// What a measured curve says: widths for a recall, bytes in the manifest; the queries it is made
// of.
#include "srvdb/database/calibration.h"

#include <gtest/gtest.h>

#include <thread>

#include "fixture.h"
#include "srvdb/database/query_ring.h"

namespace srvdb {
namespace {

Calibration sample() {
  Calibration out;
  out.generation = 3;
  out.rows = 5000;
  out.hidden = 7;
  out.code_bytes = 192;
  out.time_us = 1'700'000'000'000'000;
  out.cost_us = 123;
  out.hardness = 2;
  out.scan_ns = 5;
  out.batch_scan_ns = 1;
  out.curves = {
      {10, 100, true, {{10, 0.85F, 0.80F, 1000}, {40, 0.95F, 0.90F, 2000}, {160, 1, 0.99F, 8000}}},
      {100, 128, false, {{100, 0.9F, 0.90F, 5000}, {400, 0.99F, 0.98F, 20000}}}};
  return out;
}

TEST(Calibration, TheWidthIsTheLeastWhoseBoundReachesTheRecall) {
  const Calibration measured = sample();
  EXPECT_EQ(measured.width_for(0.5, 10), 10u);
  EXPECT_EQ(measured.width_for(0.90, 10), 40u);
  EXPECT_EQ(measured.width_for(0.85, 10), 20u);  // half way, by the logarithm of the width
  EXPECT_EQ(measured.width_for(0.99, 10), 160u);
  EXPECT_EQ(measured.width_for(0.991, 10), std::nullopt);
}

TEST(Calibration, OtherNumbersOfHitsGoByTheNextLargerCurve) {
  const Calibration measured = sample();
  EXPECT_EQ(measured.width_for(0.90, 3), 40u);
  EXPECT_EQ(measured.width_for(0.90, 11), 200u);   // of rows: twice as wide for harder queries
  EXPECT_EQ(measured.width_for(0.90, 200), 400u);  // and in proportion beyond the last
  EXPECT_EQ(measured.width_for(0.1, 10), 10u);
  EXPECT_EQ(measured.walk_ns(10, 10), 1000);
  EXPECT_EQ(measured.walk_ns(25, 10), 1500);
  EXPECT_EQ(measured.walk_ns(320, 10), 16000);
}

TEST(Calibration, BeforeAMeasurementWidthsAreCautiousAndNeverBelowK) {
  const Calibration none;
  EXPECT_FALSE(none.measured());
  EXPECT_EQ(none.width_for(0.95, 10), 160u);
  EXPECT_EQ(none.width_for(0.95, 100), 1600u);
  EXPECT_EQ(none.width_for(0.95, 1), 160u);
  EXPECT_EQ(none.width_for(0.999, 10), std::nullopt);
  EXPECT_EQ(none.width_for(0.1, 500), 2000u);
  EXPECT_EQ(none.width_for(0.1, 50'000), std::nullopt);  // wider than walks are
  EXPECT_EQ(none.walk_ns(100, 10), 0);
}

TEST(Calibration, ComesBackFromItsBytesAndNotFromOthers) {
  const std::string bytes = encode_calibration(sample());
  EXPECT_EQ(decode_calibration(as_byte_span(bytes)), sample());
  EXPECT_EQ(bytes.size(), 1u + 8 + 4 + 4 + 4 + 8 + 8 + 12 + 4 + 2 * 13 + 5 * 16);  // cpp/FORMAT.md
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_EQ(decode_calibration(as_byte_span(bytes.substr(0, n))), std::nullopt) << n;
  }
  EXPECT_EQ(decode_calibration(as_byte_span(bytes + "x")), std::nullopt);
  std::string later = bytes;
  later[0] = 3;
  EXPECT_EQ(decode_calibration(as_byte_span(later)), std::nullopt);
}

TEST(QueryRing, KeepsTheLatestDistinctQueries) {
  QueryRing ring;
  const std::vector<float> rows = random_rows(10'000, 4);
  for (std::size_t i = 0; i < 100; ++i) ring.note(rows.data(), 4);
  EXPECT_EQ(ring.size(), 1u);
  for (std::size_t i = 0; i < 10'000; ++i) ring.note(rows.data() + 4 * i, 4);
  EXPECT_EQ(ring.size(), QueryRing::kMaxQueries);
  EXPECT_GT(ring.entered(), 2 * QueryRing::kMaxQueries);  // one in sixteen of the later ones
  EXPECT_LT(ring.entered(), 4 * QueryRing::kMaxQueries);
  const std::vector<float> first(rows.begin(), rows.begin() + 4);
  const std::vector<float> kept = ring.copy(4);
  EXPECT_EQ(kept.size(), 4 * QueryRing::kMaxQueries);
  EXPECT_EQ(std::search(kept.begin(), kept.end(), first.begin(), first.end()), kept.end());
  ring.note(rows.data(), 5);
  EXPECT_TRUE(ring.copy(5).empty());
}

TEST(QueryRing, WideQueriesAreBoundedInBytesAndThreadsMayShareIt) {
  QueryRing ring;
  const std::size_t dim = 20'000;
  const std::vector<float> rows = random_rows(30, dim);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (std::size_t i = 0; i < 30; ++i) ring.note(rows.data() + i * dim, dim);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(ring.size(), QueryRing::kMinQueries);
  EXPECT_LE(ring.bytes(), QueryRing::kMinQueries * (dim + 1) * sizeof(float));
}

}  // namespace
}  // namespace srvdb
