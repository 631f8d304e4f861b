// The simulated file system that a whole database runs in.
#pragma once

#include "support/simulated_files.h"

namespace srvdb::testing {

using PowerFiles = SimulatedFiles;

}  // namespace srvdb::testing
