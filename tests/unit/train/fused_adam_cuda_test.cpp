// SPDX-License-Identifier: MIT
// What only a GPU has: a queue that is not waited for, graphs, another device beside it.
#include <evenkeel/train/fused_adam.hpp>

#include "all_close.hpp"
#include "operators.hpp"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>
#include <torch/cuda.h>
#include <torch/optim/adamw.h>
#include <torch/types.h>
#include <torch/utils.h>

#if EVENKEEL_TEST_CUDA_GRAPHS
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAGraph.h>
#endif

#include <cmath>
#include <vector>

namespace evenkeel::train {
namespace {

using Parameters = std::vector<torch::Tensor>;

class FusedAdamCudaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!torch::cuda::is_available()) GTEST_SKIP() << "no GPU";
    torch::manual_seed(0);
  }

  static Parameters on_gpu(torch::ScalarType dtype = torch::kFloat32) {
    Parameters all;
    for (int64_t size = 1; size <= 40; ++size) {
      const auto options = torch::dtype(dtype).device(torch::kCUDA);
      all.push_back(torch::randn({size, 3}, options).requires_grad_());
      all.back().mutable_grad() = torch::randn({size, 3}, options);
    }
    return all;
  }
};

TEST_F(FusedAdamCudaTest, IsOneKernelOfLibTorchsAndWaitsForNothing) {
  const auto lr = torch::full({}, 1e-2, torch::kCUDA);
  FusedAdam adam(on_gpu(), FusedAdamOptions().lr_tensor(lr).max_norm(1.0));
  adam.step();
  const auto calls = test::operators_of([&] { adam.step(); });
  ASSERT_EQ(calls.count("aten::_fused_adamw_"), 1U);
  EXPECT_EQ(calls.at("aten::_fused_adamw_"), 1);
  EXPECT_EQ(calls.count("aten::_local_scalar_dense"), 0U);
}

TEST_F(FusedAdamCudaTest, ParametersMayBeOnSeveralDevices) {
  const auto gpu = on_gpu();
  Parameters both = on_gpu(torch::kFloat64);
  for (const auto& parameter : gpu) {
    both.push_back(parameter.detach().cpu().requires_grad_());
    both.back().mutable_grad() = parameter.grad().cpu();
  }
  Parameters theirs;
  torch::Tensor squares = torch::zeros({}, torch::kFloat64);
  for (const auto& parameter : both) {
    theirs.push_back(parameter.detach().cpu().to(torch::kFloat64).requires_grad_());
    theirs.back().mutable_grad() = parameter.grad().cpu().to(torch::kFloat64);
    squares += theirs.back().grad().square().sum();
  }
  FusedAdam adam(both, FusedAdamOptions(1e-2).max_norm(1e6));
  torch::optim::AdamW reference(theirs, torch::optim::AdamWOptions(1e-2).weight_decay(0.0));
  for (int step = 0; step < 10; ++step) {
    adam.step();
    reference.step();
  }
  EXPECT_TRUE(adam.grad_norm().is_cuda());
  EXPECT_NEAR(adam.grad_norm().item<double>(), squares.sqrt().item<double>(), 1e-4);
  for (size_t i = 0; i < both.size(); ++i) {
    EXPECT_TRUE(test::all_close(both[i].detach().cpu().to(torch::kFloat32),
                                theirs[i].detach().to(torch::kFloat32)));
  }
  const torch::NoGradGuard no_grad;
  both.back().grad().fill_(std::nan(""));
  const auto before = both.front().clone();
  adam.step();
  EXPECT_TRUE(test::same_bits(both.front(), before));
  EXPECT_EQ(adam.skipped().item<int64_t>(), 1);
}

#if EVENKEEL_TEST_CUDA_GRAPHS

TEST_F(FusedAdamCudaTest, IsCapturedInAGraphFromTheFirstUpdate) {
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    const auto captured = on_gpu(dtype);
    Parameters eager;
    for (const auto& parameter : captured) {
      eager.push_back(parameter.detach().clone().requires_grad_());
      eager.back().mutable_grad() = parameter.grad().clone();
    }
    const auto lr = torch::full({}, 0.0, torch::kCUDA);
    const auto options = FusedAdamOptions().weight_decay(0.1).max_norm(10.0);
    FusedAdam adam(captured, FusedAdamOptions(options).lr_tensor(lr));
    FusedAdam reference(eager, options);
    const c10::impl::VirtualGuardImpl device(c10::DeviceType::CUDA);
    torch::cuda::synchronize();
    at::cuda::CUDAGraph graph;
    {
      const c10::StreamGuard stream(device.getStreamFromGlobalPool(torch::Device(torch::kCUDA, 0)));
      graph.capture_begin();
      adam.step();
      graph.capture_end();
    }
    for (int step = 0; step < 10; ++step) {
      const double rate = 1e-2 / (step + 1);
      for (size_t i = 0; i < captured.size(); ++i) {
        auto gradient = torch::randn_like(captured[i]);
        if (step == 4 && i == 7) gradient.fill_(std::nan(""));
        captured[i].grad().copy_(gradient);
        eager[i].grad().copy_(gradient);
      }
      adam.set_lr(rate);
      graph.replay();
      torch::cuda::synchronize();
      reference.step(rate);
      EXPECT_TRUE(step == 4 || test::all_close(adam.grad_norm(), reference.grad_norm()));
    }
    for (size_t i = 0; i < captured.size(); ++i) {
      EXPECT_TRUE(test::all_close(captured[i], eager[i]));
      EXPECT_EQ(adam.state_of(captured[i]).step().item<double>(), 9.0);
    }
    EXPECT_EQ(adam.skipped().item<int64_t>(), 1);
  }
}

#endif

}  // namespace
}  // namespace evenkeel::train
