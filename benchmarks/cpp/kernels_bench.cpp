// How fast the kernels are, beside what the machine can do: streaming reads, and the kernels of
// every supported instruction set on rows in memory, in tiles, and scattered.
//
//   build/srvdb_benchmarks --benchmark_min_time=0.5 --benchmark_filter=Rows
//
// "bytes_per_second" counts the rows read; "flops" counts a multiply and an add as two.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "srvdb/base/aligned.h"
#include "srvdb/quant/rotation.h"
#include "srvdb/simd/dispatch.h"

namespace {

using srvdb::AlignedBuffer;
using srvdb::simd::Kernels;

constexpr std::size_t kPoolBytes = 512u << 20;  // more than a core gets of any cache

const AlignedBuffer<float>& float_pool() {
  static const AlignedBuffer<float> pool = [] {
    AlignedBuffer<float> values(kPoolBytes / sizeof(float));
    std::mt19937 random(1);
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<float> block(1 << 16);
    for (float& x : block) x = uniform(random);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = block[i % block.size()];
    return values;
  }();
  return pool;
}

const std::uint8_t* code_pool() {
  return reinterpret_cast<const std::uint8_t*>(&float_pool()[0]);
}

// The yardstick: a plain sum of 64-bit words over the same memory, eight at a time.
void stream_read(benchmark::State& state) {
  const auto* words = reinterpret_cast<const std::uint64_t*>(code_pool());
  constexpr std::size_t kWords = kPoolBytes / sizeof(std::uint64_t);
  for (auto _ : state) {
    std::uint64_t sum[8] = {};
    for (std::size_t i = 0; i < kWords; i += 8) {
      for (std::size_t j = 0; j < 8; ++j) sum[j] += words[i + j];
    }
    for (const std::uint64_t s : sum) benchmark::DoNotOptimize(s);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * kPoolBytes));
}

// One query against every row of the pool, in blocks whose scores stay in cache.
void rows_f32(benchmark::State& state, const Kernels* k, bool l2) {
  const auto dim = static_cast<std::size_t>(state.range(0));
  const std::size_t n = float_pool().size() / dim;
  constexpr std::size_t kBlock = 256;
  std::vector<float> out(kBlock);
  const auto run = l2 ? k->l2sq_f32_rows : k->dot_f32_rows;
  benchmark::DoNotOptimize(&float_pool());
  for (auto _ : state) {
    for (std::size_t i = 0; i + kBlock <= n; i += kBlock) {
      run(&float_pool()[0], &float_pool()[i * dim], dim, kBlock, dim, out.data());
      benchmark::DoNotOptimize(out.data());
    }
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * n * dim * sizeof(float)));
}

// A batch of 1,000 queries against 16,384 rows, packing of the rows included.
void tiles_f32(benchmark::State& state, const Kernels* k) {
  const auto dim = static_cast<std::size_t>(state.range(0));
  constexpr std::size_t kQueries = 1000;
  constexpr std::size_t kRows = 16384;
  const std::size_t query_panels = (kQueries + k->tile_queries - 1) / k->tile_queries;
  AlignedBuffer<float> queries(query_panels * k->tile_queries * dim);
  std::vector<const float*> at;
  for (std::size_t p = 0; p < query_panels; ++p) {
    at.clear();
    for (std::size_t i = p * k->tile_queries; i < std::min(kQueries, (p + 1) * k->tile_queries);
         ++i) {
      at.push_back(&float_pool()[i * dim]);
    }
    k->pack_queries(at.data(), at.size(), dim, nullptr, &queries[p * k->tile_queries * dim]);
  }
  const std::size_t panels = std::max<std::size_t>(1, (256u << 10) / (k->tile_rows * dim * 4));
  const std::size_t panel_floats = k->tile_rows * dim;
  AlignedBuffer<float> rows(panels * panel_floats);
  const std::vector<float> thresholds(k->tile_queries, 1e30f);
  const std::vector<float> bias(k->tile_rows, 0.5f);
  std::vector<srvdb::simd::TileHit> hits(k->tile_rows * k->tile_queries);
  benchmark::DoNotOptimize(&float_pool());
  for (auto _ : state) {
    for (std::size_t first = 0; first < kRows; first += panels * k->tile_rows) {
      for (std::size_t p = 0; p < panels; ++p) {
        at.clear();
        for (std::size_t r = 0; r < k->tile_rows; ++r) {
          at.push_back(&float_pool()[(first + p * k->tile_rows + r) * dim]);
        }
        k->pack_rows(at.data(), at.size(), dim, nullptr, &rows[p * panel_floats]);
      }
      for (std::size_t q = 0; q < query_panels; ++q) {
        for (std::size_t p = 0; p < panels; ++p) {
          const std::size_t found =
              k->tile_dot(&rows[p * panel_floats], bias.data(), k->tile_rows,
                          &queries[q * k->tile_queries * dim], thresholds.data(), k->tile_queries,
                          dim, hits.data());
          benchmark::DoNotOptimize(found);
        }
      }
    }
  }
  state.counters["flops"] = benchmark::Counter(2.0 * kQueries * kRows * static_cast<double>(dim),
                                               benchmark::Counter::kIsIterationInvariantRate);
}

