#include "srvdb/simd/dispatch.h"

#include <cstdlib>
#include <string>

#include "srvdb/base/error.h"
#include "srvdb/simd/bit_kernels.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#define SRVDB_MAY_HAVE_AMX 1
#endif

namespace srvdb::simd {
namespace {

#ifdef SRVDB_MAY_HAVE_AMX
constexpr long kGetSupportedFeatures = 0x1021;  // arch_prctl: ARCH_GET_XCOMP_SUPP
constexpr long kAskForFeature = 0x1023;         // ARCH_REQ_XCOMP_PERM
constexpr unsigned kTileData = 18;              // the number of the feature

// The processor multiplies tiles of bytes, and the system can save their registers.
bool has_amx_int8() noexcept {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  const bool tile = (d >> 24 & 1) != 0;
  const bool int8 = (d >> 25 & 1) != 0;
  if (!tile || !int8) return false;
  unsigned long features = 0;
  return syscall(SYS_arch_prctl, kGetSupportedFeatures, &features) == 0 &&
         (features >> kTileData & 1) != 0;
}

// The table of "avx512vnni" by another name: what differs is code_tiles().
const Kernels& amx_kernels() {
  static const Kernels table = [] {
    Kernels named = kAvx512VnniKernels;
    named.name = "amxint8";
    return named;
  }();
  return table;
}
#endif

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
      if (__builtin_cpu_supports("avx512vnni")) {
        found.push_back(&kAvx512VnniKernels);
#ifdef SRVDB_MAY_HAVE_AMX
        if (has_amx_int8()) found.push_back(&amx_kernels());
#endif
      }
    }
  }
#elif defined(__aarch64__)
  found.push_back(&kNeonKernels);
#endif
  return found;
}

}  // namespace

const BitKernels& bit_kernels([[maybe_unused]] const Kernels& of) noexcept {
#if defined(__x86_64__)
  if (&of == &kAvx2Kernels) return kAvx2Bits;
  if (&of != &kBaselineKernels) return kAvx512Bits;
#endif
  return kBaselineBits;
}

const BitKernels& bit_kernels() {
  static const BitKernels& chosen = bit_kernels(kernels());
  return chosen;
}

const CodeTiles* code_tiles([[maybe_unused]] const Kernels& of) {
#if defined(__x86_64__)
#ifdef SRVDB_MAY_HAVE_AMX
  if (&of == &amx_kernels()) {
    static const bool granted = syscall(SYS_arch_prctl, kAskForFeature, kTileData) == 0;
    return granted ? &kAmxInt8CodeTiles : &kAvx512VnniCodeTiles;
  }
#endif
  if (&of == &kAvx512VnniKernels) return &kAvx512VnniCodeTiles;
#endif
  return nullptr;
}

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
