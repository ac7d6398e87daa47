// SPDX-License-Identifier: MIT
#include "common/optimizer.hpp"

#include <evenkeel/nn/language_model.hpp>
#include <evenkeel/residual/registry.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <string>
#include <utility>

namespace evenkeel::examples {
namespace {

// The factor of the learning rate and the decay of every parameter, by name.
std::map<std::string, std::pair<double, double>> options_by_name(nn::LanguageModel<>& model,
                                                                 size_t groups) {
  const auto made = optimizer_groups(*model,
                                     anatomy_of(model),
                                     train::FusedAdamOptions().weight_decay(0.1),
                                     /*lr_embeddings=*/0.5,
                                     /*lr_gains=*/2.0);
  EXPECT_EQ(made.size(), groups);
  std::map<std::string, std::pair<double, double>> found;
  for (const auto& group : made) {
    const auto& options = static_cast<const train::FusedAdamOptions&>(group.options());
    for (const auto& parameter : group.params()) {
      for (const auto& item : model->named_parameters()) {
        if (!item.value().is_same(parameter)) continue;
        EXPECT_TRUE(
            found.emplace(item.key(), std::pair(options.lr_scale(), options.weight_decay())).second)
            << item.key();
      }
    }
  }
  EXPECT_EQ(found.size(), model->named_parameters().size());
  return found;
}

nn::LanguageModelOptions small() {
  return nn::LanguageModelOptions()
      .num_layers(1)
      .embed_dim(8)
      .num_heads(2)
      .dim_feedforward(12)
      .vocab_size(11);
}

TEST(OptimizerGroupsTest, EmbeddingsAndGainsHaveTheirFactorAndOnlyMatricesDecay) {
  nn::LanguageModel<> model(find_scheme("admin"), small().tie_embeddings(false));
  const auto options = options_by_name(model, 4);
  using Options = std::pair<double, double>;
  EXPECT_EQ(options.at("embedding.weight"), Options(0.5, 0.1));
  EXPECT_EQ(options.at("head.weight"), Options(0.5, 0.1));
  EXPECT_EQ(options.at("decoder.layer_0.self_attn_residual.omega"), Options(2.0, 0.0));
  EXPECT_EQ(options.at("decoder.layer_0.self_attn_residual.norm.weight"), Options(1.0, 0.0));
  EXPECT_EQ(options.at("decoder.layer_0.feed_forward.fc1.weight"), Options(1.0, 0.1));
  EXPECT_EQ(options.at("decoder.layer_0.feed_forward.fc1.bias"), Options(1.0, 0.0));
}

TEST(OptimizerGroupsTest, TheGainsOfABlockAreGains) {
  nn::LanguageModel<> model(find_scheme("pre"), small().block("sas-p"));
  int gains = 0;
  for (const auto& [name, options] : options_by_name(model, 4)) {
    const auto last = name.substr(name.rfind('.') + 1);
    const bool gain = last == "alpha" || last == "beta" || last == "gamma" ||
                      last.find("gain") != std::string::npos;
    EXPECT_EQ(options.first == 2.0, gain) << name;
    gains += gain ? 1 : 0;
  }
  EXPECT_GT(gains, 2);
}

TEST(OptimizerGroupsTest, AreOneWhereNothingDiffers) {
  nn::LanguageModel<> model(find_scheme("admin"), small());
  EXPECT_EQ(optimizer_groups(*model, anatomy_of(model), {}, 1.0, 1.0).size(), 1U);
}

}  // namespace
}  // namespace evenkeel::examples
