// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/torch_nn.hpp>

#include <torch/nn/cloneable.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <cstdint>
#include <string>
#include <vector>

/// Models of a user's own, with projections of their own.
namespace evenkeel::test {

/// Attention with separate projections, then a feed-forward; what it computes does not matter.
class OwnBlockImpl : public torch::nn::Cloneable<OwnBlockImpl> {
 public:
  explicit OwnBlockImpl(int64_t embed_dim_ = 4, int64_t dim_feedforward_ = 6)
      : embed_dim(embed_dim_), dim_feedforward(dim_feedforward_) {
    reset();
  }
  void reset() override {
    using torch::nn::Linear;
    q = register_module("q", Linear(embed_dim, embed_dim));
    k = register_module("k", Linear(embed_dim, embed_dim));
    v = register_module("v", Linear(embed_dim, embed_dim));
    o = register_module("o", Linear(embed_dim, embed_dim));
    fc1 = register_module("fc1", Linear(embed_dim, dim_feedforward));
    fc2 = register_module("fc2", Linear(dim_feedforward, embed_dim));
  }

  int64_t embed_dim;
  int64_t dim_feedforward;
  torch::nn::Linear q{nullptr}, k{nullptr}, v{nullptr}, o{nullptr}, fc1{nullptr}, fc2{nullptr};
};
TORCH_MODULE(OwnBlock);

/// Blocks in a vector, embeddings and a head; tells of itself.
class OwnTransformerImpl : public torch::nn::Cloneable<OwnTransformerImpl> {
 public:
  OwnTransformerImpl(int64_t encoder_layers, int64_t decoder_layers, bool tied)
      : sizes_{encoder_layers, decoder_layers}, tied_(tied) {
    reset();
  }
  void reset() override {
    using torch::nn::Embedding;
    using torch::nn::LinearOptions;
    src = register_module("src", Embedding(10, 4));
    tgt = register_module("tgt", tied_ ? src : Embedding(10, 4));
    if (!tied_) {
      head = register_module("head", torch::nn::Linear(LinearOptions(4, 10).bias(false)));
    }
    const auto add = [&](const char* name, int64_t count, std::vector<OwnBlock>& blocks) {
      blocks.clear();
      for (int64_t i = 0; i < count; ++i) {
        blocks.emplace_back(register_module(name + std::to_string(i), OwnBlock()));
      }
    };
    add("encoder_", sizes_[0], encoder_blocks);
    add("decoder_", sizes_[1], decoder_blocks);
  }

  torch::nn::Embedding src{nullptr}, tgt{nullptr};
  torch::nn::Linear head{nullptr};
  std::vector<OwnBlock> encoder_blocks;
  std::vector<OwnBlock> decoder_blocks;

 private:
  std::vector<int64_t> sizes_;
  bool tied_;
};
TORCH_MODULE(OwnTransformer);

/// Blocks in a ModuleList, and nothing told of itself.
class OwnStackImpl : public torch::nn::Cloneable<OwnStackImpl> {
 public:
  explicit OwnStackImpl(int64_t num_layers) : num_layers_(num_layers) { reset(); }
  void reset() override {
    tokens = register_module("tokens", torch::nn::Embedding(10, 4));
    blocks = register_module("blocks", torch::nn::ModuleList());
    for (int64_t i = 0; i < num_layers_; ++i) blocks->push_back(OwnBlock());
  }

  torch::nn::Embedding tokens{nullptr};
  torch::nn::ModuleList blocks;

 private:
  int64_t num_layers_;
};
TORCH_MODULE(OwnStack);

}  // namespace evenkeel::test

template <>
struct evenkeel::AnatomyOf<evenkeel::test::OwnBlock> {
  static void describe(test::OwnBlockImpl& block, AnatomyBuilder& anatomy) {
    anatomy.sublayer("attention").query(block.q).key(block.k).value(block.v).output(block.o);
    anatomy.sublayer("feed_forward").input(block.fc1).output(block.fc2);
  }
};

template <>
struct evenkeel::AnatomyOf<evenkeel::test::OwnTransformer> {
  static void describe(test::OwnTransformerImpl& model, AnatomyBuilder& anatomy) {
    anatomy.embedding(model.src, Stack::kEncoder)
        .embedding(model.tgt, Stack::kDecoder)
        .encoder(model.encoder_blocks)
        .decoder(model.decoder_blocks);
    if (model.head.is_empty()) {
      anatomy.head(model.src->weight);
    } else {
      anatomy.head(model.head);
    }
  }
};
