// ruy::MulParams: what happens to the accumulators of a matrix product.
#ifndef RUY_RUY_MUL_PARAMS_H_
#define RUY_RUY_MUL_PARAMS_H_

#include <cstdint>
#include <limits>

namespace ruy {

// Bias and multipliers are per row of the destination (ruy's default channel dimension).
// The multipliers are read only when AccumScalar is int32 and DstScalar is narrower.
template <typename AccumScalar, typename DstScalar>
class MulParams final {
 public:
  const AccumScalar* bias() const { return bias_; }
  void set_bias(const AccumScalar* bias) { bias_ = bias; }

  void set_multiplier_fixedpoint(AccumScalar value) { fixedpoint_ = value; }
  void set_multiplier_exponent(int value) { exponent_ = value; }
  void set_multiplier_fixedpoint_perchannel(const AccumScalar* values) { fixedpoints_ = values; }
  void set_multiplier_exponent_perchannel(const int* values) { exponents_ = values; }
  AccumScalar multiplier_fixedpoint(int row) const {
    return fixedpoints_ ? fixedpoints_[row] : fixedpoint_;
  }
  int multiplier_exponent(int row) const { return exponents_ ? exponents_[row] : exponent_; }

  DstScalar clamp_min() const { return clamp_min_; }
  DstScalar clamp_max() const { return clamp_max_; }
  void set_clamp_min(DstScalar value) { clamp_min_ = value; }
  void set_clamp_max(DstScalar value) { clamp_max_ = value; }

 private:
  using Limits = std::numeric_limits<DstScalar>;

  const AccumScalar* bias_ = nullptr;
  const AccumScalar* fixedpoints_ = nullptr;
  const int* exponents_ = nullptr;
  AccumScalar fixedpoint_ = 0;
  int exponent_ = 0;
  DstScalar clamp_min_ = Limits::is_iec559 ? -Limits::infinity() : Limits::lowest();
  DstScalar clamp_max_ = Limits::is_iec559 ? Limits::infinity() : Limits::max();
};

}  // namespace ruy

#endif  // RUY_RUY_MUL_PARAMS_H_
