// SPDX-License-Identifier: MIT
#include <evenkeel/train/fused_adam.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/schedulers/step_lr.h>
#include <torch/serialize.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <functional>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::train {
namespace {

using test::all_close;
using test::same_bits;
using test::throws;
using torch::optim::OptimizerParamGroup;
using Tensors = std::vector<torch::Tensor>;

constexpr double kLr = 1e-2;
constexpr int kSteps = 100;
constexpr double kInf = std::numeric_limits<double>::infinity();

// What is promised after kSteps updates.
::testing::AssertionResult equal_to_1e_6(const torch::Tensor& actual,
                                         const torch::Tensor& expected) {
  return test::detail::compare(actual, expected, {1e-6, 1e-6});
}

class FusedAdamTest : public test::DeviceTest {
 protected:
  static Tensors parameters(torch::ScalarType dtype = torch::kFloat32) {
    torch::manual_seed(1);
    Tensors all;
    for (const auto& shape : std::vector<std::vector<int64_t>>{{3, 4}, {5}, {2, 2, 2}}) {
      all.push_back(randn(shape).to(dtype).requires_grad_());
    }
    return all;
  }

  // The same gradients for everyone who asks for those of a step.
  static void set_gradients(const Tensors& of, int step, double factor = 1.0) {
    torch::manual_seed(100 + static_cast<uint64_t>(step));
    for (const auto& parameter : of) {
      parameter.mutable_grad() = (randn(parameter.sizes()) * factor).to(parameter.scalar_type());
    }
  }

  static void step_both(FusedAdam& adam,
                        const Tensors& ours,
                        torch::optim::Optimizer& reference,
                        const Tensors& theirs) {
    for (int step = 0; step < kSteps; ++step) {
      set_gradients(ours, step);
      set_gradients(theirs, step);
      adam.step();
      reference.step();
    }
  }

  static void expect_equal(const Tensors& actual, const Tensors& expected) {
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TRUE(equal_to_1e_6(actual[i], expected[i])) << "parameter " << i;
    }
  }

  static FusedAdamOptions& options_of(FusedAdam& adam, size_t group = 0) {
    return static_cast<FusedAdamOptions&>(adam.param_groups()[group].options());
  }
};

TEST_P(FusedAdamTest, EqualsTorchsAdam) {
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    SCOPED_TRACE(dtype);
    const auto ours = parameters(dtype);
    const auto theirs = parameters(dtype);
    FusedAdam adam(ours, FusedAdamOptions(kLr).betas({0.8, 0.98}).eps(1e-6));
    torch::optim::Adam reference(theirs,
                                 torch::optim::AdamOptions(kLr).betas({0.8, 0.98}).eps(1e-6));
    step_both(adam, ours, reference, theirs);
    expect_equal(ours, theirs);
  }
}

TEST_P(FusedAdamTest, EqualsTorchsAdamWithItsDefaults) {
  const auto ours = parameters();
  const auto theirs = parameters();
  FusedAdam adam(ours);
  torch::optim::Adam reference(theirs);
  step_both(adam, ours, reference, theirs);
  expect_equal(ours, theirs);
}

TEST_P(FusedAdamTest, DecaysWeightsAsAdamW) {
  const auto ours = parameters();
  const auto theirs = parameters();
  FusedAdam adam(ours, FusedAdamOptions(kLr).weight_decay(0.1));
  torch::optim::AdamW reference(theirs, torch::optim::AdamWOptions(kLr).weight_decay(0.1));
  step_both(adam, ours, reference, theirs);
  expect_equal(ours, theirs);
}

TEST_P(FusedAdamTest, GroupsHaveRatesAndDecaysOfTheirOwn) {
  const auto ours = parameters();
  const auto theirs = parameters();
  FusedAdam adam(
      std::vector<OptimizerParamGroup>{
          {{ours[0]}, std::make_unique<FusedAdamOptions>(FusedAdamOptions(0.02).weight_decay(0.3))},
          {{ours[1]}}},
      FusedAdamOptions(kLr));
  adam.add_param_group(
      {{ours[2]}, std::make_unique<FusedAdamOptions>(FusedAdamOptions(0.03).beta1(0.5))});
  using torch::optim::AdamWOptions;
  const auto options = [](double lr, double decay) {
    return std::make_unique<AdamWOptions>(AdamWOptions(lr).weight_decay(decay));
  };
  torch::optim::AdamW reference(std::vector<OptimizerParamGroup>{{{theirs[0]}, options(0.02, 0.3)},
                                                                 {{theirs[1]}, options(kLr, 0.0)}});
  auto last = options(0.03, 0.0);
  last->betas({0.5, 0.999});
  reference.add_param_group({{theirs[2]}, std::move(last)});
  step_both(adam, ours, reference, theirs);
  expect_equal(ours, theirs);
}