// Keys of rows scattered over the pool, 32 at a time, as a graph search asks for them.
void keys_many(benchmark::State& state, const Kernels* k, bool l2) {
  const auto stride = static_cast<std::size_t>(state.range(0));
  const std::size_t n = kPoolBytes / stride;
  std::mt19937 random(7);
  std::vector<std::uint32_t> ids(1 << 16);
  for (auto& id : ids) id = static_cast<std::uint32_t>(random() % n);
  AlignedBuffer<std::int16_t> query(stride);
  const auto& kernels = l2 ? k->l2_u8 : k->dot_u8s8;
  std::int32_t out[32];
  benchmark::DoNotOptimize(&float_pool());
  for (auto _ : state) {
    for (std::size_t i = 0; i < ids.size(); i += 32) {
      kernels.many(query.data(), code_pool(), stride, &ids[i], 32, out);
      benchmark::DoNotOptimize(out);
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * ids.size()));
}

// Codes of signs of so many bits, 32 at a time: scattered over the pool, or the same 128 again and
// again from the first-level cache. About half of them pass.
void signs_many(benchmark::State& state, const Kernels* k, bool near) {
  const auto bits = static_cast<std::size_t>(state.range(0));
  const std::size_t stride = srvdb::round_up(bits / 8 + 2 * sizeof(float), std::size_t{64});
  const std::size_t n = near ? 128 : kPoolBytes / stride;
  std::mt19937 random(7);
  std::vector<std::uint32_t> ids(1 << 16);
  for (auto& id : ids) id = static_cast<std::uint32_t>(random() % n);
  AlignedBuffer<std::int8_t> query(bits);
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < bits; ++i) {
    query[i] = static_cast<std::int8_t>(static_cast<int>(random() % 31) - 15);
    sum += query[i];
  }
  const srvdb::simd::SignTest test{.sum = sum, .weight = 1, .least = 0};
  std::uint32_t out[32];
  benchmark::DoNotOptimize(&float_pool());
  for (auto _ : state) {
    for (std::size_t i = 0; i < ids.size(); i += 32) {
      benchmark::DoNotOptimize(
          k->select_signs(query.data(), bits, code_pool(), stride, &ids[i], 32, test, out));
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * ids.size()));
}

void hadamard(benchmark::State& state, const Kernels* k) {
  const auto n = static_cast<std::size_t>(state.range(0));
  AlignedBuffer<float> values(n);
  for (auto _ : state) {
    k->hadamard_f32(values.data(), n, 0.5F);
    benchmark::ClobberMemory();
  }
}

// What a query costs before signs are asked, by the kernels that searches take.
void rotation(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  const srvdb::Rotation rotation(n);
  AlignedBuffer<float> vector(n);
  AlignedBuffer<float> room(n);
  for (auto _ : state) {
    rotation.apply(vector.data(), room.data());
    benchmark::ClobberMemory();
  }
}

