// SPDX-License-Identifier: MIT
#include <evenkeel/train/fused_adam.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"

#include <gtest/gtest.h>
#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <string>
#include <vector>

namespace evenkeel::train {
namespace {

using test::all_close;
using test::same_bits;
using test::throws;
using Tensors = std::vector<torch::Tensor>;

constexpr double kLr = 1e-2;
constexpr int kSteps = 20;

class FusedAdamTest : public test::DeviceTest {
 protected:
  static Tensors parameters() {
    torch::manual_seed(1);
    return {randn({3, 4}).requires_grad_(),
            randn({5}).requires_grad_(),
            randn({2, 2, 2}).requires_grad_()};
  }

  // The same gradients for everyone who asks for those of a step.
  static void set_gradients(Tensors& of, int step) {
    torch::manual_seed(100 + static_cast<uint64_t>(step));
    for (auto& parameter : of) parameter.mutable_grad() = randn(parameter.sizes());
  }

  static void expect_close(const Tensors& actual, const Tensors& expected) {
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TRUE(all_close(actual[i], expected[i])) << "parameter " << i;
    }
  }
};

TEST_P(FusedAdamTest, EqualsTorchsAdamStepByStep) {
  auto ours = parameters();
  auto theirs = parameters();
  FusedAdam adam(ours, FusedAdamOptions().beta1(0.8).beta2(0.98).eps(1e-6));
  torch::optim::Adam reference(theirs, torch::optim::AdamOptions(kLr).betas({0.8, 0.98}).eps(1e-6));
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE(step);
    set_gradients(ours, step);
    set_gradients(theirs, step);
    EXPECT_FALSE(adam.step(kLr).defined());
    reference.step();
    expect_close(ours, theirs);
  }
}

TEST_P(FusedAdamTest, EqualsTorchsAdamWithItsDefaults) {
  auto ours = parameters();
  auto theirs = parameters();
  FusedAdam adam(ours, FusedAdamOptions());
  torch::optim::Adam reference(theirs, torch::optim::AdamOptions(kLr));
  set_gradients(ours, 0);
  set_gradients(theirs, 0);
  adam.step(kLr);
  reference.step();
  expect_close(ours, theirs);
}

TEST_P(FusedAdamTest, DecaysWeightsAsAdamW) {
  auto ours = parameters();
  auto theirs = parameters();
  FusedAdam adam(ours, FusedAdamOptions().weight_decay(0.1));
  torch::optim::AdamW reference(theirs, torch::optim::AdamWOptions(kLr).weight_decay(0.1));
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE(step);
    set_gradients(ours, step);
    set_gradients(theirs, step);
    adam.step(kLr);
    reference.step();
    expect_close(ours, theirs);
  }
}

TEST_P(FusedAdamTest, LimitsTheNormAsClipGradNormDoes) {
  for (const double max_norm : {0.5, 1000.0}) {
    SCOPED_TRACE(max_norm);
    auto ours = parameters();
    auto theirs = parameters();
    FusedAdam adam(ours, FusedAdamOptions().max_norm(max_norm));
    torch::optim::Adam reference(theirs, torch::optim::AdamOptions(kLr));
    for (int step = 0; step < kSteps; ++step) {
      set_gradients(ours, step);
      set_gradients(theirs, step);
      for (auto* of : {&ours, &theirs}) {  // of other lengths, so that clipping changes the update
        for (auto& parameter : *of) parameter.mutable_grad().mul_(step % 3 == 0 ? 10.0 : 0.1);
      }
      const auto norm = adam.step(kLr);
      const double expected = torch::nn::utils::clip_grad_norm_(theirs, max_norm);
      reference.step();
      EXPECT_TRUE(all_close(norm, torch::full_like(norm, expected)));
      expect_close(ours, theirs);
    }
  }
}

TEST_P(FusedAdamTest, TakesANewLearningRateEachStep) {
  auto ours = parameters();
  auto theirs = parameters();
  FusedAdam adam(ours, FusedAdamOptions());
  torch::optim::Adam reference(theirs, torch::optim::AdamOptions(kLr));
  for (int step = 0; step < kSteps; ++step) {
    const double lr = kLr / (step + 1);
    static_cast<torch::optim::AdamOptions&>(reference.param_groups()[0].options()).lr(lr);
    set_gradients(ours, step);
    set_gradients(theirs, step);
    adam.step(lr);
    reference.step();
    expect_close(ours, theirs);
  }
}

