// SPDX-License-Identifier: MIT
// Against Python's safetensors, torch.nn.Transformer and Hugging Face's transformers: reads what
// the scripts safetensors_reference.py, torch_transformer_reference.py and
// transformers_reference.py of tests/reference/ have written, and writes what they read then.
#include <evenkeel/fold/export_gpt2.hpp>
#include <evenkeel/fold/export_marian.hpp>
#include <evenkeel/fold/import_gpt2.hpp>
#include <evenkeel/fold/import_marian.hpp>
#include <evenkeel/fold/state_dict.hpp>
#include <evenkeel/fold/torch_state_dict.hpp>
#include <evenkeel/residual/registry.hpp>

#include "all_close.hpp"
#include "fold_models.hpp"
#include "scratch_folder.hpp"
#include "tied_module.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::bytes_of;
using test::trained;

/// The folder of a script's files, empty where the script did not run.
class PythonTest : public ::testing::Test {
 protected:
  void need(const std::string& name, const std::string& file) {
    const char* folder = std::getenv("EVENKEEL_REFERENCE_DIR");
    if (folder == nullptr || !std::ifstream(folder + ("/" + name + "/" + file))) {
      GTEST_SKIP() << "the Python package is not installed, or no EVENKEEL_REFERENCE_DIR is set";
    }
    folder_ = std::string(folder) + "/" + name + "/";
    torch::manual_seed(0);
  }

  std::string folder_;
  const torch::NoGradGuard no_grad_;
};

class SafetensorsOfPythonTest : public PythonTest {
 protected:
  void SetUp() override { need("safetensors", "python.safetensors"); }
};

/// What the script has, and fills in the same way.
test::Tied filled() {
  test::Tied module;
  double index = 0;
  for (auto& [name, tensor] : state_dict(*module)) {
    tensor.copy_(torch::arange(tensor.numel(), torch::kFloat).view(tensor.sizes()) / 8 + index++);
  }
  return module;
}

TEST_F(SafetensorsOfPythonTest, AreReadAndWrittenInEveryType) {
  const auto read = read_safetensors(folder_ + "python.safetensors");
  const auto bytes = torch::arange(1, 49, torch::kUInt8);
  for (const auto& [name, type] : detail::kSafetensorsTypes) {
    ASSERT_EQ(read.tensors.count(name), 1U) << name;
    const auto& tensor = read.tensors.at(name);
    EXPECT_EQ(tensor.scalar_type(), type) << name;
    const auto expected = type == torch::kBool ? bytes.gt(20).view(torch::kUInt8) : bytes;
    EXPECT_TRUE(torch::equal(tensor.view(torch::kUInt8), expected)) << name;
  }
  EXPECT_EQ(read.metadata, (SafetensorsMetadata{{"note", "più \"quoted\"\n"}}));
  EXPECT_TRUE(torch::equal(read.tensors.at("transposed"),
                           torch::arange(24, torch::kFloat).view({4, 6}).t()));
  save_safetensors(read.tensors, folder_ + "ours.safetensors", read.metadata);
}

TEST_F(SafetensorsOfPythonTest, HaveTiedWeightsOnce) {
  auto expected = filled();
  test::Tied module;
  for (auto& item : state_dict(*module)) item.second.zero_();
  load_safetensors(*module, folder_ + "tied.safetensors");
  for (const auto& [name, tensor] : state_dict(*expected)) {
    EXPECT_TRUE(test::same_bits(state_dict(*module).at(name), tensor)) << name;
  }
  save_safetensors(*module, folder_ + "ours_tied.safetensors");
}

nn::TransformerOptions of_python() {
  return nn::TransformerOptions()
      .encoder_layers(2)
      .decoder_layers(3)
      .embed_dim(16)
      .num_heads(2)
      .dim_feedforward(24)
      .vocab_size(11)
      .dropout(0.0);
}

class TorchTransformerTest : public PythonTest {
 protected:
  void SetUp() override { need("torch", "python_post_relu.safetensors"); }

  void write(const std::string& name, nn::Transformer<> model) {
    auto tensors = to_torch_state_dict(model);
    tensors["src"] = test::source();
    tensors["tgt"] = test::target();
    tensors["logits"] = model->forward(test::source(), test::target());
    save_safetensors(tensors, folder_ + "ours_" + name + ".safetensors");
  }
};

