// SPDX-License-Identifier: MIT
// The residual where the system has no POSIX or the compiler no vectors, as with MSVC on Windows:
// this program is compiled with EVENKEEL_HIDE_POSIX, and once with EVENKEEL_HIDE_VECTORS too.
#include <evenkeel/kernels/cuda/cubin_store.hpp>
#include <evenkeel/kernels/cuda/driver.hpp>
#include <evenkeel/kernels/fused_residual.hpp>

#include "all_close.hpp"
#include "operators.hpp"

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <string>
#include <vector>

static_assert(EVENKEEL_HAS_POSIX == 0);

namespace evenkeel {
namespace {

TEST(PortableTest, GivesOutputsAndGradientsOnTheCpu) {
  torch::manual_seed(0);
  const auto randn = [](torch::IntArrayRef shape) { return torch::randn(shape).requires_grad_(); };
  const std::vector<torch::Tensor> inputs{randn({200, 48}),
                                          randn({200, 48}),
                                          randn({48}),
                                          randn({48}),
                                          randn({48})};
  const auto run = [&](bool on) {
    const FusedResidualGuard guard(on);
    const auto y = fused_residual({inputs[0], inputs[1], inputs[2]},
                                  ResidualNorm::layer_norm(inputs[3], inputs[4]));
    auto results = torch::autograd::grad({y}, inputs, {torch::arange(48.0).expand_as(y)});
    results.push_back(y.detach());
    return results;
  };
  const auto expected = run(false);
  const auto actual = run(true);
  for (size_t i = 0; i < actual.size(); ++i) {
    const auto largest = expected[i].abs().max();
    EXPECT_TRUE(test::all_close(actual[i] / largest, expected[i] / largest)) << "result " << i;
  }
}

TEST(PortableTest, DropsWithTheSameMaskForwardAndBackward) {
  torch::manual_seed(0);
  const auto x = torch::zeros({200, 48});
  const auto f_x = torch::ones({200, 48}).requires_grad_();
  const auto y = fused_residual({x, f_x, {}, {}, {}, 0.25});
  const auto gradient = torch::autograd::grad({y}, {f_x}, {torch::ones_like(y)}).front();
  EXPECT_TRUE(test::all_close(gradient, y.detach()));
  EXPECT_GT(y.eq(0).sum().item<int64_t>(), 200 * 48 / 5);
}

TEST(PortableTest, HasAKernelOnTheCpuWhereTheCompilerHasVectors) {
  const auto x = torch::randn({8, 64});
  const auto norm = ResidualNorm::layer_norm(torch::randn({64}), {});
  const auto work = [&] { fused_residual({x, x, torch::randn({64})}, norm); };
  EXPECT_EQ(test::operators_of(work).count("aten::layer_norm"), 1U - EVENKEEL_HAS_VECTORS);
}

TEST(PortableTest, FindsNoLibraryAndKeepsNoFile) {
  EXPECT_EQ(detail::cuda::Nvrtc::get().missing, "NVRTC");
  EXPECT_EQ(detail::cuda::Driver::get(), nullptr);
  detail::cuda::CubinStore::write("a.cubin", "1");
  EXPECT_TRUE(detail::cuda::CubinStore::read("a.cubin").empty());
}

}  // namespace
}  // namespace evenkeel
