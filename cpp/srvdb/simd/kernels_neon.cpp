// Kernels for NEON on arm64.
#include <arm_neon.h>

#include "srvdb/simd/kernels_impl.h"

namespace srvdb::simd {
namespace {

struct NeonCodes {
  struct Sums {
    int32x4_t a = vdupq_n_s32(0);
    int32x4_t b = vdupq_n_s32(0);
    SRVDB_INLINE std::int32_t total() const noexcept { return vaddvq_s32(vaddq_s32(a, b)); }
  };
  SRVDB_INLINE static void add_products(Sums& sum, int16x8_t x, int16x8_t y) noexcept {
    sum.a = vmlal_s16(sum.a, vget_low_s16(x), vget_low_s16(y));
    sum.b = vmlal_high_s16(sum.b, x, y);
  }
  SRVDB_INLINE static int16x8_t wide_low(uint8x16_t c) noexcept {
    return vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(c)));
  }
  SRVDB_INLINE static int16x8_t wide_high(uint8x16_t c) noexcept {
    return vreinterpretq_s16_u16(vmovl_high_u8(c));
  }

  struct L2 {
    using Element = std::int16_t;
    using Sum = Sums;
    SRVDB_INLINE static void step(Sum& sum, const Element* q, const std::uint8_t* code) noexcept {
      for (std::size_t i = 0; i < 64; i += 16) {
        const uint8x16_t c = vld1q_u8(code + i);
        const int16x8_t x = vsubq_s16(wide_low(c), vld1q_s16(q + i));
        const int16x8_t y = vsubq_s16(wide_high(c), vld1q_s16(q + i + 8));
        add_products(sum, x, x);
        add_products(sum, y, y);
      }
    }
    SRVDB_INLINE static std::int32_t key(const Sum& sum) noexcept { return sum.total(); }
  };

  struct NegDot {
    using Element = std::int8_t;
    using Sum = Sums;
    SRVDB_INLINE static void step(Sum& sum, const Element* q, const std::uint8_t* code) noexcept {
      for (std::size_t i = 0; i < 64; i += 16) {
        const uint8x16_t c = vld1q_u8(code + i);
        const int8x16_t w = vld1q_s8(q + i);
        add_products(sum, wide_low(c), vmovl_s8(vget_low_s8(w)));
        add_products(sum, wide_high(c), vmovl_high_s8(w));
      }
    }
    SRVDB_INLINE static std::int32_t key(const Sum& sum) noexcept { return -sum.total(); }
  };

  struct Signs {
    struct Part {
      int8x16_t bytes[4] = {vdupq_n_s8(0), vdupq_n_s8(0), vdupq_n_s8(0), vdupq_n_s8(0)};
    };
    using Sum = Sums;
    // 16 bits at a time: each lane has the byte of its bit, of which that bit is looked at.
    SRVDB_INLINE static void step(Part& part, const std::int8_t* q,
                                  const std::uint8_t* bits) noexcept {
      const uint8x16_t one_bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201U));
      for (std::size_t i = 0; i < 4; ++i) {
        const uint8x16_t spread = vcombine_u8(vdup_n_u8(bits[2 * i]), vdup_n_u8(bits[2 * i + 1]));
        const int8x16_t set = vreinterpretq_s8_u8(vtstq_u8(spread, one_bit));
        part.bytes[i] = vaddq_s8(part.bytes[i], vandq_s8(set, vld1q_s8(q + 16 * i)));
      }
    }
    SRVDB_INLINE static void fold(Sum& sum, const Part& part) noexcept {
      for (const int8x16_t& w : part.bytes) sum.a = vpadalq_s16(sum.a, vpaddlq_s8(w));
    }
    SRVDB_INLINE static std::int32_t total(const Sum& sum) noexcept { return sum.total(); }
  };
};

struct Neon {
  using Arch = xsimd::neon64;
  static constexpr std::size_t kTileVectors = 2;
  static constexpr std::size_t kTileQueries = 12;

  SRVDB_INLINE static xsimd::batch<float, Arch> load_partial(const float* at,
                                                             std::size_t n) noexcept {
    float32x4_t v = vsetq_lane_f32(at[0], vdupq_n_f32(0.0f), 0);
    if (n > 1) v = vsetq_lane_f32(at[1], v, 1);
    if (n > 2) v = vsetq_lane_f32(at[2], v, 2);
    return v;
  }
  SRVDB_INLINE static xsimd::batch<double, Arch> load_double(const float* at) noexcept {
    return vcvt_f64_f32(vld1_f32(at));
  }
  using Codes = NeonCodes;
  using Pool = PlainPool;
};

}  // namespace

constinit const Kernels kNeonKernels = make_kernels<Neon>("neon");

}  // namespace srvdb::simd