void keys_rows(benchmark::State& state, const Kernels* k, bool l2) {
  const auto stride = static_cast<std::size_t>(state.range(0));
  const std::size_t n = kPoolBytes / stride;
  AlignedBuffer<std::int16_t> query(stride);
  const auto& kernels = l2 ? k->l2_u8 : k->dot_u8s8;
  constexpr std::size_t kBlock = 256;
  std::int32_t out[kBlock];
  benchmark::DoNotOptimize(&float_pool());
  for (auto _ : state) {
    for (std::size_t i = 0; i + kBlock <= n; i += kBlock) {
      kernels.rows(query.data(), code_pool() + i * stride, stride, kBlock, out);
      benchmark::DoNotOptimize(out);
    }
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * n * stride));
}

void encode_rows(benchmark::State& state, const Kernels* k) {
  const auto dim = static_cast<std::size_t>(state.range(0));
  constexpr std::size_t kRows = 1024;
  std::vector<std::uint8_t> code(dim);
  const srvdb::simd::EncodeParams params{-1.0f, 127.0f, 255.0f, 1.0, 1 / 127.0, -1.0};
  benchmark::DoNotOptimize(&float_pool());
  for (auto _ : state) {
    for (std::size_t i = 0; i < kRows; ++i) {
      benchmark::DoNotOptimize(k->encode_u8(&float_pool()[i * dim], dim, params, code.data()));
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * kRows));
}

void exact_pairs(benchmark::State& state, const Kernels* k) {
  const auto dim = static_cast<std::size_t>(state.range(0));
  constexpr std::size_t kRows = 1024;
  benchmark::DoNotOptimize(&float_pool());
  for (auto _ : state) {
    for (std::size_t i = 0; i < kRows; ++i) {
      benchmark::DoNotOptimize(k->l2sq_f64(&float_pool()[0], &float_pool()[i * dim], dim));
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * kRows));
}

// Registered at start, because the tables to measure are known only then.
bool register_all() {
  benchmark::RegisterBenchmark("StreamRead", stream_read)->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("Rotation", rotation)->Arg(768)->Arg(1536);
  for (const Kernels* k : srvdb::simd::supported_kernels()) {
    const auto add = [&](const char* what, auto body) {
      return benchmark::RegisterBenchmark((std::string(what) + "/" + k->name).c_str(), body);
    };
    add("RowsDot", [k](auto& s) { rows_f32(s, k, false); })->Arg(100)->Arg(128)->Arg(784);
    add("RowsL2", [k](auto& s) { rows_f32(s, k, true); })->Arg(100)->Arg(128)->Arg(784);
    add("Tiles", [k](auto& s) { tiles_f32(s, k); })->Arg(100)->Arg(128)->Arg(784);
    add("ManyL2", [k](auto& s) { keys_many(s, k, true); })->Arg(128)->Arg(384)->Arg(832);
    add("ManyDot", [k](auto& s) { keys_many(s, k, false); })->Arg(128)->Arg(384)->Arg(832);
    add("ScanL2", [k](auto& s) { keys_rows(s, k, true); })->Arg(128)->Arg(832);
    add("ScanDot", [k](auto& s) { keys_rows(s, k, false); })->Arg(128)->Arg(832);
    add("SignsFar", [k](auto& s) { signs_many(s, k, false); })->Arg(768)->Arg(1536);
    add("SignsNear", [k](auto& s) { signs_many(s, k, true); })->Arg(768)->Arg(1536);
    add("Hadamard", [k](auto& s) { hadamard(s, k); })->Arg(256)->Arg(1024);
    add("Encode", [k](auto& s) { encode_rows(s, k); })->Arg(128)->Arg(768);
    add("ExactL2", [k](auto& s) { exact_pairs(s, k); })->Arg(128)->Arg(784);
  }
  return true;
}
[[maybe_unused]] const bool kRegistered = register_all();

}  // namespace