TEST_F(TorchTransformerTest, ComputesTheSameFromOurStateDict) {
  write("post_relu", trained("post", of_python()));
  write("pre_gelu", trained("pre", of_python().activation(Activation::kGELU)));
  write("deepnorm", trained("deepnorm", of_python()));
  write("admin", trained("admin", of_python()));
  write("untied", trained("post", of_python().tie_embeddings(false)));
}

TEST_F(TorchTransformerTest, IsLoadedWhereItIsPreLn) {
  auto tensors = read_safetensors(folder_ + "python_pre_gelu.safetensors").tensors;
  const auto take = [&](const char* name) { return tensors.extract(name).mapped(); };
  const auto src = take("src"), tgt = take("tgt"), logits = take("logits");
  auto model = trained("pre", of_python().activation(Activation::kGELU).tie_embeddings(false));
  load_torch_state_dict(*model, tensors);
  EXPECT_TRUE(test::all_close(model(src, tgt), logits));
}

TEST_F(TorchTransformerTest, IsLoadedIntoItsOwnClassWhereItIsPostLn) {
  auto tensors = read_safetensors(folder_ + "python_post_relu.safetensors").tensors;
  auto ours = trained("post", of_python().tie_embeddings(false));
  const auto src = tensors.at("src"), tgt = tensors.at("tgt"), logits = tensors.at("logits");
  const auto embedding = tensors.at("src_embedding.weight");
  auto model = nn::make_torch_transformer(
      find_scheme("post"),
      torch::nn::TransformerOptions(16, 2, 2, 3).dim_feedforward(24).dropout(0.0));
  load_state_dict(*model, tensors, LoadOptions().rename([](const std::string& name) {
    return name.rfind("encoder.", 0) == 0 || name.rfind("decoder.", 0) == 0 ? name : "";
  }));
  model->eval();
  const auto embed = [&](const char* name, const torch::Tensor& tokens) {
    return (torch::embedding(tensors.at(name), tokens) * 4.0 +
            nn::sinusoidal_positions(tokens.size(1), 16))
        .transpose(0, 1);
  };
  const auto padding = src.eq(0);
  const auto y = model->forward(embed("src_embedding.weight", src),
                                embed("tgt_embedding.weight", tgt),
                                {},
                                torch::nn::TransformerImpl::generate_square_subsequent_mask(4),
                                {},
                                padding,
                                {},
                                padding);
  EXPECT_TRUE(test::all_close(torch::linear(y.transpose(0, 1), tensors.at("head.weight")), logits));
  for (const char* name : {"src", "tgt", "logits"}) tensors.erase(name);
  EXPECT_THROW(load_torch_state_dict(*ours, tensors), c10::ValueError);  // a norm at the end
}

class TransformersTest : public PythonTest {
 protected:
  void SetUp() override {
    need("transformers", "pieces.txt");
    if (IsSkipped()) return;
    std::ifstream stream(folder_ + "pieces.txt");
    for (std::string piece; std::getline(stream, piece);) pieces_.push_back(piece);
    ::mkdir((folder_ + "io").c_str(), 0777);
  }

  nn::TransformerOptions options() const {
    return of_python().vocab_size(static_cast<int64_t>(pieces_.size()));
  }

  // A folder that an earlier run has left goes first.
  std::string fresh(const std::string& name) {
    const auto folder = folder_ + "ours_" + name;
    for (const auto& file : test::names_in(folder)) std::remove((folder + "/" + file).c_str());
    std::remove(folder.c_str());
    return folder;
  }

