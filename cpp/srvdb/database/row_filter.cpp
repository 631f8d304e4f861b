#include "srvdb/database/row_filter.h"

#include <algorithm>
#include <string>
#include <utility>

#include "srvdb/simd/bit_kernels.h"

namespace srvdb {
namespace {

using filter::Leaf;
using filter::Node;
using filter::NodeKind;

// Of a block in which fewer rows came or changed, the documents decide at once.
constexpr std::size_t kFewRows = 48;
// So many rows are evaluated without going over the words of all.
constexpr std::size_t kFewChanges = 4096;
constexpr std::size_t kIdPage = 4096;

bool none(const RowBits& rows) noexcept {
  return std::ranges::all_of(rows, [](std::uint64_t bits) { return bits == 0; });
}

std::size_t count(const RowBits& rows) {
  return simd::bit_kernels().count(rows.data(), rows.size());
}

void set(RowBits& rows, Row row) noexcept {
  const Row at = row & (kBlockRows - 1);
  rows[at / 64] |= std::uint64_t{1} << (at % 64);
}

// Words of the blocks that hold so many rows.
std::size_t block_words(Row rows) noexcept {
  const std::size_t blocks = (std::size_t{rows} + kBlockRows - 1) >> kBlockBits;
  return blocks * std::tuple_size_v<RowBits>;
}

// Rows that the ids of a leaf stand for in the store, ascending.
std::vector<Row> find_rows(const MetaStore::ReadTxn& store, const Leaf& leaf) {
  std::vector<Row> rows;
  if (leaf.op() == filter::Operator::kPrefix) {
    const std::string_view prefix = leaf.operands()[0].text();
    if (!prefix.empty()) {
      if (const auto row = store.find_id(prefix)) rows.push_back(*row);
    }
    std::string after(prefix);
    for (bool more = true; more;) {
      const std::vector<IdRow> page = store.scan_ids(after, kIdPage);
      more = page.size() == kIdPage;
      for (const IdRow& entry : page) {
        if (!entry.id.starts_with(prefix)) {
          more = false;
          break;
        }
        rows.push_back(entry.row);
      }
      if (more) after = page.back().id;
    }
  } else {
    std::vector<std::string_view> ids;
    for (const filter::Value& operand : leaf.operands()) {
      // No id is empty or longer than a key may be, and nothing is found under such a key.
      const std::string_view id = operand.text();
      if (!id.empty() && id.size() <= kMaxIdBytes) ids.push_back(id);
    }
    store.find_existing(ids, [&](std::size_t, Row row) { rows.push_back(row); });
  }
  std::sort(rows.begin(), rows.end());
  return rows;
}

}  // namespace

RowFilter::RowFilter(const filter::Expression& expression, const RowDocuments& documents,
                     Interrupt* interrupt)
    : expression_(expression),
      documents_(documents),
      interrupt_(interrupt),
      stored_rows_(expression.leaves().size()) {
  for (const Leaf& leaf : expression.leaves()) asks_ids_ = asks_ids_ || leaf.is_on_id();
}

RowBitmap RowFilter::matches() {
  return matches({}, 0, {});
}

RowBitmap RowFilter::matches(const RowBitmap& known, Row from, std::span<const Row> changed) {
  brings_forward_ = from > 0;
  const Row rows = documents_.view().rows;
  const std::size_t added = rows - std::min(from, rows);
  if (added + changed.size() <= kFewChanges) {
    std::vector<Row> asked(changed.begin(), changed.end());
    std::erase_if(asked, [&](Row row) { return row >= from; });
    for (Row row = from; row < rows; ++row) asked.push_back(row);
    return few_matches(known, std::move(asked));
  }
  std::vector<std::uint64_t> words(block_words(rows));
  if (from == 0 && known.empty()) {
    run({}, words);
    return RowBitmap::from_words(words);
  }
  std::vector<std::uint64_t> wanted(words.size());
  const auto want = [&](Row row) { wanted[row / 64] |= std::uint64_t{1} << (row % 64); };
  for (const Row row : changed) {
    if (row < rows) want(row);
  }
  for (std::uint64_t row = from; row < rows;) {
    if (row % 64 == 0) {
      wanted[row / 64] = ~std::uint64_t{0};
      row += 64;
    } else {
      want(static_cast<Row>(row++));
    }
  }
  for (std::size_t w = 0; w < words.size(); ++w) words[w] = known.word(w) & ~wanted[w];
  run(wanted, words);
  return RowBitmap::from_words(words);
}

// As matches(), when just these rows, in any order, are to be evaluated: what does not change is
// shared with `known`.
RowBitmap RowFilter::few_matches(const RowBitmap& known, std::vector<Row> rows) {
  if (rows.empty()) return known;
  std::sort(rows.begin(), rows.end());
  std::vector<Row> found;
  for (std::size_t i = 0; i < rows.size();) {
    check(interrupt_);
    const Row block = rows[i] >> kBlockBits;
    RowBits asked{};
    for (; i < rows.size() && rows[i] >> kBlockBits == block; ++i) set(asked, rows[i]);
    const RowBits there = rows_of(documents_.view(), block);
    for (std::size_t w = 0; w < asked.size(); ++w) asked[w] &= there[w];
    select(block, asked);
    for_each_row(block, asked, [&](Row row) { found.push_back(row); });
  }
  return known.without_rows(rows).with_rows(found);
}

RowBitmap RowFilter::among(const RowBitmap& rows) {
  std::vector<std::uint64_t> wanted(block_words(documents_.view().rows));
  for (std::size_t w = 0; w < wanted.size(); ++w) wanted[w] = rows.word(w);
  std::vector<std::uint64_t> words(wanted.size());
  run(wanted, words);
  return RowBitmap::from_words(words);
}

void RowFilter::run(std::span<const std::uint64_t> wanted, std::span<std::uint64_t> words) {
  constexpr std::size_t kWords = std::tuple_size_v<RowBits>;
  for (std::size_t at = 0; at < words.size(); at += kWords) {
    check(interrupt_);
    const auto block = static_cast<Row>(at / kWords);
    RowBits rows = rows_of(documents_.view(), block);
    if (!wanted.empty()) {
      for (std::size_t w = 0; w < kWords; ++w) rows[w] &= wanted[at + w];
    }
    select(block, rows);
    for (std::size_t w = 0; w < kWords; ++w) words[at + w] |= rows[w];
  }
}

// Of the rows in `rows`: those that certainly match, and those that others may.
void RowFilter::answer(Row block, const RowBits& rows, Answer& answer) {
  if (expression_.matches_all()) {
    answer = {rows, {}};
    return;
  }
  has_pending_ = documents_.has_pending(block);
  if (has_pending_) {
    pending_ = documents_.pending_rows(block);
    RowBits settled;
    for (std::size_t w = 0; w < rows.size(); ++w) settled[w] = rows[w] & ~pending_[w];
    if (!asks_ids_ && none(settled)) {
      answer = {{}, rows};
      return;
    }
  }
  evaluate(expression_.root(), block, rows, answer);
  for (std::size_t w = 0; w < rows.size(); ++w) {
    answer.sure[w] &= rows[w];
    answer.maybe[w] &= rows[w] & ~answer.sure[w];
  }
}

void RowFilter::select(Row block, RowBits& rows) {
  if (none(rows)) return;
  Answer answer;
  if (brings_forward_ && count(rows) < kFewRows && !expression_.matches_all()) {
    answer = {{}, rows};
  } else {
    this->answer(block, rows, answer);
  }
  rows = answer.sure;
  if (!none(answer.maybe)) decide(block, answer.maybe, rows);
}

RowFilter::Bounds RowFilter::bounds() {
  const View& view = documents_.view();
  constexpr std::size_t kWords = std::tuple_size_v<RowBits>;
  std::vector<std::uint64_t> sure(block_words(view.rows));
  std::vector<std::uint64_t> doubtful(sure.size());
  for (std::size_t at = 0; at < sure.size(); at += kWords) {
    check(interrupt_);
    const auto block = static_cast<Row>(at / kWords);
    const RowBits rows = rows_of(view, block);
    if (none(rows)) continue;
    Answer answer;
    this->answer(block, rows, answer);
    std::ranges::copy(answer.sure, sure.begin() + static_cast<std::ptrdiff_t>(at));
    std::ranges::copy(answer.maybe, doubtful.begin() + static_cast<std::ptrdiff_t>(at));
  }
  return {RowBitmap::from_words(sure), RowBitmap::from_words(doubtful)};
}

// The documents of doubtful rows are looked at; those that match are added to `matching`.
void RowFilter::decide(Row block, RowBits& doubtful, RowBits& matching) {
  const View& view = documents_.view();
  documents_.each(block, doubtful, [&](Row row, std::string_view metadata) {
    if (asks_ids_) {
      if (expression_.matches(view.id(row), metadata)) set(matching, row);
      return;
    }
    if (metadata != "{}") {
      if (expression_.matches({}, metadata)) set(matching, row);
      return;
    }
    if (!nothing_matches_) nothing_matches_ = expression_.matches({}, metadata);
    if (*nothing_matches_) set(matching, row);
  });
}

// `rows` are those whose answer matters; about others the answer may say anything.
void RowFilter::evaluate(const Node& node, Row block, const RowBits& rows, Answer& answer) {
  switch (node.kind) {
    case NodeKind::kAll:
      answer.sure.fill(~std::uint64_t{0});
      answer.maybe.fill(~std::uint64_t{0});
      return;
    case NodeKind::kLeaf:
      return evaluate_leaf(node.leaf, block, rows, answer);
    case NodeKind::kNot:
      evaluate(node.children[0], block, rows, answer);
      for (std::size_t w = 0; w < rows.size(); ++w) {
        answer.sure[w] = ~answer.sure[w];
        answer.maybe[w] = ~answer.maybe[w];
      }
      std::swap(answer.sure, answer.maybe);
      return;
    case NodeKind::kAnd:
    case NodeKind::kOr:
      break;
  }
  const bool all = node.kind == NodeKind::kAnd;
  evaluate(node.children[0], block, rows, answer);
  Answer next;
  for (std::size_t i = 1; i < node.children.size(); ++i) {
    // What the children so far leave open, of the rows that are asked about.
    RowBits open;
    for (std::size_t w = 0; w < rows.size(); ++w) {
      open[w] = rows[w] & (all ? answer.maybe[w] : ~answer.sure[w]);
    }
    if (none(open)) return;
    evaluate(node.children[i], block, open, next);
    for (std::size_t w = 0; w < rows.size(); ++w) {
      answer.sure[w] = all ? answer.sure[w] & next.sure[w] : answer.sure[w] | next.sure[w];
      answer.maybe[w] = all ? answer.maybe[w] & next.maybe[w] : answer.maybe[w] | next.maybe[w];
    }
  }
}

void RowFilter::evaluate_leaf(std::size_t leaf, Row block, const RowBits& rows, Answer& answer) {
  const Leaf& condition = expression_.leaves()[leaf];
  if (condition.is_on_id()) {
    select_ids(leaf, block, rows, answer.sure);
    answer.maybe = answer.sure;
    return;
  }
  answer.sure.fill(0);
  const FieldCoverage coverage = columns().fields().coverage(condition.path());
  if (coverage == FieldCoverage::kUnknown) {
    answer.maybe.fill(~std::uint64_t{0});
    return;
  }
  answer.maybe.fill(0);
  if (coverage == FieldCoverage::kColumn && block << kBlockBits < documents_.stored()) {
    const std::optional<std::uint32_t> field = columns().fields().number(condition.path());
    if (field) columns().select(condition, *field, block, answer.sure, answer.maybe);
  }
  if (has_pending_) {
    for (std::size_t w = 0; w < rows.size(); ++w) {
      answer.sure[w] &= ~pending_[w];
      answer.maybe[w] |= pending_[w];
    }
  }
  for (std::size_t w = 0; w < rows.size(); ++w) answer.maybe[w] |= answer.sure[w];
}

const ColumnReader& RowFilter::columns() {
  if (!columns_) columns_.emplace(documents_.store());
  return *columns_;
}

// The store knows where its ids are; the ids of later rows are looked at.
void RowFilter::select_ids(std::size_t leaf, Row block, const RowBits& rows, RowBits& out) {
  out.fill(0);
  const Row first = block << kBlockBits;
  if (first < documents_.stored()) {
    const std::vector<Row>& stored = stored_rows(leaf);
    for (auto at = std::lower_bound(stored.begin(), stored.end(), first);
         at != stored.end() && *at - first < kBlockRows; ++at) {
      if (*at < documents_.stored()) set(out, *at);
    }
  }
  if (documents_.stored() - std::min(documents_.stored(), first) >= kBlockRows) return;
  const View& view = documents_.view();
  for_each_row(block, rows, [&](Row row) {
    if (row < documents_.stored()) return;
    if (expression_.leaves()[leaf].test_id(view.id(row))) set(out, row);
  });
}

const std::vector<Row>& RowFilter::stored_rows(std::size_t leaf) {
  std::optional<std::vector<Row>>& rows = stored_rows_[leaf];
  if (!rows) rows = find_rows(documents_.store(), expression_.leaves()[leaf]);
  return *rows;
}

}  // namespace srvdb
