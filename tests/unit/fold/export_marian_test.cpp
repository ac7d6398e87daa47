// SPDX-License-Identifier: MIT
#include <evenkeel/fold/export_marian.hpp>

#include <evenkeel/fold/detail/json.hpp>
#include <evenkeel/fold/export_gpt2.hpp>
#include <evenkeel/fold/import_gpt2.hpp>
#include <evenkeel/fold/import_marian.hpp>
#include <evenkeel/residual/registry.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fold_models.hpp"
#include "scratch_folder.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::bytes_of;
using test::logits;
using test::same_outputs;
using test::throws;
using test::trained;
using test::write_bytes;

const std::vector<std::string> kPieces{
    "<pad>", "<unk>", "<s>", "</s>", "a", "b", "\u2581c", "\"", "d", "e", "f"};

class ExportMarianTest : public ::testing::Test {
 protected:
  void SetUp() override { torch::manual_seed(0); }
  // Writes the model into a folder of that name.
  std::string written(const std::string& name, const nn::Transformer<>& model) {
    export_marian(model, MarianVocabulary(kPieces, "model"), folder_ / name);
    return folder_ / name;
  }

  test::ScratchFolder folder_;
  const torch::NoGradGuard no_grad_;
};

TEST_F(ExportMarianTest, WritesTheFilesOfAFolder) {
  const auto folder = written("model", trained("post"));
  auto names = test::names_in(folder);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names,
            (std::vector<std::string>{"config.json",
                                      "generation_config.json",
                                      "model.safetensors",
                                      "source.spm",
                                      "target.spm",
                                      "tokenizer_config.json",
                                      "vocab.json"}));
  EXPECT_EQ(bytes_of(folder + "/source.spm"), "model");
  const auto vocabulary = detail::parse_json(bytes_of(folder + "/vocab.json"));
  EXPECT_EQ(vocabulary.at("\u2581c").count(), 6);
  EXPECT_EQ(vocabulary.names, kPieces);
  const auto config = detail::parse_json(bytes_of(folder + "/config.json"));
  EXPECT_EQ(config.at("model_type").string(), "marian");
  EXPECT_EQ(config.at("decoder_start_token_id").count(), 2);
  EXPECT_EQ(config.at("eos_token_id").count(), 3);
  EXPECT_EQ(test::names_in(folder_.path()).size(), 1U);  // nothing beside it
}

TEST_F(ExportMarianTest, WhatIsExportedComesBack) {
  const auto small = test::small_transformer();
  const auto expect = [&](const std::string& name, nn::Transformer<> model) {
    auto other = import_marian(written(name, model));
    EXPECT_TRUE(same_outputs(logits(other), logits(model))) << name;
    EXPECT_TRUE(same_outputs(test::generate(*other), test::generate(*model))) << name;
    return other;
  };
  EXPECT_TRUE(expect("post", trained("post"))->options.tie_embeddings());
  EXPECT_TRUE(expect("pre", trained("pre"))->options.tie_embeddings());
  EXPECT_FALSE(expect("untied", trained("post", test::small_transformer().tie_embeddings(false)))
                   ->options.tie_embeddings());
  EXPECT_TRUE(expect("admin", trained("admin"))->options.input_scale());
  expect("gelu", trained("post", test::small_transformer().activation(Activation::kGELU)));
  expect("silu", trained("post", test::small_transformer().activation(Activation::kSiLU)));
  expect("no_bias", trained("post", test::small_transformer().bias(false)));
  auto biased = trained("post", test::small_transformer().logits_bias(true));
  biased->logits_bias.normal_();
  EXPECT_TRUE(expect("logits_bias", biased)->options.logits_bias());
}

TEST_F(ExportMarianTest, KeepsItsDtype) {
  for (const auto dtype : {torch::kFloat64, torch::kBFloat16}) {
    auto model = trained("admin");
    model->to(dtype);
    const auto folder = written(dtype == torch::kFloat64 ? "double" : "half", model);
    auto other = import_marian(folder);
    EXPECT_EQ(other->head->weight.scalar_type(), dtype);
    EXPECT_LT((logits(other) - logits(model)).abs().max().item<double>(),
              dtype == torch::kFloat64 ? 1e-6 : 0.5);
  }
}

