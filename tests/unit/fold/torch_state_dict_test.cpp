// SPDX-License-Identifier: MIT
#include <evenkeel/fold/torch_state_dict.hpp>

#include <evenkeel/fold/detail/json.hpp>
#include <evenkeel/fold/export_torch.hpp>
#include <evenkeel/residual/registry.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fold_models.hpp"
#include "scratch_folder.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/transformer.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <string>
#include <utility>

namespace evenkeel {
namespace {

using test::logits;
using test::same_outputs;
using test::throws;
using test::trained;

class TorchStateDictTest : public ::testing::Test {
 protected:
  void SetUp() override { torch::manual_seed(0); }

  const torch::NoGradGuard no_grad_;
};

TEST_F(TorchStateDictTest, HasTheNamesAndShapesOfTorchs) {
  const auto state = to_torch_state_dict(trained("pre"));
  torch::nn::Transformer torchs(torch::nn::TransformerOptions(8, 2, 4, 5).dim_feedforward(12));
  for (const auto& [name, tensor] : state_dict(*torchs)) {
    ASSERT_EQ(state.count(name), 1U) << name;
    EXPECT_EQ(state.at(name).sizes(), tensor.sizes()) << name;
  }
  EXPECT_EQ(state.size(), state_dict(*torchs).size() + 3);  // embeddings and head
  EXPECT_TRUE(state.at("head.weight").is_alias_of(state.at("src_embedding.weight")));
}

TEST_F(TorchStateDictTest, ComesBack) {
  for (const char* scheme : {"post", "pre", "deepnorm", "admin"}) {
    auto model = trained(scheme);
    const auto plain = fold(model, nullptr, FoldOptions().eps(1e-5));
    auto other = nn::Transformer<>(plain->scheme(), plain->options);
    test::scramble(*other);
    other->eval();
    load_torch_state_dict(*other, to_torch_state_dict(model));
    EXPECT_TRUE(same_outputs(logits(other), logits(model))) << scheme;
  }
}

TEST_F(TorchStateDictTest, TakesAPrefixAwayFirst) {
  auto model = trained("pre");
  StateDict state;
  for (auto& [name, tensor] : to_torch_state_dict(model)) state["module." + name] = tensor;
  auto other = trained("pre");
  load_torch_state_dict(*other, state, LoadOptions().rename([](const std::string& name) {
    return name.substr(7);
  }));
  EXPECT_TRUE(test::same_bits(logits(other), logits(model)));
}

TEST_F(TorchStateDictTest, SaysWhatDoesNotFit) {
  auto model = trained("post");
  auto state = to_torch_state_dict(model);
  state.erase("encoder.layers.0.linear1.weight");
  EXPECT_TRUE(throws<c10::ValueError>([&] { load_torch_state_dict(*model, state); },
                                      "load_torch_state_dict: expected the tensors of the module; "
                                      "missing: encoder.layer_0.feed_forward.fc1.weight"));
  state = to_torch_state_dict(model);
  state["head.weight"] = state.at("head.weight") + 1;
  EXPECT_TRUE(throws<c10::ValueError>([&] { load_torch_state_dict(*model, state); },
                                      "expected head.weight to be equal to src_embedding.weight"));
  state = to_torch_state_dict(model);
  state["decoder.layers.4.norm3.weight"][0] = 2;
  EXPECT_TRUE(throws<c10::ValueError>([&] { load_torch_state_dict(*model, state); },
                                      "expected the last norm before decoder.norm.weight"));
}

TEST_F(TorchStateDictTest, RefusesLayersThatTorchDoesNotHave) {
  const auto refuse = [](const nn::Transformer<>& model, const std::string& why) {
    EXPECT_TRUE(
        throws([&] { to_torch_state_dict(model); }, "to_torch_state_dict: expected " + why));
  };
  const auto small = test::small_transformer();
  refuse(nn::Transformer<>(nullptr), "a model, but got an empty holder");
  refuse(trained("tfixup"), "encoder.layer_0.self_attn to have a norm at its input or its sum");
  refuse(trained("pre", test::small_transformer().norm(NormKind::kRmsNorm)),
         "encoder.layer_0.self_attn to have a LayerNorm with weight and bias");
  refuse(trained("pre", test::small_transformer().activation(Activation::kSwiGLU)),
         "encoder.layer_0.feed_forward to have a feed-forward of two matrices");
  refuse(trained("pre", test::small_transformer().num_kv_heads(1)),
         "encoder.layer_0.self_attn to have multi-head attention with as many heads of keys");
  EXPECT_TRUE(
      throws([&] { to_torch_state_dict(trained("peri")); }, "fold: Peri-LN cannot be folded"));
}

TEST_F(TorchStateDictTest, IsWrittenAsAFolder) {
  const test::ScratchFolder folder;
  const auto model = trained("pre", test::small_transformer().activation(Activation::kGELU));
  export_torch(model, folder / "model", {{"README", "ours"}});
  EXPECT_EQ(test::bytes_of(folder / "model/README"), "ours");
  const auto config = detail::parse_json(test::bytes_of(folder / "model/config.json"));
  EXPECT_EQ(config.at("num_decoder_layers").count(), 5);
  EXPECT_EQ(config.at("activation").string(), "gelu");
  EXPECT_TRUE(config.at("norm_first").boolean());
  const auto read = read_safetensors(folder / "model/model.safetensors");
  EXPECT_EQ(read.metadata.at("tgt_embedding.weight"), "head.weight");
  EXPECT_TRUE(test::same_bits(read.tensors.at("head.weight"), model->src_embedding->weight));
  EXPECT_TRUE(throws([&] { export_torch(model, folder / "model"); }, "which exists"));
  EXPECT_TRUE(throws(
      [&] {
        export_torch(trained("pre", test::small_transformer().activation(Activation::kSiLU)),
                     folder / "silu");
      },
      "export_torch: expected the activation ReLU or GELU"));
}

// The names of fairseq 0.12.2: fairseq/modules/transformer_layer.py and models/transformer.
TEST_F(TorchStateDictTest, LoadsFairseqsNames) {
  auto model = trained("post", test::small_transformer().tie_embeddings(false));
  const auto channels = detail::to_split_positions(8);
  StateDict state;
  for (const auto& [name, tensor] : detail::split_projections(state_dict(*model))) {
    state[detail::fairseq_names().theirs(name)] = tensor;
  }
  EXPECT_EQ(state.count("encoder.layers.0.self_attn.k_proj.weight"), 1U);
  EXPECT_EQ(state.count("decoder.layers.4.encoder_attn.out_proj.bias"), 1U);
  EXPECT_EQ(state.count("decoder.layers.4.encoder_attn_layer_norm.weight"), 1U);
  EXPECT_EQ(state.count("decoder.layers.4.final_layer_norm.bias"), 1U);
  EXPECT_EQ(state.count("decoder.output_projection.weight"), 1U);
  state = detail::with_channels(state, channels);
  state["encoder.version"] = torch::tensor({3.0F});
  state["encoder.embed_positions._float_tensor"] = torch::zeros({1});
  auto other = trained("post", test::small_transformer().tie_embeddings(false));
  load_fairseq_state_dict(*other, state);
  EXPECT_TRUE(test::same_bits(logits(other), logits(model)));
  state["encoder.embed_positions.weight"] = torch::zeros({4, 8});
  EXPECT_TRUE(throws<c10::ValueError>([&] { load_fairseq_state_dict(*other, state); },
                                      "unexpected: encoder.embed_positions.weight"));
}

}  // namespace
}  // namespace evenkeel