TEST_P(FusedAdamTest, TakesOneListOfAllDtypes) {
  Tensors ours, theirs;
  for (auto* all : {&ours, &theirs}) {
    for (const auto dtype : {torch::kFloat64, torch::kBFloat16, torch::kFloat32, torch::kHalf}) {
      const auto of_dtype = parameters(dtype);
      all->insert(all->end(), of_dtype.begin(), of_dtype.end());
    }
  }
  FusedAdam adam(ours, FusedAdamOptions(kLr).max_norm(1e3));
  torch::optim::Adam reference(theirs, torch::optim::AdamOptions(kLr));
  step_both(adam, ours, reference, theirs);
  EXPECT_EQ(adam.grad_norm().scalar_type(), torch::kFloat64);
  for (size_t i = 0; i < ours.size(); ++i) {
    EXPECT_EQ(ours[i].scalar_type(), theirs[i].scalar_type());
    const auto dtype = theirs[i].scalar_type();
    if (dtype == torch::kFloat64 || dtype == torch::kFloat32) {
      EXPECT_TRUE(equal_to_1e_6(ours[i], theirs[i])) << "parameter " << i;
    }
  }
}

TEST_P(FusedAdamTest, HalfTypesAreNoFurtherFromFloat32ThanTorchsAdam) {
  for (const auto dtype : {torch::kBFloat16, torch::kHalf}) {
    SCOPED_TRACE(dtype);
    const auto ours = parameters(dtype);
    const auto theirs = parameters(dtype);
    Tensors exact;
    for (const auto& parameter : ours) {
      exact.push_back(parameter.detach().to(torch::kFloat32).requires_grad_());
    }
    FusedAdam adam(ours, FusedAdamOptions(kLr));
    torch::optim::Adam reference(theirs, torch::optim::AdamOptions(kLr));
    torch::optim::Adam in_float32(exact, torch::optim::AdamOptions(kLr));
    for (int step = 0; step < kSteps; ++step) {
      set_gradients(ours, step);
      set_gradients(theirs, step);
      for (size_t i = 0; i < exact.size(); ++i) {
        exact[i].mutable_grad() = ours[i].grad().to(torch::kFloat32);
      }
      adam.step();
      reference.step();
      in_float32.step();
    }
    for (size_t i = 0; i < exact.size(); ++i) {
      EXPECT_TRUE(test::at_most_twice_the_error(ours[i].detach(), theirs[i].detach(), exact[i]));
      EXPECT_TRUE(all_close(adam.state_of(ours[i]).exp_avg_sq(),
                            static_cast<torch::optim::AdamParamState&>(
                                *in_float32.state().at(exact[i].unsafeGetTensorImpl()))
                                .exp_avg_sq()));
    }
  }
}

// Parameters and gradients that lie in memory in other ways than one another.
struct LayoutCase {
  const char* name;
  std::function<torch::Tensor(const torch::Tensor&)> parameter;  // a leaf of the same values
  std::function<torch::Tensor(const torch::Tensor&)> gradient;
};

std::vector<LayoutCase> layout_cases() {
  const auto same = [](const torch::Tensor& t) { return t.clone(); };
  const auto transposed = [](const torch::Tensor& t) { return t.t().contiguous().t(); };
  const auto column = [](const torch::Tensor& t) {  // every second element of its memory
    return torch::stack({t, t}, 2).select(2, 1);
  };
  const auto offset = [](const torch::Tensor& t) {
    return torch::cat({t.new_zeros({1}), t.flatten()}).narrow(0, 1, t.numel()).view_as(t);
  };
  const auto float64 = [](const torch::Tensor& t) { return t.to(torch::kFloat64); };
  return {{"gradient transposed", same, transposed},
          {"gradient with gaps", same, column},
          {"gradient at an offset", same, offset},
          {"gradient of float64", same, float64},
          {"parameter transposed", transposed, same},
          {"both transposed", transposed, transposed},
          {"parameter with gaps", column, same},
          {"parameter at an offset", offset, transposed}};
}

TEST_P(FusedAdamTest, EqualsTorchsAdamInAnyLayout) {
  for (const auto& layout : layout_cases()) {
    SCOPED_TRACE(layout.name);
    for (const double max_norm : {0.0, 1e3}) {
      const Tensors theirs{randn({3, 2}).requires_grad_()};
      const auto ours = layout.parameter(theirs[0].detach()).requires_grad_();
      FusedAdam adam({ours}, FusedAdamOptions(kLr).max_norm(max_norm));
      torch::optim::Adam reference(theirs, torch::optim::AdamOptions(kLr));
      for (int step = 0; step < kSteps; ++step) {
        set_gradients(theirs, step);
        ours.mutable_grad() = layout.gradient(theirs[0].grad());
        adam.step();
        reference.step();
      }
      EXPECT_TRUE(equal_to_1e_6(ours, theirs[0]));
    }
  }
}

