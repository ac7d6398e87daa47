// SPDX-License-Identifier: MIT
// What only a GPU has: streams, graphs, threads that come to it late, several of it.
#include <evenkeel/kernels/fused_residual.hpp>

#include "all_close.hpp"
#include "fixture.hpp"
#include "operators.hpp"
#include "residual_formula.hpp"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/cuda.h>
#include <torch/types.h>
#include <torch/utils.h>

#if EVENKEEL_TEST_CUDA_GRAPHS
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAGraph.h>
#endif

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace evenkeel {
namespace {

using test::all_close;
using test::same_bits;

class FusedResidualCudaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!torch::cuda::is_available()) GTEST_SKIP() << "no GPU";
    torch::manual_seed(0);
  }

  struct Problem {
    ResidualTerms terms;
    ResidualNorm norm;
  };

  static Problem problem(int64_t rows, int64_t dim, double dropout = 0.0, int device = 0) {
    const auto randn = [&](torch::IntArrayRef shape) {
      return torch::randn(shape, torch::Device(torch::kCUDA, static_cast<int8_t>(device)))
          .requires_grad_();
    };
    return {{randn({rows, dim}), randn({rows, dim}), randn({dim}), {}, {}, dropout},
            ResidualNorm::layer_norm(randn({dim}), randn({dim}))};
  }

  static ::testing::AssertionResult is_right(const Problem& p) {
    const auto y = fused_residual(p.terms, p.norm);
    const auto expected = test::residual_by_operators(p.terms, p.norm, {}).back();
    const auto dy = torch::randn_like(y);
    const std::vector<torch::Tensor> inputs{p.terms.x,
                                            p.terms.f_x,
                                            p.terms.shortcut,
                                            p.norm.weight,
                                            p.norm.bias};
    const auto actual = torch::autograd::grad({y}, inputs, {dy});
    const auto wanted = torch::autograd::grad({expected}, inputs, {dy});
    auto result = all_close(y, expected);
    for (size_t i = 0; result && i < actual.size(); ++i) {
      result = all_close(actual[i] / wanted[i].abs().max(), wanted[i] / wanted[i].abs().max());
    }
    return result;
  }

  static c10::Stream other_stream() {
    const c10::impl::VirtualGuardImpl guard(c10::DeviceType::CUDA);
    return guard.getStreamFromGlobalPool(torch::Device(torch::kCUDA, 0));
  }
};

TEST_F(FusedResidualCudaTest, IsOneOperatorOfLibTorchsAtMost) {
  const torch::NoGradGuard no_grad;
  const auto p = problem(8, 64);
  fused_residual(p.terms, p.norm);
  const auto calls = test::operators_of([&] { fused_residual(p.terms, p.norm); });
  EXPECT_EQ(calls.count("aten::layer_norm"), 0U);
  EXPECT_EQ(calls.count("aten::mul"), 0U);
  EXPECT_EQ(calls.count("aten::add"), 0U);
  const FusedResidualGuard off(false);
  EXPECT_EQ(test::operators_of([&] { fused_residual(p.terms, p.norm); }).count("aten::layer_norm"),
            1U);
}

TEST_F(FusedResidualCudaTest, RunsOnTheCurrentStream) {
  const auto weight = torch::randn({1024, 1024}, torch::kCUDA);
  const auto start = torch::randn({4096, 1024}, torch::kCUDA);
  const auto gain = torch::randn({1024}, torch::kCUDA);
  const auto work = [&] {  // long enough for a kernel on another stream to come too early
    auto x = start;
    for (int i = 0; i < 20; ++i) {
      x = fused_residual({x, x.matmul(weight), gain, {}, {}}, ResidualNorm::rms_norm({}));
    }
    return x;
  };
  const torch::NoGradGuard no_grad;
  const auto expected = work();
  torch::cuda::synchronize();
  torch::Tensor actual;
  {
    const c10::StreamGuard guard(other_stream());
    actual = work();
  }
  torch::cuda::synchronize();
  EXPECT_TRUE(same_bits(actual, expected));
}

