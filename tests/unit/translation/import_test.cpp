// SPDX-License-Identifier: MIT
#include "translation/import.hpp"

#include "all_close.hpp"
#include "common/checkpoint.hpp"
#include "common/device.hpp"
#include "common/files.hpp"
#include "common/initial_model.hpp"
#include "common/text.hpp"
#include "toy_task.hpp"
#include "translation/decode.hpp"
#include "translation/export.hpp"
#include "translation/run_folder.hpp"
#include "translation/train.hpp"

#include <evenkeel/fold/export_marian.hpp>
#include <evenkeel/nn/transformer.hpp>
#include <evenkeel/residual/post_norm.hpp>

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {
namespace {

using evenkeel::test::all_close;

class ImportTest : public ::testing::Test {
 protected:
  Config short_run() {
    auto config = toy_task(folder_, 300, 20);
    config.encoder_layers = config.decoder_layers = 1;
    config.embed_dim = 16;
    config.dim_feedforward = 32;
    config.max_steps = 3;
    config.valid_sentences = 0;
    return config;
  }

  // `config` with the model of a folder, as `train --init-from` has it.
  static Config tuned(Config config, const std::string& folder) {
    config.init_from = folder;
    return resolved(with_model_of(config, stored_config(*import_huggingface(folder), folder)));
  }

  // A folder as an OPUS-MT model has it: one list of pieces of two SentencePiece models in an order
  // of its own, the padding token last, which the decoder starts with too, SiLU, and a bias.
  void write_opus(const std::string& folder) {
    const auto config = toy_task(folder_, 300, 20);
    source_.emplace(Vocabulary::train(read_lines(config.source.front()), 40));
    target_.emplace(Vocabulary::train(read_lines(config.target.front()), 44));
    std::set<std::string> all;
    for (const auto& vocabulary : {*source_, *target_}) {
      for (const auto& piece : vocabulary.pieces()) all.insert(piece);
    }
    for (const char* special : {"<pad>", "</s>", "<unk>", "<s>"}) all.erase(special);
    pieces_ = {"</s>", "<unk>"};
    pieces_.insert(pieces_.end(), all.rbegin(), all.rend());
    pieces_.emplace_back("<pad>");
    const auto size = static_cast<int64_t>(pieces_.size());
    torch::manual_seed(3);
    model_ = nn::Transformer<>(scheme_of<PostNorm>(),
                               nn::TransformerOptions()
                                   .encoder_layers(2)
                                   .decoder_layers(1)
                                   .embed_dim(16)
                                   .num_heads(2)
                                   .dim_feedforward(24)
                                   .activation(Activation::kSiLU)
                                   .vocab_size(size)
                                   .pad_id(size - 1)
                                   .starts_with_pad(true)
                                   .logits_bias(true));
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model_->parameters()) parameter.add_(0.2 * torch::randn_like(parameter));
    model_->logits_bias.normal_();
    model_->eval();
    export_marian(model_,
                  {pieces_, source_->serialized(), pieces_, target_->serialized()},
                  folder,
                  MarianOptions().start("<pad>"));
  }

  int64_t id_of(const std::string& piece) const {
    return std::find(pieces_.begin(), pieces_.end(), piece) - pieces_.begin();
  }

  // The ids that the folder has for pieces of ours; its decoder starts with padding.
  std::vector<int64_t> theirs(const Vocabulary& vocabulary, const std::vector<int64_t>& ids) const {
    const auto pieces = vocabulary.pieces();
    std::vector<int64_t> result;
    for (const auto id : ids) {
      result.push_back(id_of(id == kBos ? "<pad>" : pieces[static_cast<size_t>(id)]));
    }
    return result;
  }

  TemporaryFolder folder_;
  nn::Transformer<> model_{nullptr};
  std::optional<Vocabulary> source_, target_;
  std::vector<std::string> pieces_;
};

torch::Tensor row(const std::vector<int64_t>& ids) {
  return torch::tensor(ids, torch::kInt64).unsqueeze(0);
}

TEST_F(ImportTest, AFolderThatARunWasExportedToTranslatesAsTheRun) {
  for (const bool separate : {false, true}) {
    auto config = short_run();
    config.separate_vocabularies = separate ? 1 : 0;
    config.scheme = separate ? "admin-o1" : "post";  // Admin's folds into embeddings that differ
    config.run_dir = folder_ / (separate ? "separate" : "joint");
    ASSERT_EQ(train(resolved(config), false), Ending::kFinished);
    const auto run = load_trained(config.run_dir, "cpu");
    const auto exported = folder_ / (separate ? "separate.hf" : "joint.hf");
    export_model(run, "huggingface", exported);
    const auto file = folder_ / "imported.safetensors";
    auto checkpoint = import_huggingface(exported);
    checkpoint->texts["step"] = "0";
    save_checkpoint(*checkpoint, file);
    const auto imported = load_trained(file, "cpu");
    EXPECT_EQ(imported.vocabularies.joint, !separate);
    EXPECT_EQ(imported.config.scheme, "post");
    EXPECT_EQ(imported.config.input_scale, separate ? 1 : 0);
    const torch::NoGradGuard no_grad;
    const auto src = torch::randint(4, 30, {2, 5}, torch::kInt64);
    const auto tgt = torch::randint(4, 30, {2, 4}, torch::kInt64);
    tgt.select(1, 0).fill_(kBos);
    EXPECT_TRUE(torch::allclose(imported.model.ptr()->forward(src, tgt),
                                run.model.ptr()->forward(src, tgt),
                                1e-4,
                                1e-4));
  }
}

TEST_F(ImportTest, AnOpusModelHasTheLogitsOfItsPieces) {
  write_opus(folder_ / "opus");
  const auto file = folder_ / "imported.safetensors";
  auto checkpoint = import_huggingface(folder_ / "opus");
  ASSERT_TRUE(checkpoint);
  checkpoint->texts["step"] = "0";
  save_checkpoint(*checkpoint, file);
  auto imported = load_trained(file, "cpu");
  EXPECT_FALSE(imported.vocabularies.joint);
  EXPECT_EQ(imported.config.activation, "silu");
  EXPECT_EQ(imported.config.logits_bias, 1);
  EXPECT_EQ(imported.config.encoder_layers, 2);
  EXPECT_EQ(imported.config.decoder_layers, 1);

  const torch::NoGradGuard no_grad;
  auto src = source_->encode("moon river stone");
  src.push_back(kEos);
  std::vector<int64_t> tgt{kBos};
  const auto words = target_->encode("pietra fiume luna");
  tgt.insert(tgt.end(), words.begin(), words.end());
  const auto ours = imported.model->forward(row(src), row(tgt));
  const auto expected = model_->forward(row(theirs(*source_, src)), row(theirs(*target_, tgt)));
  std::vector<int64_t> rows(static_cast<size_t>(target_->size()));
  for (int64_t i = 0; i < target_->size(); ++i) rows[static_cast<size_t>(i)] = i;
  rows[kPad] = kEos;  // whatever: padding is no part of a translation
  const auto columns = torch::tensor(theirs(*target_, rows), torch::kInt64);
  EXPECT_TRUE(
      torch::allclose(ours.slice(2, 1), expected.index_select(2, columns).slice(2, 1), 1e-4, 1e-4));
}

TEST_F(ImportTest, ARunBeginsWithTheWeightsOfAFolder) {
  write_opus(folder_ / "opus");
  const auto config = tuned(short_run(), folder_ / "opus");
  EXPECT_EQ(config.embed_dim, 16);
  EXPECT_EQ(config.dim_feedforward, 24);
  ASSERT_EQ(train(config, false), Ending::kFinished);
  const RunFolder run(config.run_dir);
  const auto expected = *import_huggingface(folder_ / "opus");
  const auto first = load_checkpoint(run.earlier(0));
  for (const auto& [name, tensor] : expected.tensors) {
    EXPECT_TRUE(torch::equal(first.tensors.at(name), tensor)) << name;
  }
  const auto last = load_checkpoint(run.last);
  EXPECT_FALSE(
      torch::equal(last.tensors.at("model.head.weight"), expected.tensors.at("model.head.weight")));
  EXPECT_TRUE(
      torch::equal(last.tensors.at("model.logits_bias"), expected.tensors.at("model.logits_bias")));
  auto resumed = config;
  resumed.max_steps = 5;
  remove_folder(folder_ / "opus");  // a run that goes on needs no more of it
  EXPECT_EQ(train(resumed, true), Ending::kFinished);
}

TEST_F(ImportTest, AModelOfAnotherSizeIsRefused) {
  write_opus(folder_ / "opus");
  auto config = tuned(short_run(), folder_ / "opus");
  config.embed_dim = 32;
  std::string text;
  try {
    train(config, false);
  } catch (const ConfigError& error) {
    text = error.what();
  }
  EXPECT_EQ(text,
            "--embed-dim: expected 16, as the model of --init-from " + (folder_ / "opus") +
                " has it, but got 32");
}

TEST_F(ImportTest, AFolderOfNoOtherProgramIsNone) {
  const auto config = short_run();
  ASSERT_EQ(train(resolved(config), false), Ending::kFinished);
  EXPECT_FALSE(import_huggingface(config.run_dir));  // its config.json has settings
  EXPECT_FALSE(import_huggingface(RunFolder(config.run_dir).last));
  EXPECT_FALSE(import_huggingface(folder_ / "nothing"));
}

TEST_F(ImportTest, ADamagedFolderIsToldByItsFile) {
  const auto folder = folder_ / "opus";
  const auto error_with = [&](const std::string& name, const std::string& content) {
    remove_folder(folder);
    write_opus(folder);
    std::filesystem::remove(folder + "/" + name);
    if (!content.empty()) std::ofstream(folder + "/" + name) << content;
    try {
      import_huggingface(folder);
    } catch (const CheckpointError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const auto begins = [](const std::string& text, const std::string& start) {
    return text.rfind(start, 0) == 0 ? ::testing::AssertionSuccess()
                                     : ::testing::AssertionFailure() << text;
  };
  const auto vocab = folder + "/vocab.json: ";
  EXPECT_TRUE(begins(error_with("vocab.json", ""), folder + "/vocab.json"));
  EXPECT_TRUE(begins(error_with("vocab.json", "[]"), vocab + "expected a JSON object"));
  EXPECT_TRUE(begins(error_with("vocab.json", "{\"</s>\": 0}"), vocab + "expected <unk> as an id"));
  EXPECT_TRUE(begins(error_with("vocab.json", "{\"<unk>\": 1}"),
                     vocab + "expected the pieces of the SentencePiece model"));
  EXPECT_TRUE(begins(error_with("vocab.json", "{\"<unk>\": 1000000}"),
                     vocab + "expected <unk> as an id below " + std::to_string(pieces_.size())));
  EXPECT_TRUE(begins(error_with("source.spm", "text"), folder + "/source.spm: "));
  EXPECT_TRUE(begins(error_with("target.spm", ""), folder + "/target.spm"));
  EXPECT_TRUE(begins(error_with("model.safetensors", "text"), folder + "/model.safetensors: "));
  EXPECT_TRUE(begins(error_with("config.json", "{\"model_type\": \"bart\"}"),
                     folder + "/config.json: expected model_type marian or pegasus, but got bart"));
  EXPECT_TRUE(begins(error_with("config.json", "{"), folder + "/config.json: "));
}

}  // namespace
}  // namespace evenkeel::examples::translation