TEST_P(FusedAdamTest, TakesTheExpandedGradientOfASum) {
  for (const double max_norm : {0.0, 1.0}) {
    const auto w = torch::zeros({64, 64}, options()).requires_grad_();
    w.mutable_grad() = torch::autograd::grad({w.sum()}, {w})[0];
    ASSERT_EQ(w.grad().stride(0), 0);
    FusedAdam adam({w}, FusedAdamOptions(kLr).max_norm(max_norm));
    adam.step();
    EXPECT_TRUE(all_close(w, torch::full_like(w, -kLr)));
    EXPECT_TRUE(all_close(adam.grad_norm(), torch::full({}, 64.0, options())));
  }
}

TEST_P(FusedAdamTest, CountsTheUpdatesOfEachParameter) {
  const auto ours = parameters();
  const auto theirs = parameters();
  FusedAdam adam(ours, FusedAdamOptions(kLr));
  torch::optim::Adam reference(theirs, torch::optim::AdamOptions(kLr));
  for (int step = 0; step < kSteps; ++step) {
    for (const auto* of : {&ours, &theirs}) {
      set_gradients(*of, step);
      if (step < kSteps - 1) (*of)[1].mutable_grad().reset();  // its first comes last
      if (step % 3 == 0) (*of)[2].mutable_grad().reset();
    }
    adam.step();
    reference.step();
  }
  expect_equal(ours, theirs);
  EXPECT_EQ(adam.state_of(ours[0]).step().item<double>(), 100.0);
  EXPECT_EQ(adam.state_of(ours[1]).step().item<double>(), 1.0);
  EXPECT_EQ(adam.state_of(ours[2]).step().item<double>(), 66.0);
}

TEST_P(FusedAdamTest, CountsAParameterOnceHoweverOftenItIsListed) {
  const auto linear = on_device(torch::nn::Linear(4, 4));
  torch::nn::ModuleList twice(linear, linear);
  const auto before = linear->weight.detach().clone();
  FusedAdam adam(twice->parameters(), FusedAdamOptions(kLr));
  for (auto& parameter : linear->parameters()) {
    parameter.mutable_grad() = torch::ones_like(parameter);
  }
  adam.step();
  EXPECT_TRUE(all_close(linear->weight, before - kLr));
  EXPECT_TRUE(all_close(adam.grad_norm(), torch::full({}, std::sqrt(20.0), options())));
}

TEST_P(FusedAdamTest, TensorsOnTheSameMemoryAreOneParameter) {
  const auto tokens = on_device(torch::nn::Embedding(10, 4));
  const auto head = on_device(torch::nn::Linear(torch::nn::LinearOptions(4, 10).bias(false)));
  head->weight.set_data(tokens->weight);
  const Tensors theirs{tokens->weight.detach().clone().requires_grad_()};
  FusedAdam adam({tokens->weight, head->weight}, FusedAdamOptions(kLr));
  torch::optim::Adam reference(theirs, torch::optim::AdamOptions(kLr));
  for (int step = 0; step < kSteps; ++step) {
    set_gradients({tokens->weight, head->weight}, step);
    if (step % 4 == 1) tokens->weight.mutable_grad().reset();
    auto sum = head->weight.grad();
    if (tokens->weight.grad().defined()) sum = sum + tokens->weight.grad();
    theirs[0].mutable_grad() = sum;
    adam.step();
    reference.step();
  }
  EXPECT_TRUE(equal_to_1e_6(tokens->weight, theirs[0]));
  EXPECT_TRUE(same_bits(head->weight, tokens->weight));
}

TEST_P(FusedAdamTest, RefusesTensorsThatShareAPartOfTheirMemory) {
  const auto tokens = randn({10, 4}).requires_grad_();
  const auto refused = [&](const torch::Tensor& other, const std::string& text) {
    return throws(
        [&] {
          FusedAdam adam({tokens, other.detach().requires_grad_()});
        },
        "FusedAdam: " + text);
  };
  EXPECT_TRUE(refused(tokens.t(),
                      "parameter 1 of group 0, of shape [4, 10], is tied to parameter 0 of group "
                      "0, of shape [10, 4], by a part of its memory or in another layout; tie "
                      "whole tensors of one layout"));
  EXPECT_TRUE(refused(tokens.slice(0, 3, 7), "parameter 1 of group 0, of shape [4, 4], is tied"));
  EXPECT_TRUE(refused(tokens.select(1, 2), "parameter 1 of group 0, of shape [10], is tied"));

  const auto flat = randn({30});  // neighbours share nothing
  FusedAdam adam({flat.slice(0, 0, 10).requires_grad_(), flat.slice(0, 10, 30).requires_grad_()});
  const auto pairs = randn({10, 2});
  FusedAdam other({pairs.select(1, 0).requires_grad_(), pairs.select(1, 1).requires_grad_()});
}

