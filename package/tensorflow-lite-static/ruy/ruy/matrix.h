// ruy::Matrix: a matrix that somebody else owns, with its storage order and zero point.
#ifndef RUY_RUY_MATRIX_H_
#define RUY_RUY_MATRIX_H_

#include <cstddef>
#include <cstdint>

namespace ruy {

enum class Order : std::uint8_t { kColMajor, kRowMajor };

// Accepted and ignored: nothing is packed, so nothing is cached.
enum class CachePolicy : std::uint8_t { kNeverCache, kCacheIfLargeSpeedup, kAlwaysCache };

// Element (row, column) lies at row * row_step + column * column_step.
struct Layout final {
  int rows = 0;
  int cols = 0;
  std::ptrdiff_t row_step = 0;
  std::ptrdiff_t column_step = 0;
};

inline void MakeSimpleLayout(int rows, int cols, Order order, Layout* layout) {
  const bool row_major = order == Order::kRowMajor;
  *layout = {rows, cols, row_major ? cols : 1, row_major ? 1 : rows};
}

template <typename Scalar>
class Matrix final {
 public:
  const Layout& layout() const { return layout_; }
  Layout* mutable_layout() { return &layout_; }
  const Scalar* data() const { return data_; }
  Scalar* mutable_data() { return mutable_data_; }
  void set_data(Scalar* data) { data_ = mutable_data_ = data; }
  void set_data(const Scalar* data) {
    data_ = data;
    mutable_data_ = nullptr;
  }
  Scalar zero_point() const { return zero_point_; }
  void set_zero_point(Scalar value) { zero_point_ = value; }
  void set_cache_policy(CachePolicy) {}

 private:
  Layout layout_;
  const Scalar* data_ = nullptr;
  Scalar* mutable_data_ = nullptr;
  Scalar zero_point_ = 0;
};

}  // namespace ruy

#endif  // RUY_RUY_MATRIX_H_
