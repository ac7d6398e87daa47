// SPDX-License-Identifier: MIT
#include <evenkeel/residual/admin_residual.hpp>

#include <evenkeel/kernels/fused_residual_switch.hpp>
#include <evenkeel/residual/observer.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "gradients.hpp"
#include "modules.hpp"
#include "operators.hpp"
#include "rms_norm.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::all_close;
using test::same_bits;
using test::throws;
using torch::nn::LayerNorm;
using torch::nn::Linear;
using Names = std::vector<std::string>;

class AdminResidualTest : public test::DeviceTest {};

TEST_P(AdminResidualTest, AddsTheBranchToTheScaledInput) {
  Linear branch(8, 8);
  AdminResidual<Linear> residual(branch, 12);
  residual->to(device());
  const auto x = randn({2, 3, 8});

  EXPECT_TRUE(all_close(residual(x), x * omega_init(12) + branch(x)));
}

TEST_P(AdminResidualTest, JoinsTwoTensorsWithoutABranch) {
  for (const auto scale :
       {OutputChangeScale::kON, OutputChangeScale::kOLogN, OutputChangeScale::kO1}) {
    SCOPED_TRACE(to_string(scale));
    AdminResidual<> residual(AdminResidualOptions(36).output_change_scale(scale));
    residual->to(device());
    const auto x = randn({2, 3, 8});
    const auto f_x = randn({2, 3, 8});

    EXPECT_TRUE(all_close(residual(x, f_x), x * omega_init(36, scale) + f_x));
    EXPECT_TRUE(same_bits(residual->combine(x, f_x), residual(x, f_x)));
  }
}

TEST_P(AdminResidualTest, ScalesEveryChannelByItsOwnOmegaWhenTrained) {
  AdminResidual<> residual(AdminResidualOptions(12).as_parameter(true).embed_dim(8));
  residual->to(device());
  test::randomise(*residual);
  const auto x = randn({5, 8});
  const auto f_x = randn({5, 8});
  const auto y = residual(x, f_x);

  for (int64_t channel = 0; channel < 8; ++channel) {
    SCOPED_TRACE(channel);
    EXPECT_TRUE(all_close(
        y.select(1, channel),
        x.select(1, channel) * residual->omega[channel].item<float>() + f_x.select(1, channel)));
  }
}

TEST_P(AdminResidualTest, OfLinearGrowthIsASum) {
  AdminResidual<> residual(AdminResidualOptions(36).output_change_scale(OutputChangeScale::kON));
  residual->to(device());
  const auto x = randn({2, 3, 8});
  const auto f_x = randn({2, 3, 8});
  EXPECT_TRUE(same_bits(residual(x, f_x), x + f_x));
}

TEST_P(AdminResidualTest, ReadsAnOmegaThatIsWrittenByName) {
  for (const auto scale : {OutputChangeScale::kON, OutputChangeScale::kO1}) {
    AdminResidual<> residual(AdminResidualOptions(36).output_change_scale(scale));
    residual->to(device());
    const auto x = randn({2, 8});
    const auto f_x = randn({2, 8});
    const torch::NoGradGuard no_grad;
    residual->named_buffers()["omega"].fill_(3.0);
    EXPECT_TRUE(all_close(residual(x, f_x), 3.0 * x + f_x));
    residual->omega = torch::full({1}, 2.0, x.options());
    EXPECT_TRUE(all_close(residual(x, f_x), 2.0 * x + f_x));
  }
}

TEST_P(AdminResidualTest, DropsElementsOfTheBranchWhileTraining) {
  AdminResidual<> residual(AdminResidualOptions(36).dropout(0.25));
  residual->to(device());
  const auto f_x = torch::ones({1000, 64}, options());
  const auto zeros = residual(torch::zeros_like(f_x), f_x).eq(0);
  EXPECT_NEAR(zeros.to(torch::kFloat64).mean().item<double>(), 0.25, 0.01);
  residual->eval();
  EXPECT_TRUE(same_bits(residual(torch::zeros_like(f_x), f_x), f_x));
}

