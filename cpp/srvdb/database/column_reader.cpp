#include "srvdb/database/column_reader.h"

namespace srvdb {

std::optional<filter::ColumnView> ColumnReader::block(std::uint32_t field,
                                                      std::uint32_t block) const {
  const auto bytes = store_.column({field, block});
  if (!bytes) return std::nullopt;
  return filter::ColumnView(*bytes);
}

void ColumnReader::select(const filter::Leaf& leaf, std::uint32_t field, std::uint32_t block,
                          filter::ColumnBits yes, filter::ColumnBits maybe) const {
  if (const auto view = this->block(field, block)) view->select(leaf, yes, maybe);
}

}  // namespace srvdb
