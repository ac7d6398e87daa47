// SPDX-License-Identifier: MIT
// The CPU's kernels, for every set of instructions that this machine has.
#include <evenkeel/kernels/cpu/dropout.hpp>
#include <evenkeel/kernels/cpu/kernels.hpp>
#include <evenkeel/kernels/cpu/lanes.hpp>
#include <evenkeel/kernels/cpu/parallel_chunks.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/detail/run_kernel.hpp>
#include <evenkeel/kernels/fused_residual.hpp>

#include "all_close.hpp"
#include "fixture.hpp"
#include "operators.hpp"
#include "residual_formula.hpp"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace evenkeel {
namespace {

using test::same_bits;
using test::ThreadsGuard;
using Tensors = std::vector<torch::Tensor>;

class CpuKernelsTest : public ::testing::TestWithParam<detail::cpu::Kernels> {
 protected:
  void SetUp() override { torch::manual_seed(0); }

  // A residual with everything that one can have.
  static detail::ResidualCall call(int64_t rows, int64_t dim, torch::ScalarType type) {
    const auto randn = [&](torch::IntArrayRef shape) { return torch::randn(shape).to(type); };
    const ResidualTerms terms{randn({rows, dim}),
                              randn({rows, dim}),
                              randn({dim}),
                              randn({dim}),
                              randn({dim}),
                              0.25};
    const auto norm = ResidualNorm::layer_norm(randn({dim}), randn({dim}));
    return detail::kernel_call(terms, norm, /*want_sum=*/true).value();
  }

  // Outputs and gradients, after the same seed.
  static Tensors results(const detail::cpu::Kernels& kernels, detail::ResidualCall call) {
    torch::manual_seed(4);
    torch::Tensor saved;
    call.cpu = &kernels;
    const auto outputs = detail::run_forward(call, &saved);
    for (int i = 0; i < detail::kInputs; ++i) call.form.want(i);
    const auto& dy = outputs.sum;  // any numbers
    const auto& dsum = outputs.y;
    const auto gradients = detail::run_backward(call, dy, dsum, saved, /*inputs_stayed=*/true);
    Tensors results{outputs.y, outputs.sum};
    results.insert(results.end(), gradients.begin(), gradients.end());
    return results;
  }
};

TEST_P(CpuKernelsTest, AgreesWithTheOthersInEveryWidthAndType) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16, torch::kHalf}) {
    for (const int64_t dim : {1, 3, 16, 31, 64, 129, 1000}) {
      SCOPED_TRACE(::testing::Message() << type << ", " << dim << " columns");
      const auto same = call(131, dim, type);
      const auto expected = results(detail::cpu::Baseline::kernels(), same);
      const auto actual = results(GetParam(), same);
      for (size_t i = 0; i < actual.size(); ++i) {
        const auto exact = expected[i].to(torch::kFloat64);
        const double rounding = type == torch::kFloat32 ? 1e-5 : type == torch::kHalf ? 2e-3 : 1e-2;
        EXPECT_LT(test::relative_error(actual[i], exact), rounding) << "result " << i;
      }
      // The mask: where the sum is the shortcut alone.
      EXPECT_TRUE(same_bits(actual[3].eq(0), expected[3].eq(0)));
    }
  }
}