  // 200 sources of several lengths, their logits, and their greedy translations of 12 tokens.
  void write(const std::string& name, nn::Transformer<> model) {
    const std::string sentencepiece = bytes_of(folder_ + "tokenizer.model");
    export_marian(model,
                  {pieces_, sentencepiece},
                  fresh(name),
                  MarianOptions().max_positions(64).suppress({"<pad>"}));
    auto src = torch::randint(4, model->options.vocab_size(), {200, 7}, torch::kInt64);
    const auto length = torch::randint(1, 8, {200, 1}, torch::kInt64);
    src.masked_fill_(torch::arange(7).ge(length), 0);
    const auto tgt = torch::cat({torch::full({200, 1}, 2, torch::kInt64),
                                 torch::randint(4, model->options.vocab_size(), {200, 4})},
                                1);
    const auto memory = model->encode(src);
    auto greedy = torch::full({200, 1}, 2, torch::kInt64);
    auto ended = torch::zeros({200, 1}, torch::kBool);
    while (greedy.size(1) < 12) {
      auto logits = model->project(model->decode(greedy, memory)).select(1, -1);
      auto next = logits.slice(1, 1).argmax(-1, true) + 1;  // without padding
      next.masked_fill_(ended, 0);
      ended = ended | next.eq(3);
      greedy = torch::cat({greedy, next}, 1);
    }
    save_safetensors(
        {{"src", src}, {"tgt", tgt}, {"logits", model->forward(src, tgt)}, {"greedy", greedy}},
        folder_ + "io/" + name + ".safetensors");
  }

  void expect_same(const std::string& name) {
    auto model = import_marian(folder_ + name);
    const auto io = read_safetensors(folder_ + name + "/io.safetensors").tensors;
    const auto difference =
        (model(io.at("src"), io.at("tgt")) - io.at("logits")).abs().max().item<double>();
    EXPECT_LT(difference, 1e-4) << name;
  }

  std::vector<std::string> pieces_;
};

TEST_F(TransformersTest, ReadsOurTranslationModels) {
  write("post", trained("post", options()));
  write("pre", trained("pre", options().activation(Activation::kGELU)));
  write("silu", trained("post", options().activation(Activation::kSiLU)));
  write("deepnorm", trained("deepnorm", options().norm_eps(1e-4)));
  write("admin", trained("admin", options()));
  auto untied = trained("post", options().tie_embeddings(false).bias(false).logits_bias(true));
  untied->logits_bias.normal_();
  write("untied", untied);
}

TEST_F(TransformersTest, HasModelsThatAreImported) {
  for (const char* name : {"marian", "opus", "separate", "pegasus"}) expect_same(name);
}

TEST_F(TransformersTest, HasModelsThatCanBeTrainedOn) {
  auto model = import_marian(folder_ + "opus");
  const auto io = read_safetensors(folder_ + "opus/io.safetensors").tensors;
  const auto loss = [&] {
    return torch::nn::functional::cross_entropy(
        model(io.at("src"), io.at("tgt").slice(1, 0, -1)).flatten(0, 1),
        io.at("tgt").slice(1, 1).flatten());
  };
  const auto before = loss().item<double>();
  model->train();
  {
    const torch::AutoGradMode grad(true);
    torch::optim::Adam optimizer(model->parameters(), torch::optim::AdamOptions(1e-2));
    for (int i = 0; i < 10; ++i) {
      optimizer.zero_grad();
      loss().backward();
      optimizer.step();
    }
  }
  model->eval();
  EXPECT_LT(loss().item<double>(), 0.5 * before);
}

TEST_F(TransformersTest, WritesALanguageModelWithLearnedPositions) {
  auto model = import_gpt2(folder_ + "gpt2");
  EXPECT_EQ(model->options.learned_positions(), 20);
  const auto io = read_safetensors(folder_ + "gpt2/io.safetensors").tensors;
  const auto difference = (model(io.at("tokens")) - io.at("logits")).abs().max().item<double>();
  EXPECT_LT(difference, 1e-4);
}

TEST_F(TransformersTest, ReadsOurLanguageModels) {
  const auto of = nn::LanguageModelOptions()
                      .num_layers(3)
                      .embed_dim(16)
                      .num_heads(2)
                      .dim_feedforward(24)
                      .vocab_size(40)
                      .activation(Activation::kGELU)
                      .dropout(0.0);
  for (const std::string name : {"gpt2", "gpt2_learned"}) {
    auto options = of;
    if (name == "gpt2_learned") options.learned_positions(12);
    nn::LanguageModel<> model(find_scheme("layerscale"), options);
    test::scramble(*model);
    model->eval();
    export_gpt2(model, fresh(name), Gpt2Options(3).max_positions(32));
    const auto tokens = torch::randint(0, 40, {3, 9}, torch::kInt64);
    save_safetensors({{"tokens", tokens}, {"logits", model(tokens)}},
                     folder_ + "io/" + name + ".safetensors");
  }
}

}  // namespace
}  // namespace evenkeel