// Kernels may come onto the GPU before those ahead of them are done. Three, each on a part of it,
// have been waiting for the products: what the first writes, the third reads.
TEST_F(FusedResidualCudaTest, BackwardReadsWhatTheKernelBeforeForwardWrote) {
  const auto p = problem(40, 4096);
  const auto square = torch::randn({8192, 8192}, torch::kCUDA);
  const auto dy = torch::randn_like(p.terms.x);
  const auto gradients = [&](int64_t i, bool pause) {
    const auto sync = [&] {
      if (pause) torch::cuda::synchronize();
    };
    for (int j = 0; j < 2; ++j) square.matmul(square);
    torch::Tensor f;
    {
      const torch::NoGradGuard no_grad;
      f = fused_residual({p.terms.x.roll(i, 0), p.terms.f_x, p.terms.shortcut, {}, {}}, p.norm);
    }
    sync();
    const auto y =
        fused_residual({p.terms.x, f.requires_grad_(), p.terms.shortcut, {}, {}}, p.norm);
    sync();
    return torch::autograd::grad({y}, {p.terms.x, f, p.terms.shortcut}, {dy});
  };
  gradients(0, true);  // compiles the kernels
  for (int64_t i = 1; i < 40; ++i) {
    const auto expected = gradients(i, true);
    gradients(i + 1, true);  // leaves other numbers in memory that is used again
    const auto actual = gradients(i, false);
    for (size_t j = 0; j < actual.size(); ++j) EXPECT_TRUE(same_bits(actual[j], expected[j])) << i;
  }
}

TEST_F(FusedResidualCudaTest, RunsFromSeveralThreadsAtOnce) {
  constexpr int kThreads = 8;
  std::vector<std::string> faults(kThreads);
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&faults, i] {
      const c10::StreamGuard guard(other_stream());
      for (const int64_t dim : {136, 264 + 8 * (i % 2)}) {  // none has been compiled yet
        const auto result = is_right(problem(50, dim));
        if (!result) faults[static_cast<size_t>(i)] = result.message();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& fault : faults) EXPECT_EQ(fault, "");
}

TEST_F(FusedResidualCudaTest, RunsOnADeviceThatIsNotTheCurrentOne) {
  if (torch::cuda::device_count() < 2) GTEST_SKIP() << "one GPU";
  EXPECT_TRUE(is_right(problem(50, 256, 0.0, 0)));
  EXPECT_TRUE(is_right(problem(50, 256, 0.0, 1)));
}

TEST_F(FusedResidualCudaTest, MixesTypesAsAutocastDoes) {
  const auto p = problem(64, 256);
  auto half = p.terms;
  half.f_x = half.f_x.detach().to(torch::kBFloat16).requires_grad_();
  const auto y = fused_residual(half, p.norm);
  EXPECT_EQ(y.scalar_type(), torch::kFloat32);
  y.sum().backward();
  EXPECT_EQ(half.x.grad().scalar_type(), torch::kFloat32);
  EXPECT_EQ(half.f_x.grad().scalar_type(), torch::kBFloat16);
}

TEST_F(FusedResidualCudaTest, GivesEachGradientMemoryOfItsOwn) {
  const auto p = problem(50, 256);
  fused_residual(p.terms, p.norm).sum().backward();
  for (const auto& tensor :
       {p.terms.x, p.terms.f_x, p.terms.shortcut, p.norm.weight, p.norm.bias}) {
    EXPECT_EQ(tensor.grad().storage().nbytes(), 4U * static_cast<size_t>(tensor.numel()));
  }
}

TEST_F(FusedResidualCudaTest, KeepsWhatBackwardNeedsAsLongAsTheGraphIsRetained) {
  const auto p = problem(50, 256, 0.5);
  const auto y = fused_residual(p.terms, p.norm);
  const auto gradient = [&](bool retain) {
    return torch::autograd::grad({y}, {p.terms.f_x}, {torch::ones_like(y)}, retain)[0];
  };
  const auto first = gradient(true);
  EXPECT_TRUE(same_bits(gradient(false), first));
  EXPECT_THROW(gradient(false), c10::Error);
}

