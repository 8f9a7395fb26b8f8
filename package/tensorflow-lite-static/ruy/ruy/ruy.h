// ruy::Mul for one in-order core: plain loops that the compiler vectorises.
//
// Why not ruy: its source package is not on every mirror of the distribution, and the archives
// of its binary package are built without NEON. TensorFlow Lite needs little of it. With
// TFLITE_ENABLE_RUY=OFF convolutions and dense layers that no delegate takes run on Eigen
// (float) and gemmlowp (8 bit), both with NEON; ruy::Mul is left with products whose int32
// accumulators are wanted raw (models with float activations and int8 weights), with int16
// activations, and with unusual storage orders. It must be right for all of them and is kept
// reasonably fast for the first two.
//
// Semantics follow ruy's public documentation and reference implementation
// (github.com/google/ruy, ruy/reference_mul.h): per element, sum over depth of
// (lhs - lhs zero point) * (rhs - rhs zero point), plus bias, rescaled, plus zero point, clamped.
#ifndef RUY_RUY_RUY_H_
#define RUY_RUY_RUY_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "ruy/context.h"
#include "ruy/matrix.h"
#include "ruy/mul_params.h"

namespace ruy {
namespace detail {

// value * fixedpoint * 2^(exponent - 31), rounded half up, saturated to int32.
// fixedpoint is in [0, 2^31), exponent in [-31, 30].
inline std::int32_t Rescale(std::int32_t value, std::int32_t fixedpoint, int exponent) {
  const int shift = 31 - exponent;
  const std::int64_t product = static_cast<std::int64_t>(value) * fixedpoint;
  const std::int64_t scaled = (product + (std::int64_t{1} << (shift - 1))) >> shift;
  using Limits = std::numeric_limits<std::int32_t>;
  return static_cast<std::int32_t>(
      std::min<std::int64_t>(std::max<std::int64_t>(scaled, Limits::min()), Limits::max()));
}

// Unsigned where the accumulator is an integer: it may wrap, as it does in ruy.
template <typename AccumScalar, typename = void>
struct Accumulator {
  using type = AccumScalar;
};
template <typename AccumScalar>
struct Accumulator<AccumScalar, std::enable_if_t<std::is_integral<AccumScalar>::value>> {
  using type = std::make_unsigned_t<AccumScalar>;
};

template <typename AccumScalar, typename LhsScalar, typename RhsScalar>
AccumScalar Dot(const LhsScalar* lhs, std::ptrdiff_t lhs_step, AccumScalar lhs_zero,
                const RhsScalar* rhs, std::ptrdiff_t rhs_step, AccumScalar rhs_zero, int depth) {
  using Sum = typename Accumulator<AccumScalar>::type;
  Sum sum = 0;
  if (lhs_step == 1 && rhs_step == 1 && lhs_zero == 0 && rhs_zero == 0) {
    // The case of all hybrid layers: GCC turns it into vmull.s8 / vaddw.s16.
    for (int k = 0; k < depth; ++k) {
      sum += static_cast<Sum>(static_cast<AccumScalar>(lhs[k]) * static_cast<AccumScalar>(rhs[k]));
    }
    return static_cast<AccumScalar>(sum);
  }
  for (int k = 0; k < depth; ++k) {
    sum += static_cast<Sum>((static_cast<AccumScalar>(lhs[k * lhs_step]) - lhs_zero) *
                            (static_cast<AccumScalar>(rhs[k * rhs_step]) - rhs_zero));
  }
  return static_cast<AccumScalar>(sum);
}

template <typename AccumScalar, typename DstScalar>
DstScalar Finish(AccumScalar sum, int row, const MulParams<AccumScalar, DstScalar>& params,
                 AccumScalar dst_zero) {
  using Sum = typename Accumulator<AccumScalar>::type;
  if (params.bias()) {
    sum = static_cast<AccumScalar>(static_cast<Sum>(sum) + static_cast<Sum>(params.bias()[row]));
  }
  if constexpr (std::is_same<AccumScalar, std::int32_t>::value &&
                !std::is_same<DstScalar, std::int32_t>::value) {
    sum = Rescale(sum, params.multiplier_fixedpoint(row), params.multiplier_exponent(row));
  }
  sum = static_cast<AccumScalar>(static_cast<Sum>(sum) + static_cast<Sum>(dst_zero));
  sum = std::min(sum, static_cast<AccumScalar>(params.clamp_max()));
  sum = std::max(sum, static_cast<AccumScalar>(params.clamp_min()));
  return static_cast<DstScalar>(sum);
}

}  // namespace detail

// dst = finish(lhs * rhs). lhs is rows x depth, rhs is depth x columns, dst is rows x columns.
template <typename LhsScalar, typename RhsScalar, typename AccumScalar, typename DstScalar>
void Mul(const Matrix<LhsScalar>& lhs, const Matrix<RhsScalar>& rhs,
         const MulParams<AccumScalar, DstScalar>& params, Context*, Matrix<DstScalar>* dst) {
  const Layout& left = lhs.layout();
  const Layout& right = rhs.layout();
  const Layout& out = dst->layout();
  for (int column = 0; column < out.cols; ++column) {
    for (int row = 0; row < out.rows; ++row) {
      const AccumScalar sum = detail::Dot<AccumScalar>(
          lhs.data() + row * left.row_step, left.column_step,
          static_cast<AccumScalar>(lhs.zero_point()), rhs.data() + column * right.column_step,
          right.row_step, static_cast<AccumScalar>(rhs.zero_point()), left.cols);
      dst->mutable_data()[row * out.row_step + column * out.column_step] =
          detail::Finish<AccumScalar, DstScalar>(sum, row, params,
                                                 static_cast<AccumScalar>(dst->zero_point()));
    }
  }
}

}  // namespace ruy

#endif  // RUY_RUY_RUY_H_
