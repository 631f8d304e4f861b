#include "srvdb/simd/dispatch.h"

#include <cstdlib>
#include <string>

#include "srvdb/base/error.h"

namespace srvdb::simd {
namespace {

std::vector<const Kernels*> detect() {
  std::vector<const Kernels*> found = {&kBaselineKernels};
#if defined(__x86_64__)
  // The compiler's run-time check asks CPUID and XGETBV: a set whose registers the operating system
  // does not save counts as absent.
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    found.push_back(&kAvx2Kernels);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      found.push_back(&kAvx512Kernels);
      if (__builtin_cpu_supports("avx512vnni")) found.push_back(&kAvx512VnniKernels);
    }
  }
#elif defined(__aarch64__)
  found.push_back(&kNeonKernels);
#endif
  return found;
}

}  // namespace

const std::vector<const Kernels*>& supported_kernels() {
  static const std::vector<const Kernels*> supported = detect();
  return supported;
}

const Kernels& kernels_named(std::string_view name) {
  const auto& supported = supported_kernels();
  if (name.empty()) return *supported.back();
  std::string names;
  for (const Kernels* candidate : supported) {
    if (name == candidate->name) return *candidate;
    names += names.empty() ? "" : ", ";
    names += candidate->name;
  }
  throw Error(ErrorCode::kInvalidInput, "SRVDB_SIMD: expected one of " + names +
                                            " (what this processor runs), got \"" +
                                            std::string(name) + "\"");
}

const Kernels& kernels() {
  static const Kernels& chosen = [&]() -> const Kernels& {
    const char* name = std::getenv("SRVDB_SIMD");
    return kernels_named(name == nullptr ? "" : name);
  }();
  return chosen;
}

}  // namespace srvdb::simd