TEST_F(FusedResidualCudaTest, SumsManyRowsAsOftenAsAskedInTheSameOrder) {
  for (const int64_t dim : {96, 512, 1024, 1030, 4096}) {
    const auto p = problem(3001, dim, 0.1);
    const auto y = fused_residual(p.terms, p.norm);
    const auto gradients = [&] {
      return torch::autograd::grad({y},
                                   {p.terms.x, p.terms.shortcut, p.norm.weight, p.norm.bias},
                                   {y.detach()},
                                   /*retain_graph=*/true);
    };
    const auto first = gradients();
    for (int i = 0; i < 5; ++i) {
      const auto again = gradients();
      for (size_t g = 0; g < first.size(); ++g) EXPECT_TRUE(same_bits(again[g], first[g])) << dim;
    }
    EXPECT_TRUE(is_right({{p.terms.x, p.terms.f_x, p.terms.shortcut}, p.norm}));
  }
}

#if EVENKEEL_TEST_CUDA_GRAPHS

TEST_F(FusedResidualCudaTest, DrawsANewMaskInEachReplayOfAGraph) {
  const auto stream = other_stream();
  const c10::StreamGuard guard(stream);
  const auto ones = torch::ones({256, 256}, torch::kCUDA).requires_grad_();
  const ResidualTerms terms{torch::zeros_like(ones), ones, {}, {}, {}, 0.5};
  const auto step = [&] {
    const auto y = fused_residual(terms);
    return std::vector<torch::Tensor>{y,
                                      torch::autograd::grad({y}, {ones}, {torch::ones_like(y)})[0]};
  };
  step();
  torch::cuda::synchronize();
  at::cuda::CUDAGraph graph;
  graph.capture_begin();
  const auto first = step();
  const auto second = step();
  graph.capture_end();
  std::vector<torch::Tensor> masks;
  for (int replay = 0; replay < 3; ++replay) {
    graph.replay();
    torch::cuda::synchronize();
    for (const auto& outputs : {first, second}) {
      EXPECT_TRUE(same_bits(outputs[0], outputs[1])) << "the mask of backward is another";
      masks.push_back(outputs[0].detach().clone());
    }
  }
  for (size_t i = 0; i < masks.size(); ++i) {
    EXPECT_NEAR(masks[i].eq(0).to(torch::kFloat64).mean().item<double>(), 0.5, 0.02);
    for (size_t j = 0; j < i; ++j) EXPECT_FALSE(all_close(masks[i], masks[j]));
  }
}

TEST_F(FusedResidualCudaTest, CountsElementsInMoreThan32Bits) {
  if (at::cuda::getCurrentDeviceProperties()->totalGlobalMem < (size_t{64} << 30)) {
    GTEST_SKIP() << "needs a GPU with 64 GiB";
  }
  constexpr int64_t kRows = 131100, kDim = 16384;  // 2^31 elements, and some
  const auto x = torch::randn({kRows, kDim}, torch::dtype(torch::kBFloat16).device(torch::kCUDA))
                     .requires_grad_();
  const auto gain = torch::randn({kDim}, torch::kCUDA).to(torch::kBFloat16);
  const auto norm = ResidualNorm::rms_norm({});
  const auto y = fused_residual({x, x, gain, {}, {}}, norm);
  const auto dx = torch::autograd::grad({y}, {x}, {x.detach()})[0];
  const auto end = x.detach().narrow(0, kRows - 5, 5).to(torch::kFloat32).requires_grad_();
  const auto expected =
      test::residual_by_operators({end, end, gain.to(torch::kFloat32), {}, {}}, norm, {}).back();
  const auto expected_dx = torch::autograd::grad({expected}, {end}, {end.detach()})[0];
  const auto last = [&](const torch::Tensor& of) { return of.narrow(0, kRows - 5, 5); };
  EXPECT_TRUE(all_close(last(y), expected.to(torch::kBFloat16)));
  EXPECT_LT(test::relative_error(last(dx), expected_dx.to(torch::kFloat64)), 0x1p-7);
}

TEST_F(FusedResidualCudaTest, IsCompiledInsideACaptureToo) {
  const c10::StreamGuard guard(other_stream());
  const torch::NoGradGuard no_grad;
  const auto p = problem(64, 328);  // of no other test
  torch::cuda::synchronize();
  at::cuda::CUDAGraph graph;
  graph.capture_begin();
  const auto y = fused_residual(p.terms, p.norm);
  graph.capture_end();
  graph.replay();
  torch::cuda::synchronize();
  EXPECT_TRUE(all_close(y, test::residual_by_operators(p.terms, p.norm, {}).back()));
}

#endif

}  // namespace
}  // namespace evenkeel
