// ruy::Mul against a plain loop in wide arithmetic: storage orders, zero points, multipliers.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "ruy/context.h"
#include "ruy/denormal.h"
#include "ruy/profiler/instrumentation.h"
#include "ruy/ruy.h"

namespace {

std::mt19937 generator(1);
int checks = 0;

void expect(bool right, const char *what) {
    ++checks;
    if (!right) {
        std::printf("wrong: %s\n", what);
        std::exit(1);
    }
}

template <typename T> std::vector<T> random_values(int count, int low, int high) {
    std::uniform_int_distribution<int> values(low, high);
    std::vector<T> result(count);
    for (T &value : result)
        value = static_cast<T>(values(generator));
    return result;
}

template <typename T>
T at(const std::vector<T> &values, int rows, int columns, ruy::Order order, int row, int column) {
    return order == ruy::Order::kRowMajor ? values[row * columns + column]
                                          : values[column * rows + row];
}

const ruy::Order orders[] = {ruy::Order::kRowMajor, ruy::Order::kColMajor};

// Lhs int8, Rhs int8 or int16, Dst int8, int16 or int32 (raw accumulators).
template <typename Rhs, typename Dst>
void integers(int rows, int depth, int columns, Rhs rhs_zero, std::int8_t lhs_zero) {
    const auto lhs = random_values<std::int8_t>(rows * depth, -127, 127);
    const auto rhs = random_values<Rhs>(depth * columns, -128, 127);
    const auto bias = random_values<std::int32_t>(rows, -5000, 5000);
    const auto fixedpoint = random_values<std::int32_t>(rows, 1 << 30, 2147483647);
    const auto exponent = random_values<int>(rows, -12, -6);
    const Dst dst_zero = sizeof(Dst) == 1 ? Dst{5} : Dst{0};
    ruy::Context context;
    for (ruy::Order left : orders)
        for (ruy::Order right : orders)
            for (ruy::Order out : orders) {
                ruy::Matrix<std::int8_t> a;
                ruy::Matrix<Rhs> b;
                ruy::Matrix<Dst> c;
                std::vector<Dst> result(rows * columns, Dst{99});
                ruy::MakeSimpleLayout(rows, depth, left, a.mutable_layout());
                ruy::MakeSimpleLayout(depth, columns, right, b.mutable_layout());
                ruy::MakeSimpleLayout(rows, columns, out, c.mutable_layout());
                a.set_data(lhs.data());
                b.set_data(rhs.data());
                c.set_data(result.data());
                a.set_zero_point(lhs_zero);
                b.set_zero_point(rhs_zero);
                c.set_zero_point(dst_zero);
                ruy::MulParams<std::int32_t, Dst> params;
                params.set_bias(bias.data());
                params.set_multiplier_fixedpoint_perchannel(fixedpoint.data());
                params.set_multiplier_exponent_perchannel(exponent.data());
                if (sizeof(Dst) == 1)
                    params.set_clamp_max(static_cast<Dst>(90));
                ruy::Mul(a, b, params, &context, &c);
                for (int row = 0; row < rows; ++row)
                    for (int column = 0; column < columns; ++column) {
                        double sum = bias[row];
                        for (int k = 0; k < depth; ++k)
                            sum += (at(lhs, rows, depth, left, row, k) - double(lhs_zero)) *
                                   (at(rhs, depth, columns, right, k, column) - double(rhs_zero));
                        if (sizeof(Dst) < 4) {
                            sum = std::floor(sum * fixedpoint[row] *
                                                 std::ldexp(1.0, exponent[row] - 31) +
                                             0.5) +
                                  dst_zero;
                            sum = std::min(sum, sizeof(Dst) == 1 ? 90.0 : 32767.0);
                            sum = std::max(sum, sizeof(Dst) == 1 ? -128.0 : -32768.0);
                        }
                        expect(at(result, rows, columns, out, row, column) == sum,
                               "integer product");
                    }
            }
}

void floats() {
    const int rows = 5, depth = 9, columns = 3;
    const auto lhs = random_values<float>(rows * depth, -9, 9);
    const auto rhs = random_values<float>(depth * columns, -9, 9);
    ruy::Matrix<float> a, b, c;
    std::vector<float> result(rows * columns);
    ruy::MakeSimpleLayout(rows, depth, ruy::Order::kRowMajor, a.mutable_layout());
    ruy::MakeSimpleLayout(depth, columns, ruy::Order::kRowMajor, b.mutable_layout());
    ruy::MakeSimpleLayout(rows, columns, ruy::Order::kRowMajor, c.mutable_layout());
    a.set_data(lhs.data());
    b.set_data(rhs.data());
    c.set_data(result.data());
    ruy::MulParams<float, float> params;
    params.set_clamp_min(0);
    ruy::Context context;
    ruy::Mul(a, b, params, &context, &c);
    for (int row = 0; row < rows; ++row)
        for (int column = 0; column < columns; ++column) {
            float sum = 0;
            for (int k = 0; k < depth; ++k)
                sum += lhs[row * depth + k] * rhs[k * columns + column];
            expect(result[row * columns + column] == std::max(sum, 0.0f), "float product");
        }
}

} // namespace

int main() {
    ruy::profiler::ScopeLabel label("test %d", 1);
    ruy::ScopedSuppressDenormals denormals;
    for (int depth : {1, 7, 16, 67}) {
        integers<std::int8_t, std::int32_t>(4, depth, 3, 0, 0);
        integers<std::int8_t, std::int32_t>(4, depth, 3, -7, 3);
        integers<std::int8_t, std::int8_t>(4, depth, 3, -7, 0);
        integers<std::int16_t, std::int16_t>(4, depth, 3, 0, 0);
    }
    floats();
    std::printf("checked %d\n", checks);
    return 0;
}
