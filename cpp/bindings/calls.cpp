#include "calls.h"

#include <chrono>
#include <thread>

namespace py = pybind11;

namespace srvdb::bindings {
namespace {

// Python runs signal handlers in the main thread only; elsewhere there is nothing to poll.
bool in_main_thread() {
  const py::object main = py::module_::import("threading").attr("main_thread")();
  return main.attr("ident").cast<unsigned long>() == PyThread_get_thread_ident();
}

}  // namespace

void park() noexcept {
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

// An Interrupt cannot be moved, so its poll function asks a pointer to this object.
CallInterrupt::CallInterrupt()
    : interrupt_(in_main_thread() ? std::function<bool()>([this] { return signalled(); })
                                  : std::function<bool()>()) {}

bool CallInterrupt::signalled() {
  const PyGILState_STATE state = PyGILState_Ensure();
  const bool raised = PyErr_CheckSignals() != 0;
  if (raised) capture();
  PyGILState_Release(state);
  return raised;
}

void CallInterrupt::capture() {
  py::error_already_set error;  // takes the exception that is set
  if (!captured_) captured_.emplace(std::move(error));
  interrupt_.stop();
}

void register_stop_flag(py::module_& module) {
  py::class_<StopFlag>(module, "StopFlag").def(py::init<>()).def("stop", [](StopFlag& flag) {
    flag.interrupt.stop();
  });
}

}  // namespace srvdb::bindings
