// SPDX-License-Identifier: MIT
#include <evenkeel/nn/reparam_linear.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "gradients.hpp"
#include "modules.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>
#include <torch/optim/sgd.h>
#include <torch/types.h>

#include <cmath>
#include <string>
#include <vector>

namespace evenkeel::nn {
namespace {

class ReparamLinearTest : public test::DeviceTest {
 protected:
  static std::vector<ReparamLinearOptions> all() {
    return {ReparamLinearOptions(4, 4),
            ReparamLinearOptions(4, 6).init(MatrixInit::kOrthogonal).bias(false),
            ReparamLinearOptions(4, 3).init(MatrixInit::kNormal).skip(Gain::fixed(0.5)),
            ReparamLinearOptions(4, 4).skip(Gain::one()).resid(Gain::fixed(0.1))};
  }
};

TEST_P(ReparamLinearTest, IsASumOfAFixedAndATrainedMatrix) {
  for (const auto& options : all()) {
    ReparamLinear linear(options);
    SCOPED_TRACE(test::printed(linear));
    linear->to(device());
    test::randomise(*linear);
    const auto x = randn({2, 3, 4});
    const auto initial = linear->init_weight.defined()
                             ? linear->init_weight
                             : torch::eye(4, torch::TensorOptions().device(device()));
    const auto gain = [](const torch::Tensor& trained) {
      return trained.defined() ? trained.item<double>() : 1.0;
    };
    const auto w = gain(linear->skip_gain) * initial + gain(linear->resid_gain) * linear->weight;
    auto expected = x.matmul(w.t());
    if (linear->bias.defined()) expected = expected + linear->bias;

    EXPECT_TRUE(test::all_close(linear(x), expected));
  }
}

TEST_P(ReparamLinearTest, BeginsAsItsFixedMatrix) {
  const auto x = randn({5, 4});
  EXPECT_TRUE(test::same_bits(on_device(ReparamLinear(all()[0]))(x), x));

  ReparamLinear orthogonal(all()[1]);
  const auto& w = orthogonal->init_weight;
  EXPECT_TRUE(test::all_close(w.t().matmul(w), torch::eye(4)));
  EXPECT_TRUE(test::all_close(orthogonal(x.cpu()), x.cpu().matmul(w.t())));

  const ReparamLinear normal(ReparamLinearOptions(400, 300).init(MatrixInit::kNormal));
  EXPECT_NEAR(normal->init_weight.std().item<double>() * std::sqrt(400.0), 1.0, 0.01);
}

TEST_P(ReparamLinearTest, HasRightGradients) {
  for (const auto& options : all()) {
    ReparamLinear linear(options);
    SCOPED_TRACE(test::printed(linear));
    linear->to(device(), torch::kFloat64);
    test::randomise(*linear);
    auto inputs = linear->parameters();
    const auto x = randn({3, 4}, torch::kFloat64).requires_grad_();
    inputs.push_back(x);

    EXPECT_TRUE(test::gradients_are_right([&] { return linear(x); }, inputs));
  }
}

// The paper's reading of the gains: SGD sees a learning rate times resid^2.
TEST_P(ReparamLinearTest, LearnsWithSgdAsOneMatrixWithTheLearningRateTimesResidSquared) {
  constexpr double kResid = 0.3;
  ReparamLinear linear(ReparamLinearOptions(4, 4)
                           .init(MatrixInit::kOrthogonal)
                           .skip(Gain::one())
                           .resid(Gain::fixed(kResid))
                           .bias(false));
  torch::nn::Linear plain(torch::nn::LinearOptions(4, 4).bias(false));
  linear->to(device(), torch::kFloat64);
  plain->to(device(), torch::kFloat64);
  {
    const torch::NoGradGuard no_grad;
    plain->weight.copy_(linear->init_weight);
  }
  const auto x = randn({8, 4}, torch::kFloat64);
  torch::optim::SGD ours(linear->parameters(), 0.1);
  torch::optim::SGD theirs(plain->parameters(), 0.1 * kResid * kResid);
  for (int step = 0; step < 3; ++step) {
    linear->zero_grad();
    plain->zero_grad();
    linear(x).square().sum().backward();
    plain(x).square().sum().backward();
    ours.step();
    theirs.step();
    EXPECT_TRUE(test::all_close(linear(x), plain(x)));
  }
}

TEST_P(ReparamLinearTest, ClonesSavesLoadsAndReinitialises) {
  const std::vector<std::vector<std::string>> names{
      {"weight", "bias", "skip_gain", "resid_gain", "buffers"},
      {"weight", "skip_gain", "resid_gain", "buffers", "init_weight"},
      {"weight", "bias", "resid_gain", "buffers", "init_weight", "skip_gain"},
      {"weight", "bias", "buffers", "resid_gain"}};
  for (size_t i = 0; i < names.size(); ++i) {
    ReparamLinear linear(all()[i]);
    SCOPED_TRACE(test::printed(linear));
    linear->to(device());
    test::randomise(*linear);
    const auto copy = test::clone_of(linear);
    ReparamLinear loaded(all()[i]);
    loaded->to(device());
    test::save_and_load(linear, loaded);

    EXPECT_EQ(test::state_names(*linear), names[i]);
    EXPECT_TRUE(test::same_state(*copy, *linear));
    EXPECT_TRUE(test::shares_nothing(*copy, *linear));
    EXPECT_TRUE(test::same_state(*loaded, *linear));

    const auto drawn =
        linear->init_weight.defined() ? linear->init_weight.clone() : torch::Tensor();
    linear->reset_parameters();
    EXPECT_EQ(linear->weight.count_nonzero().item<int64_t>(), 0);
    if (linear->resid_gain.defined()) {
      EXPECT_FLOAT_EQ(linear->resid_gain.item<float>(), i == 3 ? 0.1F : 1.0F);
    }
    if (drawn.defined()) {
      EXPECT_FALSE(torch::equal(drawn, linear->init_weight));
    }
  }
}

EVENKEEL_ON_EVERY_DEVICE(ReparamLinearTest);

TEST(ReparamLinearFormTest, PrintsItsOptions) {
  const ReparamLinear linear(ReparamLinearOptions(4, 6).init(MatrixInit::kNormal).bias(false));
  EXPECT_EQ(test::printed(linear),
            "evenkeel::nn::ReparamLinear(in_features=4, out_features=6, init=normal, bias=false)");
}

TEST(ReparamLinearFormTest, NeedsOptionsThatMakeSense) {
  const auto construct = [](const ReparamLinearOptions& options) {
    return [options] { ReparamLinear linear(options); };
  };
  EXPECT_TRUE(test::throws(construct(ReparamLinearOptions(4, 0)),
                           "ReparamLinear: expected in_features and out_features > 0, but got 4 "
                           "and 0"));
  EXPECT_TRUE(test::throws(construct(ReparamLinearOptions(4, 6)),
                           "ReparamLinear: expected in_features == out_features for the identity, "
                           "but got 4 and 6"));
  EXPECT_TRUE(test::throws(construct(ReparamLinearOptions(4, 4).skip(Gain::ramp(1.0, 10))),
                           "ReparamLinear: expected scalar gains that do not follow the training "
                           "step, but got a ramp"));
  EXPECT_TRUE(test::throws(
      construct(ReparamLinearOptions(4, 4).resid(Gain::trained(1.0, GainShape::kPerChannel))),
      "but got one per channel"));
}

}  // namespace
}  // namespace evenkeel::nn
