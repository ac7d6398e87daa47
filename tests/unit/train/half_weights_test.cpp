// SPDX-License-Identifier: MIT
#include <evenkeel/train/half_weights.hpp>

#include <evenkeel/nn/transformer.hpp>
#include <evenkeel/residual/registry.hpp>
#include <evenkeel/train/fused_adam.hpp>

#include "errors.hpp"
#include "fixture.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>

namespace evenkeel::train {
namespace {

nn::Transformer<> small_transformer() {
  torch::manual_seed(5);
  return {find_scheme("admin"),
          nn::TransformerOptions()
              .encoder_layers(2)
              .decoder_layers(2)
              .embed_dim(32)
              .num_heads(2)
              .dim_feedforward(64)
              .vocab_size(20)
              .dropout(0.0)};
}

class HalfWeightsTest : public test::DeviceTest {};
INSTANTIATE_TEST_SUITE_P(Devices,
                         HalfWeightsTest,
                         ::testing::ValuesIn(test::devices()),
                         test::device_name);

TEST_P(HalfWeightsTest, CastsMatricesAndTheirBiasesAndLeavesNormsAndGains) {
  auto model = on_device(small_transformer());
  use_half_weights(*model, torch::kBFloat16);
  int64_t matrices = 0;
  for (const auto& item : model->named_parameters()) {
    const auto& name = item.key();
    const bool stays =
        name.find("norm") != std::string::npos || name.find("omega") != std::string::npos;
    EXPECT_EQ(item.value().scalar_type(), stays ? torch::kFloat32 : torch::kBFloat16) << name;
    matrices += item.value().dim() == 2 ? 1 : 0;
  }
  EXPECT_EQ(matrices, 1 + 2 * 4 + 2 * 6);
}

TEST_P(HalfWeightsTest, TheModelComputesInTheHalfType) {
  auto model = on_device(small_transformer());
  const auto ids = torch::randint(1, 20, {3, 7}).to(device());
  const auto exact = model->forward(ids, ids).detach();
  use_half_weights(*model, torch::kBFloat16);
  const auto logits = model->forward(ids, ids).detach();
  EXPECT_EQ(logits.scalar_type(), torch::kBFloat16);
  const auto error = (logits.to(torch::kFloat32) - exact).norm() / exact.norm();
  EXPECT_LT(error.item<double>(), 0.03);
}

TEST_P(HalfWeightsTest, TrainsWithMasterWeightsAsInFloat32) {
  const auto train = [&](bool half) {
    auto model = on_device(small_transformer());
    if (half) use_half_weights(*model, torch::kBFloat16);
    FusedAdam adam(model->parameters(), FusedAdamOptions(3e-3).master_weights(true));
    torch::manual_seed(6);
    double loss = 0.0;
    for (int i = 0; i < 60; ++i) {
      const auto source = torch::randint(1, 19, {16, 5}).to(device());
      const auto target = torch::cat({torch::full_like(source.narrow(1, 0, 1), 19), source}, 1);
      const auto logits = model->forward(source, target.narrow(1, 0, 5));
      const auto of_step =
          at::cross_entropy_loss(logits.to(torch::kFloat32).flatten(0, 1), source.flatten());
      adam.zero_grad();
      of_step.backward();
      adam.step();
      loss = of_step.item<double>();
    }
    return loss;
  };
  EXPECT_NEAR(train(true), train(false), 0.25);
}

TEST_P(HalfWeightsTest, RefusesOtherTypes) {
  auto model = small_transformer();
  EXPECT_TRUE(test::throws([&] { use_half_weights(*model, torch::kFloat64); },
                           "expected bfloat16 or half"));
}

}  // namespace
}  // namespace evenkeel::train
