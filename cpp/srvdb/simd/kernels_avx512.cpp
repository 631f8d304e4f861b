// Kernels for AVX-512 without VNNI (Skylake-SP and later). Compiled with -mavx512{f,bw,cd,dq,vl}.
#include "srvdb/simd/isa_avx512.h"

namespace srvdb::simd {

constinit const Kernels kAvx512Kernels = make_kernels<Avx512>("avx512");

}  // namespace srvdb::simd
