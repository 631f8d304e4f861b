#include "srvdb/database/row_documents.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "srvdb/base/error.h"

namespace srvdb {
namespace {

constexpr std::string_view kNothing = "{}";
// From this share of a block's rows on, the store is read through rather than asked row by row.
constexpr std::size_t kManyShare = 16;

std::string_view or_nothing(std::string_view text) {
  return text.empty() ? kNothing : text;
}

}  // namespace

RowBits rows_of(const View& view, Row block) {
  RowBits out{};
  const std::uint64_t first = std::uint64_t{block} << kBlockBits;
  if (first >= view.rows) return out;
  view.gone.copy_words(first / 64, out);
  for (std::uint64_t& word : out) word = ~word;
  for (std::size_t w = 0; first + kBlockRows > view.rows && w < out.size(); ++w) {
    const std::uint64_t at = first + 64 * w;
    if (at >= view.rows) {
      out[w] = 0;
    } else if (view.rows - at < 64) {
      out[w] &= (std::uint64_t{1} << (view.rows - at)) - 1;
    }
  }
  return out;
}

void PendingTexts::take(std::shared_ptr<const PendingChanges> frozen, const PendingChanges& active,
                        Row first, std::span<const Row> also) {
  std::vector<Row> once(also.begin(), also.end());
  std::sort(once.begin(), once.end());
  once.erase(std::unique(once.begin(), once.end()), once.end());
  frozen_ = std::move(frozen);
  if (frozen_) take(*frozen_, false, first, once);
  take(active, true, first, once);  // the newer one later
}

void PendingTexts::take(const PendingChanges& side, bool copies, Row first,
                        std::span<const Row> also) {
  const auto add = [&](Row row, std::string_view text) {
    texts_.emplace_back(row, copies ? arena_.copy(text) : text);
  };
  const auto& added = side.metadata_by_row();
  auto at = std::lower_bound(added.begin(), added.end(), first,
                             [](const auto& entry, Row row) { return entry.first < row; });
  for (; at != added.end(); ++at) add(at->first, at->second);
  for (const auto& [row, text] : side.edited_metadata()) {
    if (row >= first) add(row, text);
  }
  for (const Row row : also) {
    if (row >= first) continue;
    if (const auto text = side.metadata(row)) add(row, *text);
  }
}

void PendingTexts::finish() {
  const auto before = [](const auto& a, const auto& b) { return a.first < b.first; };
  if (!std::is_sorted(texts_.begin(), texts_.end(), before)) {
    std::stable_sort(texts_.begin(), texts_.end(), before);
  }
  // Of several texts of a row the last one taken counts.
  std::size_t kept = 0;
  for (std::size_t i = 0; i < texts_.size(); ++i) {
    if (i + 1 < texts_.size() && texts_[i + 1].first == texts_[i].first) continue;
    texts_[kept++] = texts_[i];
  }
  texts_.resize(kept);
}

std::optional<std::string_view> PendingTexts::find(Row row) const {
  const auto at = std::lower_bound(texts_.begin(), texts_.end(), row,
                                   [](const auto& entry, Row r) { return entry.first < r; });
  if (at == texts_.end() || at->first != row) return std::nullopt;
  return at->second;
}

void RowDocuments::each(Row block, const RowBits& rows, const Found& found) const {
  std::size_t n = 0;
  for (const std::uint64_t bits : rows) n += static_cast<std::size_t>(std::popcount(bits));
  if (n >= kBlockRows / kManyShare && (block << kBlockBits) < stored_) {
    each_in_order(block, rows, found);
  } else if (n > 0) {
    each_by_row(block, rows, found);
  }
}

void RowDocuments::each_by_row(Row block, const RowBits& rows, const Found& found) const {
  for_each_row(block, rows, [&](Row row) { found(row, metadata(row)); });
}

std::string_view RowDocuments::metadata(Row row) const {
  std::optional<std::string_view> text = pending_.find(row);
  if (!text && row < stored_) text = store_.metadata(row);
  return or_nothing(text.value_or(std::string_view()));
}

bool RowDocuments::has_pending(Row block) const noexcept {
  return !pending_.texts().empty() || stored_ >> kBlockBits <= block;
}

RowBits RowDocuments::pending_rows(Row block) const noexcept {
  RowBits out{};
  const std::uint64_t first = std::uint64_t{block} << kBlockBits;
  for (std::size_t w = 0; w < out.size(); ++w) {
    const std::uint64_t at = first + 64 * w;
    if (at >= stored_) {
      out[w] = ~std::uint64_t{0};
    } else if (stored_ - at < 64) {
      out[w] = ~std::uint64_t{0} << (stored_ - at);
    }
  }
  const auto texts = pending_.texts();
  auto text = std::lower_bound(texts.begin(), texts.end(), first,
                               [](const auto& entry, std::uint64_t r) { return entry.first < r; });
  for (; text != texts.end() && text->first < std::min<std::uint64_t>(stored_, first + kBlockRows);
       ++text) {
    const Row at = text->first & (kBlockRows - 1);
    out[at / 64] |= std::uint64_t{1} << (at % 64);
  }
  return out;
}

// The store's texts, the pending ones and the wanted rows are three ascending lists.
void RowDocuments::each_in_order(Row block, const RowBits& rows, const Found& found) const {
  const Row first = block << kBlockBits;
  const Row end = first + std::min(kBlockRows, kMaxRows - first);
  const auto texts = pending_.texts();
  auto pending = std::lower_bound(texts.begin(), texts.end(), first,
                                  [](const auto& entry, Row row) { return entry.first < row; });
  std::size_t word = 0;
  std::uint64_t bits = rows[0];
  // The wanted rows up to and without `until`; the last one's text is known when it is that one.
  const auto advance = [&](Row until, std::optional<std::string_view> its_text) {
    for (; word < rows.size();) {
      if (bits == 0) {
        if (++word < rows.size()) bits = rows[word];
        continue;
      }
      const Row row =
          first + static_cast<Row>(64 * word) + static_cast<Row>(std::countr_zero(bits));
      if (row > until || (row == until && !its_text)) return;
      std::string_view text = row == until ? *its_text : std::string_view();
      while (pending != texts.end() && pending->first < row) ++pending;
      if (pending != texts.end() && pending->first == row) text = pending->second;
      found(row, or_nothing(text));
      bits &= bits - 1;
      if (row == until) return;
    }
  };
  Row next = first;
  store_.for_each_metadata(
      [&](Row row, std::string_view text) {
        if (row < next) {  // a damaged inner page can lead to sound leaves in the wrong order
          throw Error(ErrorCode::kCorruption,
                      "metadata.db: tree meta is out of order at row " + std::to_string(row));
        }
        next = row + 1;
        advance(row, text);
      },
      first, std::min(end, stored_));
  advance(end, std::nullopt);
}

}  // namespace srvdb
