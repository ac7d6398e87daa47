// SPDX-License-Identifier: MIT
#include <evenkeel/diagnose/largest_input_norm.hpp>

#include <evenkeel/nn/transformer.hpp>
#include <evenkeel/residual/registry.hpp>

#include "errors.hpp"
#include "fixture.hpp"
#include "modules.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>

#include <algorithm>
#include <limits>

namespace evenkeel {
namespace {

using test::throws;

class LargestInputNormTest : public test::SeededTest {};

TEST_F(LargestInputNormTest, IsThatOfTheStacksInputsAndLeavesTheModelAsItWas) {
  nn::Transformer<> model(find_scheme("tfixup"),
                          nn::TransformerOptions()
                              .encoder_layers(2)
                              .decoder_layers(3)
                              .embed_dim(8)
                              .num_heads(2)
                              .dim_feedforward(12)
                              .vocab_size(20)
                              .dropout(0.5));
  const auto src = torch::randint(1, 20, {2, 5}, torch::kInt64);
  const auto tgt = torch::randint(1, 20, {2, 4}, torch::kInt64);
  double expected = 0.0;
  model->eval();
  const Observer watch([&](const SublayerEvent& event) {  // every input, one by one
    if (event.position.index != 0) return;
    expected = std::max(expected, event.input.norm(2, -1).max().item<double>());
  });
  const auto state = test::copy_of_state(*model);
  model->train();
  const double measured = largest_input_norm(model, [&] { model->forward(src, tgt); });
  EXPECT_GT(measured, 1.0);
  EXPECT_FLOAT_EQ(static_cast<float>(measured), static_cast<float>(expected));
  EXPECT_TRUE(test::has_state(*model, state));
  EXPECT_TRUE(model->is_training());
}

TEST_F(LargestInputNormTest, NeedsResidualsAndFiniteInputs) {
  torch::nn::Linear linear(4, 4);
  EXPECT_TRUE(throws([&] { largest_input_norm(linear, [&] {
                             linear(torch::randn({2, 4}));
                           }); },
                     "largest_input_norm: expected residual sub-layers, AdminResidual or Residual, "
                     "but none ran in the forward pass of torch::nn::LinearImpl"));
  Residual<> residual(find_scheme("pre"), {Position::of(2), 4});
  const auto x = torch::full({2, 4}, std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(throws([&] { largest_input_norm(residual, [&] { residual(x, x); }); },
                     "largest_input_norm: expected finite inputs, but some are NaN or infinite"));
}

}  // namespace
}  // namespace evenkeel