TEST_P(CpuKernelsTest, GivesTheSameBitsWithAnyNumberOfThreads) {
  const auto same = call(3000, 96, torch::kFloat32);
  const auto several = [&](int threads) {
    const ThreadsGuard guard(threads);
    return results(GetParam(), same);
  };
  const auto expected = several(1);
  for (const int threads : {2, 3, 7}) {
    const auto actual = several(threads);
    for (size_t i = 0; i < actual.size(); ++i) {
      EXPECT_TRUE(same_bits(actual[i], expected[i])) << "result " << i << ", threads " << threads;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Instructions,
                         CpuKernelsTest,
                         ::testing::ValuesIn(detail::cpu::kernels()),
                         [](const auto& kernels) { return std::string(kernels.param.name); });

// Random123's known answers for threefry4x32 with 20 rounds.
TEST(ThreefryTest, GivesTheKnownAnswers) {
  using L = detail::cpu::Lanes<4>;
  L::U words[4] = {};
  detail::cpu::threefry<L, 20>(words, {0, 0, 0, 0});
  const uint32_t expected[4] = {0x9c6ca96a, 0xe17eae66, 0xfc10ecd4, 0x5256a7d8};
  for (int word = 0; word < 4; ++word) {
    for (int lane = 0; lane < L::kLanes; ++lane) EXPECT_EQ(words[word][lane], expected[word]);
  }
}

TEST(HalfTest, IsWidenedAndNarrowedAsLibTorchDoes) {
  std::vector<int32_t> all(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int32_t>(i);
  const auto bits = torch::tensor(all).to(torch::kInt16);
  for (const auto type : {torch::kBFloat16, torch::kHalf}) {
    SCOPED_TRACE(torch::str(type));
    const auto narrow = bits.view(type);
    const auto wide = narrow.to(torch::kFloat32);
    // Halves, everything between them, and what rounds to neither.
    const auto between = torch::cat({wide, wide * 1.0003F, wide * 0.99999F, torch::randn({4096})});
    auto actual = torch::empty_like(wide);
    auto rounded = torch::empty_like(between, type);
    detail::cpu::widen_row<4>(actual.data_ptr<float>(),
                              static_cast<const uint16_t*>(narrow.const_data_ptr()),
                              wide.numel(),
                              type == torch::kBFloat16);
    detail::cpu::narrow_row<4>(static_cast<uint16_t*>(rounded.mutable_data_ptr()),
                               between.data_ptr<float>(),
                               between.numel(),
                               type == torch::kBFloat16);
    EXPECT_TRUE(torch::allclose(actual, wide, 0.0, 0.0, /*equal_nan=*/true));
    EXPECT_TRUE(torch::allclose(rounded.to(torch::kFloat32),
                                between.to(type).to(torch::kFloat32),
                                0.0,
                                0.0,
                                /*equal_nan=*/true));
  }
}

TEST(ParallelChunksTest, DoesEachChunkOnceOnSeveralThreads) {
  const ThreadsGuard guard(4);
  constexpr int64_t kRows = 1000 * detail::cpu::kChunkRows - 5;
  std::vector<std::atomic<int>> done(kRows);
  std::set<std::thread::id> threads;
  std::mutex mutex;
  detail::cpu::parallel_chunks(kRows, 48, [&](int64_t chunk, int64_t begin, int64_t end) {
    EXPECT_EQ(begin, chunk * detail::cpu::kChunkRows);
    for (int64_t i = begin; i < end; ++i) ++done[static_cast<size_t>(i)];
    const std::lock_guard<std::mutex> lock(mutex);
    threads.insert(std::this_thread::get_id());
  });
  for (const auto& count : done) EXPECT_EQ(count, 1);
  EXPECT_EQ(threads.size(), 4U);
}

TEST(FusedResidualCpuTest, IsOneOperatorOfLibTorchsAtMost) {
  const torch::NoGradGuard no_grad;
  const auto x = torch::randn({8, 64});
  const auto gain = torch::randn({64});
  const auto work = [&] {
    fused_residual({x, x, gain, {}, {}}, ResidualNorm::layer_norm(gain, gain));
  };
  for (const auto* name : {"aten::layer_norm", "aten::mul", "aten::add"}) {
    EXPECT_EQ(test::operators_of(work).count(name), 0U) << name;
    const FusedResidualGuard off(false);
    EXPECT_EQ(test::operators_of(work).count(name), 1U) << name;
  }
}

TEST(FusedResidualCpuTest, LeavesDoubleToOperators) {
  const auto x = torch::randn({8, 64}, torch::kFloat64);
  const auto gain = torch::randn({64}, torch::kFloat64);
  const auto y = fused_residual({x, x, gain, {}, {}});
  EXPECT_EQ(y.scalar_type(), torch::kFloat64);
  EXPECT_TRUE(test::all_close(y, x * gain + x));
}

}  // namespace
}  // namespace evenkeel
