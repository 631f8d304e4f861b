#include "srvdb/index/short_code_trial.h"

#include <algorithm>
#include <vector>

#include "srvdb/index/flat.h"

namespace srvdb {
namespace {

constexpr std::size_t kTried = 32;                          // rows
constexpr std::size_t kNear = 10;                           // of them each,
constexpr std::size_t kKept = 30;                           //   among so many by short codes,
constexpr std::size_t kAround = 200;                        //   of so many
constexpr std::size_t kMostBytes = std::size_t{256} << 20;  // of codes that are scanned

}  // namespace

double try_short_codes(const Reduction& reduction, const RowsView& rows, const CodesView& codes,
                       const ScalarQuantizer& quantizer, Row n, Interrupt* interrupt) {
  const Row last = static_cast<Row>(std::min<std::size_t>(n, kMostBytes / codes.stride));
  CodeQuery usual;
  CodeQuery shorter;
  Reduction::Scratch scratch;
  Reduction::Held held;
  AlignedBuffer<std::uint8_t> code(reduction.stride());
  std::vector<Neighbor> found;
  std::vector<std::pair<std::int32_t, std::size_t>> order;  // key by short code, place by usual one
  std::size_t wanted = 0;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < kTried; ++i) {
    check(interrupt);
    const auto row = static_cast<Row>((2 * i + 1) * std::size_t{last} / (2 * kTried));
    rows.verify(row);
    quantizer.prepare(rows.row(row), usual);
    code_scan(codes, CodeDistance(usual), {.k = kAround + 1, .last = last, .interrupt = interrupt},
              found);
    std::erase_if(found, [&](const Neighbor& near) { return near.row == row; });
    if (found.size() < kKept + kNear) continue;
    reduction.prepare(rows.row(row), scratch, shorter);
    const CodeDistance distance(shorter);
    order.clear();
    for (const Neighbor& near : found) {
      rows.verify(near.row);
      reduction.encode(rows.row(near.row), scratch, code.data(), held);
      order.emplace_back(distance.key(code.data()), order.size());
    }
    std::nth_element(order.begin(), order.begin() + kKept, order.end());
    wanted += kNear;
    kept += static_cast<std::size_t>(std::count_if(order.begin(), order.begin() + kKept,
                                                   [](const auto& x) { return x.second < kNear; }));
  }
  return wanted == 0 ? 1 : static_cast<double>(kept) / static_cast<double>(wanted);
}

}  // namespace srvdb