TEST_P(AdminResidualTest, MakesItsNormWithTheEpsOfItsOptions) {
  AdminResidual<NoBranch, LayerNorm> residual(AdminResidualOptions(12).embed_dim(8).eps(0.5));
  residual->to(device());
  const auto x = randn({2, 8});
  EXPECT_TRUE(
      all_close(residual(x, x), torch::layer_norm(x * omega_init(12) + x, {8}, {}, {}, 0.5)));
}

TEST_P(AdminResidualTest, ResetsOmegaNormAndBranch) {
  AdminResidual<Linear, LayerNorm> residual(
      Linear(8, 8),
      AdminResidualOptions(12).as_parameter(true).embed_dim(8));
  residual->to(device());
  test::randomise(*residual);
  const auto before = residual->branch->weight.detach().clone();
  residual->reset_parameters();
  EXPECT_TRUE(all_close(residual->omega.detach(), torch::full({8}, omega_init(12), options())));
  EXPECT_TRUE(same_bits(residual->norm->weight.detach(), torch::ones({8}, options())));
  EXPECT_TRUE(same_bits(residual->norm->bias.detach(), torch::zeros({8}, options())));
  EXPECT_FALSE(all_close(residual->branch->weight.detach(), before));
}

TEST_P(AdminResidualTest, OfAnyOtherGrowthMultipliesOnce) {
  AdminResidual<> residual(36);
  residual->to(device());
  const auto x = randn({2, 3, 8});
  const FusedResidualGuard operators_alone(false);
  const auto calls = test::operators_of([&] { residual(x, x); });

  EXPECT_EQ(calls.at("aten::mul"), 1);
  EXPECT_EQ(calls.at("aten::add"), 1);
}

TEST_P(AdminResidualTest, NormalisesTheSum) {
  AdminResidual<Linear, LayerNorm> residual(Linear(8, 8), AdminResidualOptions(12).embed_dim(8));
  residual->to(device());
  test::randomise(*residual);
  const auto x = randn({2, 3, 8});
  const auto sum = x * omega_init(12) + residual->branch(x);
  const auto centred = sum - sum.mean(-1, /*keepdim=*/true);
  const auto deviation = (centred.square().mean(-1, /*keepdim=*/true) + 1e-5).sqrt();

  EXPECT_TRUE(
      all_close(residual(x), centred / deviation * residual->norm->weight + residual->norm->bias));
}

TEST_P(AdminResidualTest, TakesANormOfAnotherKind) {
  AdminResidual<Linear, test::RmsNorm> residual(Linear(8, 8),
                                                AdminResidualOptions(12).embed_dim(8));
  residual->to(device());
  test::randomise(*residual);
  const auto x = randn({2, 3, 8});
  const auto sum = x * omega_init(12) + residual->branch(x);

  EXPECT_TRUE(
      all_close(residual(x), sum / sum.square().mean(-1, true).sqrt() * residual->norm->weight));
}

TEST_P(AdminResidualTest, TakesANormThatTheCallerMade) {
  constexpr double kEps = 0.5;
  AdminResidual<Linear, LayerNorm> residual(Linear(8, 8),
                                            LayerNorm(torch::nn::LayerNormOptions({8}).eps(kEps)),
                                            AdminResidualOptions(12));
  residual->to(device());
  const auto x = randn({2, 3, 8});
  const auto sum = x * omega_init(12) + residual->branch(x);

  EXPECT_TRUE(all_close(residual(x), torch::layer_norm(sum, {8}, {}, {}, kEps)));
  EXPECT_TRUE(same_bits(test::clone_of(residual)(x), residual(x)));
}

