#include "srvdb/index/short_code_trial.h"

#include <algorithm>
#include <vector>

#include "srvdb/base/aligned.h"
#include "srvdb/index/flat.h"

namespace srvdb {
namespace {

constexpr std::size_t kTried = 32;    // rows
constexpr std::size_t kNear = 10;     // of them each,
constexpr std::size_t kKept = 30;     //   among so many by short codes,
constexpr std::size_t kAround = 200;  //   of so many, and of the sample
constexpr std::size_t kWindowBytes = std::size_t{256} << 20;

// What rows are tried with, and compared with.
class Trial {
 public:
  Trial(const Reduction& reduction, const RowsView& rows, Row n, std::span<const Row> sample,
        Interrupt* interrupt)
      : reduction_(reduction),
        rows_(rows),
        sample_(sample),
        stands_for_(sample.empty() ? 0
                                   : static_cast<double>(n) / static_cast<double>(sample.size())),
        codes_(sample.size() * reduction.stride()),
        code_(reduction.stride()),
        keys_(sample.size()) {
    for (std::size_t i = 0; i < sample.size(); ++i) {
      if (i % 256 == 0) check(interrupt);
      encode(sample[i], codes_.data() + i * reduction.stride());
    }
  }

  // How many of the kNear nearest (the first of `found`, rows by usual codes) are near by short
  // codes as well.
  std::size_t kept(Row row, const std::vector<Neighbor>& found) {
    reduction_.prepare(rows_.row(row), scratch_, query_);
    const CodeDistance distance(query_);
    std::vector<std::int32_t> around;
    std::vector<Row> seen{row};
    for (const Neighbor& near : found) {
      encode(near.row, code_.data());
      around.push_back(distance.key(code_.data()));
      seen.push_back(near.row);
    }
    std::sort(seen.begin(), seen.end());
    distance.keys_rows(codes_.data(), sample_.size(), keys_.data());
    std::vector<std::int32_t> others;
    for (std::size_t i = 0; i < sample_.size(); ++i) {
      if (!std::binary_search(seen.begin(), seen.end(), sample_[i])) others.push_back(keys_[i]);
    }
    const auto nearer = [](const std::vector<std::int32_t>& keys, std::int32_t key) {
      return static_cast<double>(
          std::count_if(keys.begin(), keys.end(), [key](std::int32_t k) { return k < key; }));
    };
    std::size_t out = 0;
    for (std::size_t i = 0; i < kNear; ++i) {
      const double place = nearer(around, around[i]) + stands_for_ * nearer(others, around[i]);
      out += place < static_cast<double>(kKept) ? 1u : 0u;
    }
    return out;
  }

 private:
  void encode(Row row, std::uint8_t* code) {
    rows_.verify(row);
    reduction_.encode(rows_.row(row), scratch_, code, held_);
  }

  const Reduction& reduction_;
  const RowsView& rows_;
  const std::span<const Row> sample_;
  const double stands_for_;            // rows, each of the sample
  AlignedBuffer<std::uint8_t> codes_;  // of the sample
  AlignedBuffer<std::uint8_t> code_;
  std::vector<std::int32_t> keys_;
  Reduction::Scratch scratch_;
  Reduction::Held held_;
  CodeQuery query_;
};

// Calls with(row, query, found) for each row tried, its usual CodeQuery and the kAround rows
// nearest to it by usual codes, where there are `least` and they are not all the same to these.
template <typename With>
void for_rows_tried(const RowsView& rows, const CodesView& codes, const ScalarQuantizer& quantizer,
                    Row n, std::size_t least, Interrupt* interrupt, const With& with) {
  const auto window = static_cast<Row>(std::min<std::size_t>(n, kWindowBytes / codes.stride));
  CodeQuery usual;
  std::vector<Neighbor> found;
  for (std::size_t i = 0; i < kTried && n > 0; ++i) {
    check(interrupt);
    const auto row = static_cast<Row>((2 * i + 1) * std::size_t{n} / (2 * kTried));
    const Row first = std::min(row - std::min(row, window / 2), n - window);
    rows.verify(row);
    quantizer.prepare(rows.row(row), usual);
    FlatOptions scan;
    scan.k = kAround + 1;
    scan.first = first;
    scan.last = first + window;
    scan.interrupt = interrupt;
    code_scan(codes, CodeDistance(usual), scan, found);
    std::erase_if(found, [&](const Neighbor& near) { return near.row == row; });
    if (found.size() < least || found.front().key == found.back().key) continue;
    with(row, usual, found);
  }
}

double part_of(std::size_t some, std::size_t all) noexcept {
  return all == 0 ? 1 : static_cast<double>(some) / static_cast<double>(all);
}

}  // namespace

double try_short_codes(const Reduction& reduction, const RowsView& rows, const CodesView& codes,
                       const ScalarQuantizer& quantizer, Row n, std::span<const Row> sample,
                       Interrupt* interrupt) {
  Trial trial(reduction, rows, n, sample, interrupt);
  std::size_t wanted = 0;
  std::size_t kept = 0;
  for_rows_tried(rows, codes, quantizer, n, kKept + kNear, interrupt,
                 [&](Row row, const CodeQuery&, const std::vector<Neighbor>& found) {
                   wanted += kNear;
                   kept += trial.kept(row, found);
                 });
  return part_of(kept, wanted);
}

SignAgreement try_signs(const SignQuantizer& signs, const RowsView& rows, const CodesView& codes,
                        const ScalarQuantizer& quantizer, Row n, Interrupt* interrupt) {
  constexpr std::size_t kLast = 40;  // candidate of a walk
  constexpr std::size_t kFar = 100;  // rows from here on need not be measured
  const std::size_t stride = signs.stride();
  AlignedBuffer<std::uint8_t> of_found((kAround + 1) * stride);
  std::vector<std::uint32_t> ids;
  std::vector<std::uint32_t> passed(kAround + 1);
  SignQuantizer::Scratch scratch;
  SignQuery query;
  std::size_t near = 0;
  std::size_t far = 0;
  std::size_t near_passed = 0;
  std::size_t far_passed = 0;
  const auto take = [&](Row row, const CodeQuery& usual, const std::vector<Neighbor>& found) {
    signs.prepare(rows.row(row), scratch, query);
    ids.clear();
    for (const Neighbor& other : found) {
      rows.verify(other.row);
      signs.encode(rows.row(other.row), scratch, of_found.data() + ids.size() * stride);
      ids.push_back(static_cast<std::uint32_t>(ids.size()));
    }
    const double score = usual.approx_score(found[kLast - 1].key);
    const std::size_t n_passed =
        query.select(score, of_found.data(), stride, ids.data(), ids.size(), passed.data());
    near += kNear;
    far += ids.size() - kFar;
    for (std::size_t i = 0; i < n_passed; ++i) {
      near_passed += passed[i] < kNear ? 1u : 0u;
      far_passed += passed[i] >= kFar ? 1u : 0u;
    }
  };
  for_rows_tried(rows, codes, quantizer, n, kAround, interrupt, take);
  return {.near_pass = part_of(near_passed, near), .far_pass = part_of(far_passed, far)};
}

}  // namespace srvdb