TEST_P(FusedAdamTest, LimitsTheNormAsClipGradNormDoes) {
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    for (const double max_norm : {0.5, 1000.0}) {
      SCOPED_TRACE(max_norm);
      const auto ours = parameters(dtype);
      const auto theirs = parameters(dtype);
      FusedAdam adam(ours, FusedAdamOptions(kLr).max_norm(max_norm));
      torch::optim::Adam reference(theirs, torch::optim::AdamOptions(kLr));
      for (int step = 0; step < 20; ++step) {  // of other lengths, so that the limit matters
        set_gradients(ours, step, step % 3 == 0 ? 10.0 : 0.1);
        set_gradients(theirs, step, step % 3 == 0 ? 10.0 : 0.1);
        adam.step();
        const double expected = torch::nn::utils::clip_grad_norm_(theirs, max_norm);
        reference.step();
        EXPECT_TRUE(all_close(adam.grad_norm(), torch::full_like(adam.grad_norm(), expected)));
      }
      // clip_grad_norm_ divides by 1e-6 more.
      for (size_t i = 0; i < ours.size(); ++i) {
        EXPECT_TRUE(all_close(ours[i].to(torch::kFloat32), theirs[i].to(torch::kFloat32)));
      }
    }
  }
}

TEST_P(FusedAdamTest, LimitsTheNormOfHalfTypesWithoutOverflow) {
  for (const auto dtype : {torch::kBFloat16, torch::kHalf}) {
    const auto w = torch::zeros({64, 64}, options(dtype)).requires_grad_();
    w.mutable_grad() = torch::full_like(w, 4096.0);  // its norm is above half's largest
    FusedAdam adam({w}, FusedAdamOptions(kLr).betas({0.0, 0.5}).max_norm(64.0));
    adam.step();
    EXPECT_TRUE(all_close(adam.grad_norm(), torch::full({}, 64.0 * 4096.0, options())));
    EXPECT_TRUE(all_close(adam.state_of(w).exp_avg(), torch::ones({64, 64}, options())));
  }
}

TEST_P(FusedAdamTest, LeavesOutAnUpdateWhoseNormIsNotFinite) {
  for (const double bad : {std::nan(""), kInf}) {
    for (const double max_norm : {0.0, 1.0}) {
      auto ours = parameters();
      auto theirs = parameters();
      for (auto* all : {&ours, &theirs}) {
        all->push_back(parameters(torch::kFloat64)[0]);
        all->push_back(parameters(torch::kBFloat16)[0]);
      }
      const auto options = FusedAdamOptions(kLr).weight_decay(0.1).max_norm(max_norm);
      FusedAdam adam(ours, options);
      FusedAdam undisturbed(theirs, options);
      for (int step = 0; step < 6; ++step) {
        set_gradients(ours, step);
        set_gradients(theirs, step);
        adam.step();
        undisturbed.step();
        if (step % 2 == 1) continue;
        set_gradients(ours, 10);
        {
          const torch::NoGradGuard no_grad;
          ours[1].grad()[2] = bad;
        }
        adam.step();
        EXPECT_FALSE(std::isfinite(adam.grad_norm().item<double>()));
      }
      for (size_t i = 0; i < ours.size(); ++i) {
        EXPECT_TRUE(same_bits(ours[i], theirs[i])) << "parameter " << i;
        EXPECT_TRUE(
            same_bits(adam.state_of(ours[i]).step(), undisturbed.state_of(theirs[i]).step()));
        EXPECT_TRUE(same_bits(adam.state_of(ours[i]).exp_avg_sq(),
                              undisturbed.state_of(theirs[i]).exp_avg_sq()));
      }
      EXPECT_EQ(adam.skipped().item<int64_t>(), 3);
      EXPECT_EQ(undisturbed.skipped().item<int64_t>(), 0);
      EXPECT_EQ(adam.skipped().device(), ours[0].device());
    }
  }
}

TEST_P(FusedAdamTest, ALearningRateMayBeATensor) {
  for (const auto& on : {torch::Device(torch::kCPU), device()}) {
    const auto ours = parameters();
    const auto theirs = parameters();
    const auto lr = torch::full({}, kLr, torch::dtype(torch::kFloat64).device(on));
    FusedAdam adam(ours, FusedAdamOptions().lr_tensor(lr).weight_decay(0.1));
    torch::optim::AdamW reference(theirs, torch::optim::AdamWOptions(kLr).weight_decay(0.1));
    for (int step = 0; step < 20; ++step) {
      set_gradients(ours, step);
      set_gradients(theirs, step);
      const double rate = kLr / (step + 1);
      lr.fill_(rate);
      reference.param_groups()[0].options().set_lr(rate);
      adam.step();
      reference.step();
    }
    expect_equal(ours, theirs);
    adam.set_lr(0.25);
    EXPECT_EQ(lr.item<double>(), 0.25);
    EXPECT_EQ(options_of(adam).get_lr(), 0.25);
  }
}

TEST_P(FusedAdamTest, TakesANewLearningRateEachStep) {
  const auto ours = parameters();
  const auto theirs = parameters();
  FusedAdam adam(ours);
  torch::optim::Adam reference(theirs);
  for (int step = 0; step < 20; ++step) {
    const double lr = kLr / (step + 1);
    reference.param_groups()[0].options().set_lr(lr);
    set_gradients(ours, step);
    set_gradients(theirs, step);
    adam.step(lr);
    reference.step();
  }
  expect_equal(ours, theirs);
}