TEST_P(AdminResidualTest, TakesTheNormFromItsOptions) {
  const auto x = randn({2, 3, 8});
  const auto f_x = randn({2, 3, 8});
  const auto sum = x * omega_init(12) + f_x;
  const auto options = AdminResidualOptions(12).embed_dim(8);

  AdminResidual<> layer_norm(AdminResidualOptions(options).norm(NormKind::kLayerNorm).eps(0.5));
  layer_norm->to(device());
  EXPECT_TRUE(all_close(layer_norm(x, f_x), torch::layer_norm(sum, {8}, {}, {}, 0.5)));

  AdminResidual<> own(AdminResidualOptions(options).norm(NormType::of<test::RmsNorm>()));
  own->to(device());
  EXPECT_TRUE(all_close(own(x, f_x), sum / sum.square().mean(-1, true).sqrt()));
  EXPECT_EQ(test::state_names(*own), (Names{"norm.weight", "buffers", "omega"}));

  AdminResidual<Linear> rms(Linear(8, 8), AdminResidualOptions(options).norm(NormKind::kRmsNorm));
  rms->to(device());
  test::randomise(*rms);
  auto copy = test::clone_of(rms);
  EXPECT_TRUE(test::same_state(*copy, *rms));
  EXPECT_TRUE(test::shares_nothing(*copy, *rms));
  EXPECT_TRUE(same_bits(copy(x), rms(x)));
  rms->reset_parameters();
  EXPECT_TRUE(
      same_bits(rms->norm.as<RMSNorm>()->weight.detach(), torch::ones({8}, this->options())));
}

TEST_P(AdminResidualTest, TellsObserversThePositionInItsOptions) {
  AdminResidual<> residual(Position::decoder(6, 5, 1));
  residual->to(device());
  EXPECT_TRUE(all_close(residual->omega, torch::full({1}, omega_init(18), this->options())));
  const auto x = randn({2, 8});
  int64_t index = -1;
  const Observer watch([&](const SublayerEvent& event) { index = event.position.index; });
  residual(x, x);
  EXPECT_EQ(index, 16);
}

TEST_P(AdminResidualTest, KeepsHalfPrecisionAndAFloatOmega) {
  for (const auto dtype : {torch::kBFloat16, torch::kHalf}) {
    for (const bool trained : {false, true}) {
      SCOPED_TRACE(torch::str(dtype, trained ? " trained" : " constant"));
      AdminResidual<> residual(AdminResidualOptions(36).as_parameter(trained).embed_dim(512));
      residual->to(device());
      const auto x = randn({64, 512}).to(dtype);
      const auto f_x = randn({64, 512}).to(dtype);
      const auto y = residual(x, f_x);
      const auto plain = x * static_cast<float>(omega_init(36)) + f_x;
      const auto exact =
          x.to(torch::kFloat32) * static_cast<float>(omega_init(36)) + f_x.to(torch::kFloat32);

      EXPECT_EQ(y.scalar_type(), dtype);
      EXPECT_EQ(residual->omega.scalar_type(), torch::kFloat32);
      EXPECT_TRUE(test::at_most_twice_the_error(y, plain, exact));
    }
  }
}

TEST_P(AdminResidualTest, HasRightGradients) {
  AdminResidual<Linear, LayerNorm> residual(
      Linear(4, 4),
      AdminResidualOptions(12).as_parameter(true).embed_dim(4));
  residual->to(device(), torch::kFloat64);
  test::randomise(*residual);
  const auto x = randn({3, 4}, torch::kFloat64).requires_grad_();
  auto inputs = residual->parameters();
  inputs.push_back(x);

  EXPECT_TRUE(test::gradients_are_right([&] { return residual(x); }, inputs));
}

TEST_P(AdminResidualTest, HasRightGradientsOfBothInputsAndOmega) {
  for (const bool trained : {false, true}) {
    SCOPED_TRACE(trained ? "trained" : "constant");
    AdminResidual<> residual(AdminResidualOptions(12).as_parameter(trained).embed_dim(4));
    residual->to(device(), torch::kFloat64);
    const auto x = randn({3, 4}, torch::kFloat64).requires_grad_();
    const auto f_x = randn({3, 4}, torch::kFloat64).requires_grad_();
    auto inputs = residual->parameters();
    ASSERT_EQ(inputs.size(), trained ? 1U : 0U);
    inputs.push_back(x);
    inputs.push_back(f_x);

    EXPECT_TRUE(test::gradients_are_right([&] { return residual(x, f_x); }, inputs));
  }
}