TEST_F(ExportMarianTest, RefusesWhatDoesNotFitBeforeItWrites) {
  const auto refuse = [&](const nn::Transformer<>& model,
                          const MarianVocabulary& vocabulary,
                          const MarianOptions& options,
                          const std::string& why) {
    EXPECT_TRUE(throws([&] { export_marian(model, vocabulary, folder_ / "model", options); },
                       "export_marian: expected " + why));
    EXPECT_TRUE(test::names_in(folder_.path()).empty());
  };
  const MarianVocabulary vocabulary(kPieces, "model");
  auto others = kPieces;
  others.back() = "g";
  const auto small = test::small_transformer();
  const auto post = trained("post");
  refuse(trained("rezero"), vocabulary, {}, "encoder.layer_0.self_attn to have a norm");
  refuse(trained("pre", test::small_transformer().norm_eps(1e-3)),
         vocabulary,
         {},
         "norms with eps 1e-05, the only one that Marian has, but got 0.001");
  refuse(trained("pre", test::small_transformer().tie_embeddings(false)),
         vocabulary,
         {},
         "tied embeddings of a Pre-LN model, as PegasusForConditionalGeneration has them");
  refuse(post, MarianVocabulary({"a"}, ""), {}, "11 pieces of the source, one for each row");
  refuse(post,
         MarianVocabulary(std::vector<std::string>(11, "a"), ""),
         {},
         "pieces of the source that");
  refuse(post, MarianVocabulary(kPieces, "", others, ""), {}, "one vocabulary for both sides");
  refuse(post, vocabulary, MarianOptions().eos("x"), "x among the pieces of the target");
  refuse(post, vocabulary, MarianOptions().max_length(0), "max_positions and max_length > 0");
  write_bytes(folder_ / "model", "");
  EXPECT_TRUE(throws([&] { export_marian(post, vocabulary, folder_ / "model"); }, "which exists"));
}

TEST_F(ExportMarianTest, ImportSaysWhatIsWrongWithAFolder) {
  const auto folder = written("model", trained("post"));
  const auto config = bytes_of(folder + "/config.json");
  const auto with = [&](const std::string& from, const std::string& to) {
    auto text = config;
    text.replace(text.find(from), from.size(), to);
    write_bytes(folder + "/config.json", text);
  };
  const auto refused = [&](const std::string& why) {
    return throws<c10::ValueError>([&] { import_marian(folder); }, folder + why);
  };
  with("\"marian\"", "\"bart\"");
  EXPECT_TRUE(refused("/config.json: expected model_type marian or pegasus, but got bart"));
  with("\"d_model\": 8", "\"d_model\": \"8\"");
  EXPECT_TRUE(refused("/config.json: expected a count, but got \"8\""));
  with("\"d_model\": 8,", "");
  EXPECT_TRUE(refused("/config.json: expected d_model, but it is missing"));
  with("\"relu\"", "\"tanh\"");
  EXPECT_TRUE(refused("/config.json: expected activation_function relu, gelu, swish or silu"));
  with("\"encoder_ffn_dim\": 12", "\"encoder_ffn_dim\": 16");
  EXPECT_TRUE(refused("/config.json: expected the same encoder_ffn_dim and decoder_ffn_dim"));
  with("\"encoder_layers\": 4", "\"encoder_layers\": 3");
  EXPECT_TRUE(
      refused("/model.safetensors: expected the tensors of the module; missing: none; "
              "unexpected: encoder.layer_3"));
  with("\"vocab_size\": 11", "\"vocab_size\": 1000000000000");
  EXPECT_TRUE(
      refused("/model.safetensors: expected the source's embedding of shape "
              "[1000000000000, 8], as config.json has it, but got [11, 8]"));
  with("\"decoder_layers\": 5", "\"decoder_layers\": 1000000000000");
  EXPECT_TRUE(refused("/model.safetensors: expected 1000000000000 layers, as config.json has it"));
  with("{", "{\"normalize_before\": true,");
  EXPECT_TRUE(refused("/config.json: expected normalize_before false, but got true"));
  write_bytes(folder + "/config.json", config.substr(1));
  EXPECT_TRUE(refused("/config.json: expected the end"));
  write_bytes(folder + "/config.json", config);
  auto tensors = read_safetensors(folder + "/model.safetensors").tensors;
  tensors["model.encoder.embed_positions.weight"] = torch::randn({20, 8});
  save_safetensors(tensors, folder + "/model.safetensors");
  EXPECT_TRUE(
      refused("/model.safetensors: expected encoder.embed_positions.weight to hold sinusoidal"));
  tensors.erase("model.encoder.embed_positions.weight");
  tensors.erase("model.shared.weight");
  save_safetensors(tensors, folder + "/model.safetensors");
  EXPECT_TRUE(refused("/model.safetensors: expected embeddings and lm_head.weight"));
  EXPECT_TRUE(throws<c10::ValueError>([&] { import_marian(folder_ / "none"); },
                                      "none/config.json: cannot be read"));
}