TEST_P(FusedAdamTest, AGroupsRateMayBeInProportionToThatOfTheOthers) {
  for (const bool with_tensor : {false, true}) {
    SCOPED_TRACE(with_tensor);
    const auto ours = parameters();
    const auto theirs = parameters();
    const auto lr = torch::full({}, kLr, torch::kFloat64);
    const auto group = [&](const torch::Tensor& parameter, double scale) {
      auto options = FusedAdamOptions(kLr).weight_decay(0.1).lr_scale(scale);
      if (with_tensor) options.lr_tensor(lr);
      return OptimizerParamGroup({parameter}, std::make_unique<FusedAdamOptions>(options));
    };
    FusedAdam adam(std::vector<OptimizerParamGroup>{group(ours[0], 1.0), group(ours[1], 0.25)});
    FusedAdam of_one(std::vector<torch::Tensor>{theirs[0]}, FusedAdamOptions().weight_decay(0.1));
    FusedAdam of_other(std::vector<torch::Tensor>{theirs[1]}, FusedAdamOptions().weight_decay(0.1));
    for (int step = 0; step < kSteps; ++step) {
      const double rate = kLr / (step + 1);
      set_gradients(ours, step);
      set_gradients(theirs, step);
      adam.step(rate);
      of_one.step(rate);
      of_other.step(0.25 * rate);
    }
    EXPECT_TRUE(equal_to_1e_6(ours[0], theirs[0]));
    EXPECT_TRUE(equal_to_1e_6(ours[1], theirs[1]));
  }
}

TEST_P(FusedAdamTest, AFileDoesNotChangeTheProportionOfAGroupsRate) {
  const auto ours = parameters();
  FusedAdam saved(ours, FusedAdamOptions(kLr));
  std::stringstream file;
  torch::save(saved, file);
  FusedAdam adam(ours, FusedAdamOptions(1.0).lr_scale(0.5));
  torch::load(adam, file);
  EXPECT_EQ(options_of(adam).lr(), kLr);
  EXPECT_EQ(options_of(adam).lr_scale(), 0.5);
}

TEST_P(FusedAdamTest, LibTorchsSchedulersSetItsRates) {
  for (const bool as_tensor : {false, true}) {
    auto options = FusedAdamOptions(0.4);
    if (as_tensor) options.lr_tensor(torch::full({}, 0.4, FusedAdamTest::options()));
    FusedAdam adam(parameters(), options);
    torch::optim::Adam reference(parameters(), torch::optim::AdamOptions(0.4));
    torch::optim::StepLR ours(adam, /*step_size=*/1, /*gamma=*/0.5);
    torch::optim::StepLR theirs(reference, /*step_size=*/1, /*gamma=*/0.5);
    for (int step = 0; step < 4; ++step) {
      ours.step();
      theirs.step();
      EXPECT_NEAR(options_of(adam).get_lr(), reference.param_groups()[0].options().get_lr(), 1e-7);
    }
    EXPECT_LT(options_of(adam).get_lr(), 0.1);
  }
}

TEST_P(FusedAdamTest, LeavesParametersWithoutAGradientAlone) {
  const auto ours = parameters();
  const auto before = ours[1].detach().clone();
  FusedAdam adam(ours, FusedAdamOptions().weight_decay(0.1));
  set_gradients(ours, 0);
  ours[1].mutable_grad().reset();
  adam.step();

  EXPECT_TRUE(same_bits(ours[1].detach(), before));
  EXPECT_FALSE(all_close(ours[0], parameters()[0]));
}

TEST_P(FusedAdamTest, DoesNothingWithoutAnyGradient) {
  const auto ours = parameters();
  FusedAdam adam(ours, FusedAdamOptions().max_norm(1.0));
  set_gradients(ours, 0);
  adam.step();
  EXPECT_TRUE(adam.grad_norm().defined());
  const auto before = ours[0].detach().clone();
  adam.zero_grad();
  for (const auto& parameter : ours) EXPECT_FALSE(parameter.grad().defined());
  adam.step();
  EXPECT_FALSE(adam.grad_norm().defined());
  EXPECT_EQ(adam.state_of(ours[0]).step().item<double>(), 1.0);
  EXPECT_TRUE(same_bits(ours[0].detach(), before));
}

TEST_P(FusedAdamTest, CallsAClosureWithGradientsAndReturnsItsLoss) {
  const auto w = torch::zeros({2}, options()).requires_grad_();
  FusedAdam adam({w}, FusedAdamOptions(kLr));
  const torch::NoGradGuard no_grad;
  const auto loss = adam.step([&] {
    adam.zero_grad();
    auto sum = (w + 3.0).sum();
    sum.backward();
    return sum;
  });
  EXPECT_EQ(loss.item<double>(), 6.0);
  EXPECT_TRUE(all_close(w, torch::full({2}, -kLr, options())));
  EXPECT_FALSE(adam.step().defined());
}

