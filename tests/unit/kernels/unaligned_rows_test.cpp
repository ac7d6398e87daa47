// SPDX-License-Identifier: MIT
// The CPU's kernels by themselves, on memory that is aligned for nothing but its type. Compiled
// with and without optimising: what a compiler makes of vectors in memory differs.
#include <evenkeel/kernels/detail/cpu_kernels.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace evenkeel::detail {
namespace {

constexpr int64_t kRows = 11;

// Numbers of a type, behind an address that is a multiple of 64.
class Numbers {
 public:
  Numbers(uint32_t type, int64_t count)
      : type_(type), count_(count), memory_(static_cast<size_t>(4 * count + 128)) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    first_ = memory_.data() + (64 - address % 64) + (type == 0 ? 4 : 2);
  }

  static Numbers random(uint32_t type, int64_t count, std::mt19937& generator) {
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<size_t>(count));
    for (auto& value : values) value = normal(generator);
    Numbers numbers(type, count);
    if (type == 0) {
      std::memcpy(numbers.first_, values.data(), values.size() * sizeof(float));
    } else {
      narrow_row<1>(numbers.bits(), values.data(), count, type == 1);
    }
    return numbers;
  }

  CpuRows rows() { return {first_, type_}; }
  float* floats() { return reinterpret_cast<float*>(first_); }
  std::vector<float> values() {
    std::vector<float> values(static_cast<size_t>(count_));
    if (type_ == 0) {
      std::memcpy(values.data(), first_, values.size() * sizeof(float));
    } else {
      widen_row<1>(values.data(), bits(), count_, type_ == 1);
    }
    return values;
  }

 private:
  uint16_t* bits() { return reinterpret_cast<uint16_t*>(first_); }

  uint32_t type_;
  int64_t count_;
  std::vector<char> memory_;
  char* first_;
};

// What a residual with all its parts gives, and the sums that end its backward.
std::vector<std::vector<float>> results(const CpuKernels& kernels, uint32_t type, int64_t dim) {
  std::mt19937 generator(5);
  const int64_t width = whole<kMostLanes>(dim);
  const auto rows = [&] { return Numbers::random(type, kRows * dim, generator); };
  const auto parameter = [&] {
    auto numbers = Numbers::random(0, width, generator);
    for (int64_t i = dim; i < width; ++i) numbers.floats()[i] = 0.0F;
    return numbers;
  };
  Numbers x = rows(), f = rows(), dy = rows(), dsum = rows();
  Numbers a = parameter(), b = parameter(), c = parameter(), w = parameter(), beta = parameter();
  Numbers y(type, kRows * dim), sum(type, kRows * dim), dx(type, kRows * dim),
      df(type, kRows * dim);
  Numbers stats(0, 2 * kRows), totals(0, 5 * width);

  CpuForward forward;
  forward.in.dim = dim;
  forward.in.x = x.rows();
  forward.in.f = f.rows();
  forward.in.a.columns = a.floats();
  forward.in.b.columns = b.floats();
  forward.in.c = c.floats();
  forward.in.w = w.floats();
  forward.in.beta = beta.floats();
  forward.in.dropout = {7, 16384, 4.0F / 3.0F};
  forward.in.norm = 1;
  forward.in.eps = 1e-5F;
  forward.in.stats = stats.floats();
  forward.y = y.rows();
  forward.sum = sum.rows();
  kernels.forward(forward, 0, kRows);
  const CpuSums sums{0, width, 2 * width, 3 * width, 4 * width, -1, -1, 5 * width};
  kernels.backward({forward.in, dy.rows(), dsum.rows(), dx.rows(), df.rows(), sums},
                   totals.floats(),
                   0,
                   kRows);
  kernels.column_sums(totals.floats(), 1, sums.width);
  return {y.values(), sum.values(), dx.values(), df.values(), totals.values()};
}

TEST(UnalignedRowsTest, AllInstructionsAgree) {
  for (const uint32_t type : {0U, 1U, 2U}) {
    for (const int64_t dim : {2, 7, 16, 48, 100}) {
      SCOPED_TRACE(::testing::Message() << "type " << type << ", " << dim << " columns");
      const auto expected = results(Baseline::kernels(), type, dim);
      const float rounding = type == 0 ? 1e-4F : type == 1 ? 0.05F : 0.01F;
      for (const auto& kernels : cpu_kernels()) {
        const auto actual = results(kernels, type, dim);
        for (size_t i = 0; i < actual.size(); ++i) {
          double wrong = 0.0;
          double all = 0.0;
          for (size_t j = 0; j < actual[i].size(); ++j) {
            wrong += std::pow(actual[i][j] - expected[i][j], 2);
            all += std::pow(expected[i][j], 2);
          }
          EXPECT_GT(all, 0.0) << kernels.name << ", result " << i;
          EXPECT_LT(std::sqrt(wrong / all), rounding) << kernels.name << ", result " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace evenkeel::detail
