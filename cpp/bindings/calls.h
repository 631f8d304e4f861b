// How a call leaves Python for the core and comes back: without the GIL, with Ctrl-C listened to.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>
#include <type_traits>
#include <utility>

#include "errors.h"
#include "srvdb/base/interrupt.h"

namespace srvdb::bindings {

// Sleeps for ever; the end of the process ends it.
[[noreturn]] void park() noexcept;

// The GIL is released while it lives.
//
// Once Python is going away, a daemon thread does not get the GIL back: before Python 3.14 it is
// ended by unwinding its stack. Unwinding stops here, as the frames above own Python objects, and
// the thread sleeps until the process is gone (as Python 3.14 itself does). It holds no lock of the
// core then.
class Released {
 public:
  Released() : state_(PyEval_SaveThread()) {}
  ~Released() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      park();
    }
  }
  Released(const Released&) = delete;
  Released& operator=(const Released&) = delete;

 private:
  PyThreadState* state_;
};

// Runs body without the GIL, then reports what the core has to say.
template <class Body>
auto call_core(Body&& body) {
  using Result = std::invoke_result_t<Body>;
  if constexpr (std::is_void_v<Result>) {
    {
      const Released released;
      body();
    }
    report_events();
  } else {
    Result result = [&] {
      const Released released;
      return body();
    }();
    report_events();
    return result;
  }
}

// What a long call polls: Python's signals when it runs in the main thread. A Python exception
// raised while the call runs (KeyboardInterrupt, or an error of a progress callback) is kept, stops
// the call, and is what the caller sees.
class CallInterrupt {
 public:
  CallInterrupt();  // with the GIL
  CallInterrupt(const CallInterrupt&) = delete;
  CallInterrupt& operator=(const CallInterrupt&) = delete;

  Interrupt* get() noexcept { return &interrupt_; }

  // With the GIL and a Python exception set: keeps it and stops the call.
  void capture();

  // As call_core(); then throws what was captured, whether the core stopped for it
  // (Error(kInterrupted)) or had finished by then.
  template <class Body>
  auto call(Body&& body) {
    try {
      if constexpr (std::is_void_v<std::invoke_result_t<Body>>) {
        call_core(std::forward<Body>(body));
        throw_captured();
      } else {
        auto result = call_core(std::forward<Body>(body));
        throw_captured();
        return result;
      }
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kInterrupted) throw_captured();
      throw;
    }
  }

 private:
  bool signalled();  // without the GIL
  void throw_captured() {
    if (captured_) throw std::move(*captured_);
  }

  Interrupt interrupt_;
  std::optional<pybind11::error_already_set> captured_;
};

// A stop button for a call that runs in another thread: `_core.StopFlag`.
struct StopFlag {
  Interrupt interrupt;
};

void register_stop_flag(pybind11::module_& module);

}  // namespace srvdb::bindings