TEST_P(FusedAdamTest, FollowsAModelThatIsCast) {
  auto linear = on_device(torch::nn::Linear(4, 4));
  FusedAdam adam(linear->parameters(), FusedAdamOptions(kLr));
  set_gradients(linear->parameters(), 0);
  adam.step();
  adam.zero_grad();
  linear->to(torch::kFloat64);
  const auto before = linear->weight.detach().clone();
  const auto mean = adam.state_of(linear->weight).exp_avg().to(torch::kFloat64);
  set_gradients(linear->parameters(), 1);
  const auto gradient = linear->weight.grad().clone();
  adam.step();
  EXPECT_TRUE(all_close(adam.state_of(linear->weight).exp_avg(), mean * 0.9 + gradient * 0.1));
  EXPECT_EQ(adam.state_of(linear->weight).step().item<double>(), 2.0);
  EXPECT_GT((linear->weight - before).abs().max().item<double>(), 0.0);
}

// With a parameter that is tied, one that is strided, one of a half type and one listed twice.
Tensors resumable(const Tensors& from) {
  Tensors all;
  for (const auto& tensor : from) all.push_back(tensor.detach().clone().requires_grad_());
  all.push_back(from[0].detach().t().contiguous().t().requires_grad_());
  all.push_back(from[1].detach().to(torch::kBFloat16).requires_grad_());
  auto tied = torch::empty_like(all[0]).requires_grad_();
  tied.set_data(all[0]);
  all.insert(all.begin() + 1, tied);
  all.push_back(all.back());  // listed twice
  return all;
}

std::vector<OptimizerParamGroup> groups_of(const Tensors& tensors, const FusedAdamOptions& second) {
  return {{{tensors.begin(), tensors.begin() + 3}},
          {{tensors.begin() + 3, tensors.end()}, std::make_unique<FusedAdamOptions>(second)}};
}

TEST_P(FusedAdamTest, ResumedFromAFileEqualsAnUnbrokenRunBitForBit) {
  const auto options = FusedAdamOptions(kLr).weight_decay(0.1).max_norm(1.0);
  const auto unbroken = resumable(parameters());
  const auto rate = torch::full({}, kLr / 2, FusedAdamTest::options());
  FusedAdam adam(groups_of(unbroken, FusedAdamOptions().lr_tensor(rate).beta2(0.9)), options);
  const auto run = [](FusedAdam& optimizer, const Tensors& tensors, int begin, int end) {
    for (int step = begin; step < end; ++step) {
      set_gradients(tensors, step);
      if (step == 1) tensors[0].mutable_grad()[0] = kInf;
      if (step % 3 == 1) tensors[2].mutable_grad().reset();
      optimizer.step();
    }
  };
  {
    const torch::NoGradGuard no_grad;
    run(adam, unbroken, 0, 5);
  }
  std::stringstream file;
  torch::save(adam, file);
  auto resumed = resumable(parameters());
  {
    const torch::NoGradGuard no_grad;
    for (size_t i = 0; i < resumed.size(); ++i) resumed[i].copy_(unbroken[i]);
  }
  run(adam, unbroken, 5, 10);

  const auto other_rate = torch::zeros({}, FusedAdamTest::options());
  FusedAdam other(groups_of(resumed, FusedAdamOptions().lr_tensor(other_rate)),
                  FusedAdamOptions(0.5).max_norm(1.0));
  set_gradients(resumed, 50);  // forgotten when the file is read
  const auto kept = resumed[0].detach().clone();
  torch::load(other, file);
  EXPECT_EQ(other.skipped().item<int64_t>(), 1);
  EXPECT_TRUE(same_bits(other_rate, rate));
  EXPECT_EQ(options_of(other, 1).beta2(), 0.9);
  EXPECT_TRUE(same_bits(resumed[0].detach(), kept));
  run(other, resumed, 5, 10);
  for (size_t i = 0; i < resumed.size(); ++i) {
    EXPECT_TRUE(same_bits(resumed[i].detach(), unbroken[i].detach())) << "parameter " << i;
  }
}

TEST_P(FusedAdamTest, AFileOfOtherParametersIsRefusedAndChangesNothing) {
  const auto ours = parameters();
  FusedAdam adam(ours, FusedAdamOptions(kLr));
  set_gradients(ours, 0);
  adam.step();
  const auto mean = adam.state_of(ours[0]).exp_avg().clone();
  const auto refused = [&](FusedAdam&& written, const std::string& text) {
    std::stringstream file;
    torch::save(written, file);
    return throws([&] { torch::load(adam, file); }, "FusedAdam: expected " + text);
  };
  EXPECT_TRUE(refused(FusedAdam({ours[0]}, FusedAdamOptions(0.5)),
                      "a file of 3 parameters of group 0, but got 1"));
  EXPECT_TRUE(refused(FusedAdam({ours[0], ours[2], ours[1]}, FusedAdamOptions(0.5)),
                      "a file whose parameter 1 of group 0 is of shape [5], but got [2, 2, 2]"));
  adam.add_param_group({{torch::zeros({2})}});
  EXPECT_TRUE(refused(FusedAdam(ours, FusedAdamOptions(0.5)), "a file of 2 groups, but got 1"));
  EXPECT_EQ(options_of(adam).lr(), kLr);
  EXPECT_TRUE(same_bits(adam.state_of(ours[0]).exp_avg(), mean));
}

