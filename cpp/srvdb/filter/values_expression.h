// A filter that the core asks of itself.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "srvdb/filter/expression.h"

namespace srvdb::filter {

// Rows with any of the values at the path. The values are JSON texts of scalars, however long and
// however many: limits are for what users ask.
std::shared_ptr<const Expression> expression_for_values(std::string_view path,
                                                        std::span<const std::string> json_values);

}  // namespace srvdb::filter
