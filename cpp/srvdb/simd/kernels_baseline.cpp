// Kernels that every processor of the architecture runs: SSE2 on x86-64, plain code elsewhere.
#if defined(__SSE2__) && !defined(SRVDB_PLAIN_BASELINE)
#include "srvdb/simd/isa_sse2.h"
#else
#include "srvdb/simd/isa_plain.h"  // before all that includes xsimd: it says what xsimd is to have
#endif

#include "srvdb/simd/impl_bits.h"
#include "srvdb/simd/kernels.h"

namespace srvdb::simd {

constinit const BitKernels kBaselineBits = make_bit_kernels<PlainBits>();

constinit const Kernels kBaselineKernels = make_kernels<Baseline>("baseline");

}  // namespace srvdb::simd
