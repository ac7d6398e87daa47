// SPDX-License-Identifier: MIT
#include "translation/model.hpp"

#include "all_close.hpp"
#include "common/vocabulary.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/cuda.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {
namespace {

using evenkeel::test::all_close;

constexpr double kSmoothing = 0.1;
constexpr double kWeight = 5.0;

class LossTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() == "cuda" && !torch::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
    device_ = device_of(GetParam());
  }

  nn::Transformer<> make(double dropout) const {
    Config config;
    config.encoder_layers = config.decoder_layers = 2;
    config.embed_dim = 16;
    config.num_heads = 2;
    config.dim_feedforward = 32;
    config.dropout = dropout;
    torch::manual_seed(1);
    auto model = make_model(config, {9, 9, /*joint=*/true});
    model->to(device_);
    return model;
  }

  // With padding on both sides.
  Batch batch() const { return make_batch({{{4, 5, 6}, {7}}, {{8}, {6, 4, 4}}}, {0, 1}); }

  std::vector<torch::Tensor> tensors() const { return to_tensors(batch(), device_); }

  torch::Device device_{torch::kCPU};
};

TEST_P(LossTest, OfRDropIsThatOfOnePassWhereBothPassesAgree) {
  auto model = make(0.0);
  EXPECT_TRUE(all_close(summed_rdrop_loss(*model, tensors(), false, kSmoothing, kWeight).detach(),
                        summed_loss(*model, tensors(), false, kSmoothing).detach()));
}

// By the paper's formula, token by token, from the logits of both passes.
TEST_P(LossTest, OfRDropIsThePapersAndSoAreItsGradients) {
  auto model = make(0.3);
  const auto rows = batch();
  const auto twice = [&](const std::vector<int64_t>& ids, int64_t columns) {
    const auto tensor = to_tensor(ids, rows.sentences, columns, device_);
    return torch::cat({tensor, tensor});
  };
  torch::manual_seed(7);
  const auto logits = model->forward(twice(rows.source, rows.source_length),
                                     twice(rows.target_input, rows.target_length));
  ASSERT_FALSE(all_close(logits[0].detach(), logits[2].detach()));
  auto expected = torch::zeros({}, logits.options());
  for (int64_t row = 0; row < rows.sentences; ++row) {
    for (int64_t column = 0; column < rows.target_length; ++column) {
      const auto piece = rows.target_output[row * rows.target_length + column];
      if (piece == kPad) continue;
      const auto p = logits[row][column].log_softmax(0);
      const auto q = logits[row + rows.sentences][column].log_softmax(0);
      for (const auto& one : {p, q}) {
        expected = expected - (1.0 - kSmoothing) * one[piece] - kSmoothing * one.mean();
      }
      const auto forward = at::kl_div(q, p, at::Reduction::Sum, /*log_target=*/true);
      const auto backward = at::kl_div(p, q, at::Reduction::Sum, /*log_target=*/true);
      expected = expected + kWeight * (forward + backward) / 2.0;
    }
  }
  expected = expected / 2.0;
  torch::manual_seed(7);
  const auto loss = summed_rdrop_loss(*model, tensors(), false, kSmoothing, kWeight);
  EXPECT_TRUE(all_close(loss.detach(), expected.detach()));

  const auto parameters = model->parameters();
  const auto gradients = torch::autograd::grad({loss}, parameters);
  const auto by_hand = torch::autograd::grad({expected}, parameters);
  for (size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_TRUE(all_close(gradients[i], by_hand[i])) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, LossTest, ::testing::Values("cpu", "cuda"));

}  // namespace
}  // namespace evenkeel::examples::translation
