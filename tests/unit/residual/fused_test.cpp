// SPDX-License-Identifier: MIT
// Residuals with and without fused kernels.
#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/admin_residual.hpp>
#include <evenkeel/residual/fused_norm.hpp>
#include <evenkeel/residual/post_norm.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/residual.hpp>
#include <evenkeel/residual/tfixup.hpp>

#include <evenkeel/kernels/fused_residual_switch.hpp>

#include "fixture.hpp"
#include "modules.hpp"
#include "operators.hpp"
#include "residual_formula.hpp"

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace evenkeel {
namespace {

// An RMSNorm of a user's own, told to the kernels below.
class OwnRmsNormImpl : public torch::nn::Cloneable<OwnRmsNormImpl> {
 public:
  explicit OwnRmsNormImpl(int64_t embed_dim) : embed_dim_(embed_dim) { reset(); }
  void reset() override { weight = register_parameter("weight", torch::ones({embed_dim_})); }
  torch::Tensor forward(const torch::Tensor& x) {
    return x * (x.square().mean(-1, /*keepdim=*/true) + 1e-6).rsqrt() * weight;
  }
  torch::Tensor weight;

 private:
  int64_t embed_dim_;
};
TORCH_MODULE(OwnRmsNorm);

// Gains on both sides, as a user may have them.
struct TwoGains {
  static Norms norms(const Position&) { return Norms::at_sum(); }
  static Gain shortcut(const Position&) { return Gain::fixed(1.5); }
  static Gain branch(const Position&) { return Gain::trained(0.5, GainShape::kPerChannel); }
};

}  // namespace

template <>
struct FusedNorm<OwnRmsNorm> {
  static std::optional<ResidualNorm> of(const OwnRmsNormImpl& norm) {
    return ResidualNorm::rms_norm(norm.weight, 1e-6);
  }
};

namespace {

using Tensors = std::vector<torch::Tensor>;

class FusedTest : public test::DeviceTest {
 protected:
  static constexpr int64_t kDim = 64;

  // y, then the gradients of x, f(x) and all parameters.
  template <typename Module>
  static Tensors results(Module& module, const Tensors& inputs, bool fused) {
    const FusedResidualGuard guard(fused);
    const auto x = inputs[0].detach().requires_grad_();
    const auto f_x = inputs[1].detach().requires_grad_();
    const auto y = module->forward(x, f_x);
    Tensors to{x, f_x};
    for (const auto& parameter : module->parameters()) to.push_back(parameter);
    Tensors all{y};
    for (const auto& gradient : torch::autograd::grad({y},
                                                      to,
                                                      {inputs[2].to(y.scalar_type())},
                                                      false,
                                                      false,
                                                      /*allow_unused=*/true)) {
      all.push_back(gradient);
    }
    return all;
  }

  template <typename Module>
  static void expect_same(Module module, torch::ScalarType type) {
    test::randomise(*module);
    module->to(device(), type);
    const Tensors inputs{randn({7, 11, kDim}).to(type),
                         randn({7, 11, kDim}).to(type),
                         randn({7, 11, kDim}).to(type)};
    const auto fused = results(module, inputs, true);
    const auto plain = results(module, inputs, false);
    auto wide_module = test::clone_of(module);
    wide_module->to(torch::kFloat64);
    Tensors wide;
    for (const auto& input : inputs) wide.push_back(input.to(torch::kFloat64));
    const auto exact = results(wide_module, wide, false);
    for (size_t i = 0; i < exact.size(); ++i) {
      if (!exact[i].defined()) continue;
      EXPECT_TRUE(test::as_exact_as(fused[i], plain[i], exact[i])) << "result " << i;
    }
  }
};

TEST_P(FusedTest, AgreesWithOperatorsInEveryScheme) {
  const ResidualOptions options(Position::of(12), kDim);
  for (const auto type : {torch::kFloat32, torch::kBFloat16, torch::kHalf}) {
    SCOPED_TRACE(torch::str(type));
    expect_same(Residual<PostNorm>(options), type);
    expect_same(Residual<Admin>(options), type);
    expect_same(Residual<TFixup>(options), type);
    expect_same(Residual<TwoGains>(options), type);
    expect_same(Residual<TwoGains, OwnRmsNorm>(options), type);
    expect_same(AdminResidual<>(12), type);
    expect_same(AdminResidual<NoBranch, torch::nn::LayerNorm>(
                    AdminResidualOptions(12).as_parameter(true).embed_dim(kDim)),
                type);
  }
}

TEST_P(FusedTest, LeavesTheDropoutsProbabilityAsItIs) {
  Residual<Admin> residual(ResidualOptions(Position::of(12), kDim).dropout(0.25));
  residual->to(device());
  const auto f_x = torch::ones({1000, kDim}, options()).requires_grad_();
  const auto x = randn({1000, kDim});
  const auto y = residual(x, f_x);
  const auto gradient = torch::autograd::grad({y}, {f_x}, {randn({1000, kDim})})[0];
  EXPECT_NEAR(gradient.eq(0).to(torch::kFloat64).mean().item<double>(), 0.25, 0.01);
  residual->eval();
  const auto same = torch::autograd::grad({residual(x, f_x)}, {f_x}, {randn({1000, kDim})})[0];
  EXPECT_EQ(same.eq(0).sum().item<int64_t>(), 0);
}

TEST_P(FusedTest, IsTurnedOffByTheSwitch) {
  EXPECT_TRUE(fused_residual_enabled());
  Residual<Admin> residual(ResidualOptions(Position::of(12), kDim));
  residual->to(device());
  const auto x = randn({4, kDim});
  const auto norms = [&] {
    auto calls = test::operators_of([&] { residual(x, x); });
    return calls["aten::layer_norm"];
  };
  norms();
  EXPECT_EQ(norms(), 0);
  {
    const FusedResidualGuard off(false);
    EXPECT_FALSE(fused_residual_enabled());
    EXPECT_EQ(norms(), 1);
  }
  EXPECT_TRUE(set_fused_residual(false));
  EXPECT_FALSE(set_fused_residual(true));
}

EVENKEEL_ON_EVERY_DEVICE(FusedTest);

}  // namespace
}  // namespace evenkeel