TEST_P(FusedAdamTest, LeavesParametersWithoutAGradientAlone) {
  auto ours = parameters();
  const auto before = ours[1].detach().clone();
  FusedAdam adam(ours, FusedAdamOptions().weight_decay(0.1));
  set_gradients(ours, 0);
  ours[1].mutable_grad().reset();
  adam.step(kLr);

  EXPECT_TRUE(same_bits(ours[1].detach(), before));
  EXPECT_FALSE(all_close(ours[0], parameters()[0]));
}

TEST_P(FusedAdamTest, DoesNothingWithoutAnyGradient) {
  auto ours = parameters();
  FusedAdam adam(ours, FusedAdamOptions().max_norm(1.0));
  EXPECT_FALSE(adam.step(kLr).defined());
  EXPECT_EQ(adam.state().front().item<double>(), 0.0);
  EXPECT_TRUE(same_bits(ours[0].detach(), parameters()[0].detach()));
}

TEST_P(FusedAdamTest, ForgetsGradients) {
  auto ours = parameters();
  FusedAdam adam(ours, FusedAdamOptions());
  set_gradients(ours, 0);
  adam.zero_grad();
  for (const auto& parameter : ours) EXPECT_FALSE(parameter.grad().defined());
}

TEST_P(FusedAdamTest, ResumedFromItsStateEqualsAnUnbrokenRunBitForBit) {
  const auto options = FusedAdamOptions().weight_decay(0.1).max_norm(1.0);
  auto unbroken = parameters();
  FusedAdam adam(unbroken, options);
  Tensors saved_parameters;
  Tensors saved_state;
  for (int step = 0; step < kSteps; ++step) {
    if (step == kSteps / 2) {
      for (const auto& tensor : unbroken) saved_parameters.push_back(tensor.detach().clone());
      for (const auto& tensor : adam.state()) saved_state.push_back(tensor.clone());
    }
    set_gradients(unbroken, step);
    adam.step(kLr);
  }

  auto resumed = parameters();
  FusedAdam other(resumed, options);
  {
    const torch::NoGradGuard no_grad;
    for (size_t i = 0; i < resumed.size(); ++i) resumed[i].copy_(saved_parameters[i]);
    const auto state = other.state();
    ASSERT_EQ(state.size(), saved_state.size());
    for (size_t i = 0; i < state.size(); ++i) state[i].copy_(saved_state[i]);
  }
  for (int step = kSteps / 2; step < kSteps; ++step) {
    set_gradients(resumed, step);
    other.step(kLr);
  }
  for (size_t i = 0; i < resumed.size(); ++i) {
    EXPECT_TRUE(same_bits(resumed[i].detach(), unbroken[i].detach()));
  }
}

TEST_P(FusedAdamTest, StateIsTheCountThenTheMeansOfGradientsAndOfTheirSquares) {
  auto ours = parameters();
  FusedAdam adam(ours, FusedAdamOptions().beta1(0.5).beta2(0.75));
  set_gradients(ours, 0);
  const auto gradient = ours[2].grad().clone();
  adam.step(kLr);
  const auto state = adam.state();

  ASSERT_EQ(state.size(), 7U);
  EXPECT_EQ(state[0].item<double>(), 1.0);
  EXPECT_TRUE(all_close(state[3], gradient * 0.5));
  EXPECT_TRUE(all_close(state[6], gradient.square() * 0.25));
}

EVENKEEL_ON_EVERY_DEVICE(FusedAdamTest);

TEST(FusedAdamErrorTest, NeedsParameters) {
  EXPECT_TRUE(throws([] { FusedAdam adam({}, FusedAdamOptions()); },
                     "FusedAdam: expected parameters, but got none"));
}

TEST(FusedAdamErrorTest, NeedsThemOnOneDevice) {
  EXPECT_TRUE(throws(
      [] {
        FusedAdam adam({torch::zeros({2}), torch::zeros({2}, torch::kMeta)}, FusedAdamOptions());
      },
      "FusedAdam: expected all parameters on one device, but got cpu and meta"));
}

}  // namespace
}  // namespace evenkeel::train
