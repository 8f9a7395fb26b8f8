// ruy::ScopedSuppressDenormals: flush denormal floats to zero while an object lives.
//
// TensorFlow Lite makes one in every Invoke. NEON always flushes; the scalar VFP unit of a
// Cortex-A7 takes a trap or a slow path for denormals unless bit 24 (FZ) of FPSCR is set
// (ARM Architecture Reference Manual ARMv7-A, B4.1.58).
#ifndef RUY_RUY_DENORMAL_H_
#define RUY_RUY_DENORMAL_H_

#include <cstdint>

namespace ruy {

class ScopedSuppressDenormals final {
 public:
#if defined(__arm__) && defined(__ARM_FP) && __ARM_FP != 0
  ScopedSuppressDenormals() {
    __asm__ volatile("vmrs %0, fpscr" : "=r"(saved_));
    __asm__ volatile("vmsr fpscr, %0" : : "r"(saved_ | (std::uint32_t{1} << 24)));
  }
  ~ScopedSuppressDenormals() { __asm__ volatile("vmsr fpscr, %0" : : "r"(saved_)); }
#else
  ScopedSuppressDenormals() {}
  ~ScopedSuppressDenormals() {}
#endif
  ScopedSuppressDenormals(const ScopedSuppressDenormals&) = delete;
  ScopedSuppressDenormals& operator=(const ScopedSuppressDenormals&) = delete;

 private:
  std::uint32_t saved_ = 0;
};

}  // namespace ruy

#endif  // RUY_RUY_DENORMAL_H_