TEST_F(ExportMarianTest, SuppressesPieces) {
  const auto options = MarianOptions().suppress({"<pad>", "<s>"});
  export_marian(trained("post"), {kPieces, ""}, folder_ / "model", options);
  const auto json = detail::parse_json(bytes_of(folder_ / "model/generation_config.json"));
  const auto& suppressed = json.at("suppress_tokens").array();
  ASSERT_EQ(suppressed.size(), 2U);
  EXPECT_EQ(suppressed[0].count(), 0);
  EXPECT_EQ(suppressed[1].count(), 2);
}

TEST(ExportGpt2Test, WhatIsExportedComesBack) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(0);
  const test::ScratchFolder folder;
  for (const bool tied : {true, false}) {
    const auto options = test::small_language_model().tie_embeddings(tied).norm_eps(1e-4);
    nn::LanguageModel<> model(find_scheme(tied ? "pre" : "layerscale"), options);
    test::scramble(*model);
    model->eval();
    const auto name = folder / (tied ? "tied" : "untied");
    export_gpt2(model, name, Gpt2Options(3).max_positions(16));
    auto other = import_gpt2(name);
    EXPECT_EQ(other->options.tie_embeddings(), tied);
    EXPECT_TRUE(same_outputs(other(test::source()), model(test::source())));
    auto tensors = read_safetensors(name + "/model.safetensors").tensors;
    tensors["transformer.wpe.weight"] = torch::randn({16, 4});
    save_safetensors(tensors, name + "/model.safetensors");
    EXPECT_TRUE(throws<c10::ValueError>(
        [&] { import_gpt2(name); },
        "expected transformer.wpe.weight of shape [positions, 8], but got [16, 4]"));
    tensors.erase("transformer.wpe.weight");
    save_safetensors(tensors, name + "/model.safetensors");
    EXPECT_TRUE(throws<c10::ValueError>(
        [&] { import_gpt2(name); },
        "expected transformer.wpe.weight of shape [positions, 8], but got none"));
  }
}

TEST(ExportGpt2Test, LearnedPositionsComeBackAsTheyAre) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(0);
  const test::ScratchFolder folder;
  for (const std::string scheme : {"pre", "layerscale"}) {
    nn::LanguageModel<> model(find_scheme(scheme),
                              test::small_language_model().learned_positions(9));
    test::scramble(*model);
    model->eval();
    export_gpt2(model, folder / scheme, Gpt2Options(3));
    auto other = import_gpt2(folder / scheme);
    EXPECT_EQ(other->options.learned_positions(), 9);
    EXPECT_TRUE(same_outputs(other(test::source()), model(test::source())));
    auto folded = fold(model);
    EXPECT_TRUE(same_outputs(folded(test::source()), model(test::source())));
  }
}

TEST(ExportGpt2Test, RefusesOtherBlocks) {
  const test::ScratchFolder folder;
  const auto refuse = [&](const std::string& scheme,
                          const nn::LanguageModelOptions& options,
                          const Gpt2Options& of_export,
                          const std::string& why) {
    const nn::LanguageModel<> model(find_scheme(scheme), options);
    EXPECT_TRUE(throws([&] { export_gpt2(model, folder / "model", of_export); },
                       "export_gpt2: expected " + why));
    EXPECT_TRUE(test::names_in(folder.path()).empty());
  };
  const auto small = test::small_language_model;
  refuse("post", small(), 3, "a Pre-LN model, as GPT-2 is, but got Post-LN");
  refuse("pre",
         small().norm(NormKind::kRmsNorm),
         3,
         "decoder.layer_0.self_attn to have a LayerNorm");
  refuse("pre", small().activation(Activation::kSwiGLU), 3, "decoder.layer_0.feed_forward to have");
  refuse("pre", small(), 11, "eos_id and bos_id in [0, 11), but got 11");
  refuse("pre", small(), Gpt2Options(3).max_positions(0), "max_positions > 0, but got 0");
}

}  // namespace
}  // namespace evenkeel