TEST_P(FusedAdamTest, ResumedFromItsStateEqualsAnUnbrokenRunBitForBit) {
  const auto options = FusedAdamOptions(kLr).weight_decay(0.1).max_norm(1.0);
  const auto unbroken = parameters();
  FusedAdam adam(unbroken, options);
  const auto run = [](FusedAdam& optimizer, const Tensors& tensors, int begin, int end) {
    for (int step = begin; step < end; ++step) {
      set_gradients(tensors, step);
      optimizer.step();
    }
  };
  run(adam, unbroken, 0, 5);
  const auto resumed = parameters();
  FusedAdam other(resumed, options);
  {
    const torch::NoGradGuard no_grad;
    for (size_t i = 0; i < resumed.size(); ++i) {
      resumed[i].copy_(unbroken[i]);
      other.state_of(resumed[i]).step().copy_(adam.state_of(unbroken[i]).step());
      other.state_of(resumed[i]).exp_avg().copy_(adam.state_of(unbroken[i]).exp_avg());
      other.state_of(resumed[i]).exp_avg_sq().copy_(adam.state_of(unbroken[i]).exp_avg_sq());
    }
  }
  run(adam, unbroken, 5, 10);
  run(other, resumed, 5, 10);
  for (size_t i = 0; i < resumed.size(); ++i) {
    EXPECT_TRUE(same_bits(resumed[i].detach(), unbroken[i].detach()));
  }
}

TEST_P(FusedAdamTest, StateIsTheCountAndTheMeansOfGradientsAndOfTheirSquares) {
  const auto ours = parameters();
  FusedAdam adam(ours, FusedAdamOptions().beta1(0.5).beta2(0.75));
  set_gradients(ours, 0);
  const auto gradient = ours[2].grad().clone();
  adam.step();

  const auto& state = adam.state_of(ours[2]);
  EXPECT_EQ(state.step().item<double>(), 1.0);
  EXPECT_TRUE(all_close(state.exp_avg(), gradient * 0.5));
  EXPECT_TRUE(all_close(state.exp_avg_sq(), gradient.square() * 0.25));
}

TEST_P(FusedAdamTest, RefusesSparseGradients) {
  auto tokens = on_device(torch::nn::Embedding(torch::nn::EmbeddingOptions(5, 2).sparse(true)));
  const auto dense = randn({3}).requires_grad_();
  FusedAdam adam({dense, tokens->weight}, FusedAdamOptions().max_norm(1.0));
  tokens(torch::tensor({1, 2}, torch::dtype(torch::kInt64).device(device()))).sum().backward();
  EXPECT_TRUE(throws([&] { adam.step(); },
                     "FusedAdam: expected dense gradients, but that of parameter 1 of group 0, of "
                     "shape [5, 2], is Sparse; construct its torch::nn::Embedding with "
                     "sparse(false)"));
}

EVENKEEL_ON_EVERY_DEVICE(FusedAdamTest);

TEST(FusedAdamErrorTest, NeedsParametersThatItCanUpdate) {
  const auto said = [](const Tensors& tensors, const std::string& text) {
    return throws([&] { FusedAdam adam(tensors); }, "FusedAdam: expected " + text);
  };
  EXPECT_TRUE(said({}, "parameters, but got none"));
  EXPECT_TRUE(said({torch::zeros({2}), torch::zeros({2}, torch::kInt64)},
                   "parameters of float64, float32, bfloat16 or half, but parameter 1 of group 0, "
                   "of shape [2], is of Long"));
  EXPECT_TRUE(said({torch::zeros({2}, torch::kMeta)},
                   "parameters with memory, but parameter 0 of group 0, of shape [2], has none on "
                   "meta"));
  EXPECT_TRUE(said({torch::zeros({1, 3}).expand({2, 3})},
                   "parameters whose elements do not share memory, but parameter 0 of group 0, of "
                   "shape [2, 3], is expanded, of strides [0, 1]; clone() it"));
}

TEST(FusedAdamErrorTest, NeedsEachParameterInOneGroup) {
  const auto w = torch::zeros({2});
  EXPECT_TRUE(throws(
      [&] {
        FusedAdam adam(std::vector<OptimizerParamGroup>{{{torch::zeros({3}), w}}, {{w}}});
      },
      "FusedAdam: expected each parameter in one group, but parameter 0 of group 1, of shape [2], "
      "is also parameter 1 of group 0, of shape [2]"));
}

