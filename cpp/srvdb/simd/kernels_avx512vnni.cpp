// Kernels for AVX-512 with VNNI (Ice Lake, Zen 4 and later). Compiled with -mavx512vnni as well.
#include "srvdb/simd/isa_avx512.h"

#ifndef __AVX512VNNI__
#error "compile this file with -mavx512vnni"
#endif

namespace srvdb::simd {

constinit const Kernels kAvx512VnniKernels = make_kernels<Avx512>("avx512vnni");

}  // namespace srvdb::simd