TEST_P(AdminResidualTest, TakesPartInSequential) {
  torch::nn::Sequential stack(
      AdminResidual<Linear>(Linear(8, 8), 4),
      AdminResidual<Linear, LayerNorm>(Linear(8, 8), AdminResidualOptions(4).embed_dim(8)));
  stack->to(device());
  const auto x = randn({2, 8});
  const auto first = stack[0]->as<AdminResidualImpl<Linear>>();
  const auto second = stack[1]->as<AdminResidualImpl<Linear, LayerNorm>>();

  EXPECT_TRUE(same_bits(stack->forward(x), second->forward(first->forward(x))));
}

TEST_P(AdminResidualTest, ClonesAndSharesNothing) {
  AdminResidual<Linear, LayerNorm> residual(
      Linear(8, 8),
      AdminResidualOptions(12).as_parameter(true).embed_dim(8));
  residual->to(device());
  test::randomise(*residual);
  const auto x = randn({2, 8});
  const auto y = residual(x);
  auto copy = test::clone_of(residual);

  EXPECT_TRUE(test::same_state(*copy, *residual));
  EXPECT_TRUE(test::shares_nothing(*copy, *residual));
  EXPECT_TRUE(same_bits(copy(x), y));
  test::randomise(*copy);  // the members are those that are registered
  EXPECT_FALSE(all_close(copy(x), y));
  EXPECT_TRUE(same_bits(residual(x), y));
}

TEST_P(AdminResidualTest, ClonesAnOmegaThatWasLoaded) {
  AdminResidual<> loaded(AdminResidualOptions(36).output_change_scale(OutputChangeScale::kON));
  test::save_and_load(AdminResidual<>(36), loaded);
  loaded->to(device());
  const auto x = randn({2, 8});

  EXPECT_TRUE(same_bits(test::clone_of(loaded)(x, x), loaded(x, x)));
}

TEST_P(AdminResidualTest, FollowsToADtype) {
  AdminResidual<Linear> residual(Linear(8, 8), 12);
  residual->to(device(), torch::kBFloat16);

  EXPECT_EQ(residual->omega.scalar_type(), torch::kBFloat16);
  EXPECT_EQ(residual->omega.device().type(), device().type());
  EXPECT_EQ(residual(randn({2, 8}).to(torch::kBFloat16)).scalar_type(), torch::kBFloat16);
}

TEST_P(AdminResidualTest, SavesAndLoads) {
  const auto options = AdminResidualOptions(12).as_parameter(true).embed_dim(8);
  AdminResidual<Linear, LayerNorm> saved(Linear(8, 8), options);
  saved->to(device());
  test::randomise(*saved);
  AdminResidual<Linear, LayerNorm> loaded(Linear(8, 8), options);
  loaded->to(device());
  test::save_and_load(saved, loaded);
  const auto x = randn({2, 8});

  EXPECT_TRUE(test::same_state(*loaded, *saved));
  EXPECT_TRUE(same_bits(loaded(x), saved(x)));
}

TEST_P(AdminResidualTest, AppliesALoadedConstantInPlaceOfItsOwn) {
  for (const auto from : {OutputChangeScale::kON, OutputChangeScale::kO1}) {
    for (const auto into : {OutputChangeScale::kON, OutputChangeScale::kO1}) {
      SCOPED_TRACE(torch::str(to_string(from), " into ", to_string(into)));
      AdminResidual<> loaded(AdminResidualOptions(36).output_change_scale(into));
      loaded->to(device());
      test::save_and_load(AdminResidual<>(AdminResidualOptions(36).output_change_scale(from)),
                          loaded);
      loaded->to(device());
      const auto x = randn({2, 8});
      const auto f_x = randn({2, 8});

      EXPECT_TRUE(all_close(loaded(x, f_x), x * omega_init(36, from) + f_x));
    }
  }
}

EVENKEEL_ON_EVERY_DEVICE(AdminResidualTest);

TEST(AdminResidualNamesTest, RegistersAConstantAsABufferOfOne) {
  AdminResidual<Linear> residual(Linear(8, 8), 12);

  EXPECT_EQ(test::state_names(*residual),
            (Names{"branch.weight", "branch.bias", "buffers", "omega"}));
  EXPECT_EQ(residual->omega.sizes(), (std::vector<int64_t>{1}));
  EXPECT_EQ(residual->omega.scalar_type(), torch::kFloat32);
}