TEST(FusedAdamErrorTest, NeedsGradientsOfTheParametersShape) {
  const auto w = torch::zeros({2, 3});
  w.mutable_grad() = torch::zeros({3});
  FusedAdam adam({w});
  EXPECT_TRUE(throws([&] { adam.step(); },
                     "FusedAdam: expected gradients of their parameters' shapes, but that of "
                     "parameter 0 of group 0, of shape [2, 3], is of shape [3]"));
}

TEST(FusedAdamErrorTest, NeedsOptionsInRange) {
  const auto said = [](const FusedAdamOptions& options, const std::string& text) {
    return throws([&] { FusedAdam adam({torch::zeros({2})}, options); },
                  "FusedAdam: expected " + text);
  };
  EXPECT_TRUE(said(FusedAdamOptions(-1.0), "lr >= 0 for group 0, but got -1"));
  EXPECT_TRUE(said(FusedAdamOptions().beta1(1.0), "beta1 in [0, 1) for group 0, but got 1"));
  EXPECT_TRUE(said(FusedAdamOptions().beta2(-0.5), "beta2 in [0, 1) for group 0, but got -0.5"));
  EXPECT_TRUE(said(FusedAdamOptions().eps(-2.0), "eps >= 0 for group 0, but got -2"));
  EXPECT_TRUE(said(FusedAdamOptions().weight_decay(-3.0), "weight_decay >= 0 for group 0, but"));
  EXPECT_TRUE(said(FusedAdamOptions().max_norm(std::nan("")), "max_norm >= 0 for group 0, but"));
  EXPECT_TRUE(said(FusedAdamOptions().lr_tensor(torch::zeros({2})),
                   "a floating-point scalar as lr_tensor for group 0, but got shape [2] of Float"));
}

TEST(FusedAdamErrorTest, NeedsItsOwnOptionsInEveryGroup) {
  const auto said = [](std::unique_ptr<torch::optim::OptimizerOptions> options,
                       const std::string& text) {
    return throws(
        [&] {
          const std::vector<OptimizerParamGroup> groups{{{torch::zeros({2})}, std::move(options)}};
          FusedAdam adam(groups);
        },
        text);
  };
  EXPECT_TRUE(said(std::make_unique<torch::optim::AdamOptions>(),
                   "FusedAdam: expected FusedAdamOptions for group 0, but got the options of "
                   "another optimizer"));
  EXPECT_TRUE(said(std::make_unique<FusedAdamOptions>(FusedAdamOptions().max_norm(2.0)),
                   "FusedAdam: expected one max_norm for all groups, but got 0 for the "
                   "constructor and 2 for group 0"));
}

TEST(FusedAdamErrorTest, HasNoStateForOthersParameters) {
  FusedAdam adam({torch::zeros({2})});
  EXPECT_TRUE(throws([&] { adam.state_of(torch::zeros({3})); },
                     "FusedAdam: expected one of its parameters, but got a tensor of shape [3] "
                     "without a state"));
}

TEST(FusedAdamTest, MasterWeightsKeepWhatBfloat16WouldLose) {
  torch::manual_seed(0);
  const auto start = torch::randn({6, 5});
  auto half = start.to(torch::kBFloat16).requires_grad_();
  auto lossy = start.to(torch::kBFloat16).requires_grad_();
  auto wide = start.to(torch::kBFloat16).to(torch::kFloat32).requires_grad_();
  FusedAdam adam({half}, FusedAdamOptions(1e-4).master_weights(true));
  FusedAdam without({lossy}, FusedAdamOptions(1e-4));
  FusedAdam reference({wide}, FusedAdamOptions(1e-4));
  for (int i = 0; i < 50; ++i) {
    const auto gradient = torch::randn({6, 5}).to(torch::kBFloat16) + 1;
    half.mutable_grad() = gradient.clone();
    lossy.mutable_grad() = gradient.clone();
    wide.mutable_grad() = gradient.to(torch::kFloat32);
    adam.step();
    without.step();
    reference.step();
  }
  EXPECT_TRUE(test::same_bits(adam.master_of(half), wide.detach()));
  EXPECT_TRUE(test::same_bits(half.detach(), wide.detach().to(torch::kBFloat16)));
  EXPECT_FALSE(torch::equal(lossy.detach(), half.detach()));
  EXPECT_TRUE(without.master_of(lossy).is_same(lossy));
}

TEST(FusedAdamTest, MasterWeightsAreSavedAndLoaded) {
  torch::manual_seed(0);
  auto half = torch::randn({6, 5}).to(torch::kBFloat16).requires_grad_();
  auto again = half.detach().clone().requires_grad_();
  FusedAdam adam({half}, FusedAdamOptions(1e-4).master_weights(true));
  half.mutable_grad() = torch::ones_like(half);
  adam.step();
  std::stringstream file;
  torch::save(adam, file);
  FusedAdam other({again}, FusedAdamOptions(1e-4).master_weights(true));
  torch::load(other, file);
  EXPECT_TRUE(test::same_bits(other.master_of(again), adam.master_of(half)));
}

}  // namespace
}  // namespace evenkeel::train
