// SPDX-License-Identifier: MIT
// The CPU's kernels by themselves, on memory that is aligned for nothing but its type. Compiled
// with and without optimising: what a compiler makes of vectors in memory differs.
#include <evenkeel/kernels/cpu/kernels.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace evenkeel::detail::cpu {
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
    std::vector<float> values(static_cast<size_t>(whole<4>(count)));
    for (int64_t i = 0; i < count; ++i) values[static_cast<size_t>(i)] = normal(generator);
    Numbers numbers(type, count);
    if (type == 0) {
      std::memcpy(numbers.first_, values.data(), static_cast<size_t>(count) * sizeof(float));
    } else {
      narrow_row<4>(numbers.bits(), values.data(), count, type == 1);
    }
    return numbers;
  }

  void* data() { return first_; }
  float* floats() { return reinterpret_cast<float*>(first_); }
  std::vector<float> values() {
    std::vector<float> values(static_cast<size_t>(whole<4>(count_)));
    if (type_ == 0) {
      std::memcpy(values.data(), first_, static_cast<size_t>(count_) * sizeof(float));
    } else {
      widen_row<4>(values.data(), bits(), count_, type_ == 1);
    }
    values.resize(static_cast<size_t>(count_));
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
std::vector<std::vector<float>> results(const Kernels& kernels, uint32_t type, int64_t dim) {
  std::mt19937 generator(5);
  const int64_t width = whole<kMostLanes>(dim);
  const auto rows = [&] { return Numbers::random(type, kRows * dim, generator); };
  const auto parameter = [&] {
    auto numbers = Numbers::random(0, width, generator);
    for (int64_t i = dim; i < width; ++i) numbers.floats()[i] = 0.0F;
    return numbers;
  };
  Numbers x = rows(), f_x = rows(), dy = rows(), dsum = rows();
  Numbers shortcut = parameter(), branch = parameter(), bias = parameter();
  Numbers norm_weight = parameter(), norm_bias = parameter();
  Numbers y(type, kRows * dim), sum(type, kRows * dim);
  Numbers dx(type, kRows * dim), df_x(type, kRows * dim);
  Numbers stats(0, 3 * kRows), sums(0, 5 * width);

  ResidualForm form;
  form.dim = static_cast<uint64_t>(dim);
  form.x = form.f_x = form.y = form.sum = type;
  form.norm = 1;
  form.shortcut_count = form.branch_count = 2;
  form.has_bias = form.has_norm_weight = form.has_norm_bias = form.drops = form.has_sum = 1;
  ResidualArgs args{};
  args.x = x.data();
  args.f_x = f_x.data();
  args.shortcut = shortcut.data();
  args.branch = branch.data();
  args.bias = bias.data();
  args.norm_weight = norm_weight.data();
  args.norm_bias = norm_bias.data();
  args.y = y.data();
  args.sum = sum.data();
  args.dy = dy.data();
  args.dsum = dsum.data();
  args.dx = dx.data();
  args.df_x = df_x.data();
  args.stats = stats.floats();
  args.rows = kRows;
  args.eps = 1e-5F;
  args.threshold = 16384;
  args.scale = 4.0F / 3.0F;
  args.seed = 7;
  kernels.forward(form, args, 0, kRows);
  for (int i = 0; i < kInputs; ++i) form.want(i);
  kernels.backward(form, args, sums.floats(), 0, kRows);
  kernels.column_sums(sums.floats(), 1, 5 * width);
  return {y.values(), sum.values(), dx.values(), df_x.values(), sums.values()};
}

TEST(UnalignedRowsTest, AllInstructionsAgree) {
  for (const uint32_t type : {0U, 1U, 2U}) {
    for (const int64_t dim : {2, 7, 16, 48, 100}) {
      SCOPED_TRACE(::testing::Message() << "type " << type << ", " << dim << " columns");
      const auto expected = results(Baseline::kernels(), type, dim);
      const float rounding = type == 0 ? 1e-4F : type == 1 ? 0.05F : 0.01F;
      for (const auto& each : kernels()) {
        const auto actual = results(each, type, dim);
        for (size_t i = 0; i < actual.size(); ++i) {
          double wrong = 0.0;
          double all = 0.0;
          for (size_t j = 0; j < actual[i].size(); ++j) {
            wrong += std::pow(actual[i][j] - expected[i][j], 2);
            all += std::pow(expected[i][j], 2);
          }
          EXPECT_GT(all, 0.0) << each.name << ", result " << i;
          EXPECT_LT(std::sqrt(wrong / all), rounding) << each.name << ", result " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace evenkeel::detail::cpu