TEST(AdminResidualNamesTest, RegistersATrainedOneAsAParameterPerChannel) {
  AdminResidual<Linear, LayerNorm> residual(
      Linear(8, 8),
      AdminResidualOptions(12).as_parameter(true).embed_dim(8));

  EXPECT_EQ(
      test::state_names(*residual),
      (Names{"omega", "norm.weight", "norm.bias", "branch.weight", "branch.bias", "buffers"}));
  EXPECT_TRUE(all_close(residual->omega.detach(), torch::full({8}, 2.0170092186865782)));
  EXPECT_TRUE(residual->omega.requires_grad());
}

TEST(AdminResidualNamesTest, LeavesTheCallersHandleOnTheSameBranch) {
  Linear branch(8, 8);
  AdminResidual<Linear> residual(branch, 12);

  EXPECT_EQ(residual->branch.get(), branch.get());
}

TEST(AdminResidualPrintTest, SaysItsOptionsAndChildren) {
  EXPECT_EQ(test::printed(AdminResidual<>(36)),
            "evenkeel::AdminResidual(num_res_layers=36, output_change_scale=O(logn), "
            "as_parameter=false, embed_dim=0)");
  const auto options = AdminResidualOptions(12)
                           .output_change_scale(OutputChangeScale::kO1)
                           .as_parameter(true)
                           .embed_dim(8);
  EXPECT_EQ(test::printed(AdminResidual<Linear>(Linear(8, 8), options)),
            "evenkeel::AdminResidual(num_res_layers=12, output_change_scale=O(1), "
            "as_parameter=true, embed_dim=8)(\n"
            "  (branch): torch::nn::Linear(in_features=8, out_features=8, bias=true)\n"
            ")");
}

TEST(AdminResidualErrorTest, NeedsAtLeastOneSublayer) {
  EXPECT_TRUE(throws([] { AdminResidual<> residual(0); },
                     "AdminResidual: expected num_res_layers >= 1, but got 0"));
}

TEST(AdminResidualErrorTest, NeedsASizeToTrainOmega) {
  EXPECT_TRUE(throws([] { AdminResidual<> residual(AdminResidualOptions(12).as_parameter(true)); },
                     "AdminResidual: as_parameter needs embed_dim > 0, but got 0"));
}

TEST(AdminResidualErrorTest, NeedsAProbabilityAndAnEps) {
  EXPECT_TRUE(throws([] { AdminResidual<> residual(AdminResidualOptions(12).dropout(1.0)); },
                     "AdminResidual: expected dropout in [0, 1), but got 1"));
  EXPECT_TRUE(throws([] { AdminResidual<> residual(AdminResidualOptions(12).eps(-1.0)); },
                     "AdminResidual: expected eps > 0, or 0 for the default, but got -1"));
}

TEST(AdminResidualErrorTest, TakesOneNormAndAnEpsOnlyForIt) {
  using Normed = AdminResidual<NoBranch, LayerNorm>;
  const auto options = AdminResidualOptions(12).embed_dim(8);
  EXPECT_TRUE(throws([&] { Normed r(AdminResidualOptions(options).norm(NormKind::kRmsNorm)); },
                     "AdminResidual: expected a norm as the template argument or in the options, "
                     "but got both; the options' is RMSNorm"));
  EXPECT_TRUE(throws([&] { AdminResidual<> residual(AdminResidualOptions(options).eps(1e-6)); },
                     "AdminResidual: expected a norm that takes the eps, but there is none; write "
                     "AdminResidualOptions(...).norm(NormKind::kLayerNorm)"));
}

TEST(AdminResidualErrorTest, NeedsASizeToMakeANorm) {
  EXPECT_TRUE(
      throws([] { AdminResidual<> residual(AdminResidualOptions(12).norm(NormKind::kRmsNorm)); },
             "AdminResidual: a norm needs embed_dim > 0, but got 0"));
  EXPECT_TRUE(throws(
      [] { AdminResidual<Linear, LayerNorm> residual(Linear(8, 8), AdminResidualOptions(12)); },
      "AdminResidual: a norm needs embed_dim > 0, but got 0"));
}

}  // namespace
}  // namespace evenkeel
