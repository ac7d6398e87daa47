// SPDX-License-Identifier: MIT
#include <evenkeel/train/decay_groups.hpp>
#include <evenkeel/train/fused_adam.hpp>

#include "all_close.hpp"

#include <gtest/gtest.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/optim/adamw.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::train {
namespace {

using torch::optim::OptimizerParamGroup;
using Names = std::vector<std::string>;

class LayerImpl : public torch::nn::Module {
 public:
  LayerImpl()
      : tokens(register_module("tokens", torch::nn::Embedding(10, 4))),
        attention(
            register_module("attention",
                            torch::nn::MultiheadAttention(
                                torch::nn::MultiheadAttentionOptions(4, 2).add_bias_kv(true)))),
        norm(register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({3, 4})))),
        head(register_module("head", torch::nn::Linear(4, 10))),
        omega(register_parameter("omega", torch::ones({1}))) {}

  torch::nn::Embedding tokens;
  torch::nn::MultiheadAttention attention;
  torch::nn::LayerNorm norm;
  torch::nn::Linear head;
  torch::Tensor omega;
};
TORCH_MODULE(Layer);

Names names_of(const torch::nn::Module& model, const OptimizerParamGroup& group) {
  Names names;
  for (const auto& tensor : group.params()) {
    for (const auto& item : model.named_parameters()) {
      if (item->is_same(tensor)) names.push_back(item.key());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

const Names kMatrices{"attention.in_proj_weight", "attention.out_proj.weight", "head.weight"};
const Names kOthers{"attention.bias_k",
                    "attention.bias_v",
                    "attention.in_proj_bias",
                    "attention.out_proj.bias",
                    "head.bias",
                    "norm.bias",
                    "norm.weight",
                    "omega"};

Names with(Names names, const std::string& name) {
  names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

TEST(DecayGroupsTest, MatricesDecayAndNormsBiasesAndGainsDoNot) {
  const Layer layer;
  const auto groups = decay_groups(layer, FusedAdamOptions(0.25).beta1(0.5).weight_decay(0.1));

  ASSERT_EQ(groups.size(), 2U);
  EXPECT_EQ(names_of(*layer, groups[0]), with(kMatrices, "tokens.weight"));
  EXPECT_EQ(names_of(*layer, groups[1]), kOthers);
  for (size_t i = 0; i < 2; ++i) {
    const auto& options = static_cast<const FusedAdamOptions&>(groups[i].options());
    EXPECT_EQ(options.weight_decay(), i == 0 ? 0.1 : 0.0);
    EXPECT_EQ(options.lr(), 0.25);
    EXPECT_EQ(options.beta1(), 0.5);
  }
}

TEST(DecayGroupsTest, EmbeddingsDecayOnWish) {
  const Layer layer;
  const auto groups = decay_groups(*layer,
                                   FusedAdamOptions().weight_decay(0.1),
                                   DecayGroupsOptions().embeddings(false));
  EXPECT_EQ(names_of(*layer, groups[0]), kMatrices);
  EXPECT_EQ(names_of(*layer, groups[1]), with(kOthers, "tokens.weight"));
}

TEST(DecayGroupsTest, AModuleThatIsRegisteredTwiceIsListedOnce) {
  const torch::nn::Linear linear(4, 4);
  const torch::nn::Sequential twice(linear, linear);
  const auto groups = decay_groups(twice, FusedAdamOptions().weight_decay(0.1));
  EXPECT_EQ(groups[0].params().size(), 1U);
  EXPECT_EQ(groups[1].params().size(), 1U);
}

TEST(DecayGroupsTest, TiedWeightsAreInOneGroup) {
  Layer layer;
  layer->head->weight.set_data(layer->tokens->weight);
  for (const bool embeddings : {false, true}) {
    const auto groups = decay_groups(*layer,
                                     FusedAdamOptions().weight_decay(0.1),
                                     DecayGroupsOptions().embeddings(embeddings));
    const auto tied = names_of(*layer, groups[embeddings ? 0 : 1]);
    EXPECT_EQ(std::count(tied.begin(), tied.end(), "tokens.weight"), 1);
    EXPECT_EQ(std::count(tied.begin(), tied.end(), "head.weight"), 1);
    const FusedAdam adam(groups);  // takes them for one parameter
    EXPECT_EQ(adam.state().size(), layer->parameters().size() - 1);
  }
}

TEST(DecayGroupsTest, AnUpdateDecaysTheMatricesAlone) {
  Layer layer;
  for (auto& parameter : layer->parameters()) {
    parameter.mutable_grad() = torch::zeros_like(parameter);
  }
  const auto options = FusedAdamOptions(0.5).weight_decay(0.1);
  FusedAdam adam(decay_groups(layer, options), options);
  const auto matrix = layer->head->weight.detach().clone();
  const auto bias = layer->head->bias.detach().clone();
  adam.step();
  EXPECT_TRUE(test::all_close(layer->head->weight, matrix * 0.95));
  EXPECT_TRUE(test::same_bits(layer->head->bias, bias));
}

TEST(DecayGroupsTest, TakesTheOptionsOfLibTorchsOptimizersToo) {
  const Layer layer;
  const auto groups = decay_groups(*layer, torch::optim::AdamWOptions(0.25).weight_decay(0.1));
  torch::optim::AdamW adam(groups);
  EXPECT_EQ(
      static_cast<torch::optim::AdamWOptions&>(adam.param_groups()[1].options()).weight_decay(),
      0.0);
}

}  // namespace
}  // namespace evenkeel::train
