#include "srvdb/base/interrupt.h"

#include "srvdb/base/error.h"

namespace srvdb {

void check(Interrupt* interrupt) {
  if (interrupt != nullptr && interrupt->poll()) {
    throw Error(ErrorCode::kInterrupted, "stopped before it was done");
  }
}

}  // namespace srvdb
