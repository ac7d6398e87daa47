// SPDX-License-Identifier: MIT
#pragma once

// The names that README.md and docs/ use without saying where they come from, and what runs their
// blocks. Everything is small, so that all blocks run in a few seconds.

#include <evenkeel/evenkeel.hpp>

#include <torch/torch.h>

#include <cstdint>
#include <exception>
#include <initializer_list>
#include <iostream>
#include <string>
#include <vector>

namespace docs {

/// A block of a user's own, without norms: one head of attention and a feed-forward.
struct MyBlockImpl : torch::nn::Module {
  explicit MyBlockImpl(int64_t embed_dim = 64)
      : q(register_module("q", torch::nn::Linear(embed_dim, embed_dim))),
        k(register_module("k", torch::nn::Linear(embed_dim, embed_dim))),
        v(register_module("v", torch::nn::Linear(embed_dim, embed_dim))),
        o(register_module("o", torch::nn::Linear(embed_dim, embed_dim))),
        fc1(register_module("fc1", torch::nn::Linear(embed_dim, 2 * embed_dim))),
        fc2(register_module("fc2", torch::nn::Linear(2 * embed_dim, embed_dim))) {}

  torch::Tensor forward(const torch::Tensor& x) {
    const auto y = x + o(torch::scaled_dot_product_attention(q(x), k(x), v(x)));
    return y + fc2(torch::relu(fc1(y)));
  }

  torch::nn::Linear q, k, v, o, fc1, fc2;
};
TORCH_MODULE(MyBlock);

/// A model of a user's own with two stacks of such blocks and one embedding for both.
struct MyTransformerImpl : torch::nn::Module {
  MyTransformerImpl(int64_t encoder_layers, int64_t decoder_layers)
      : tokens(register_module("tokens", torch::nn::Embedding(100, 64))) {
    for (int64_t i = 0; i < encoder_layers; ++i) {
      encoder_blocks.push_back(register_module("encoder_" + std::to_string(i), MyBlock()));
    }
    for (int64_t i = 0; i < decoder_layers; ++i) {
      decoder_blocks.push_back(register_module("decoder_" + std::to_string(i), MyBlock()));
    }
  }

  torch::Tensor forward(const torch::Tensor& src, const torch::Tensor& tgt) {
    auto memory = tokens(src);
    for (auto& block : encoder_blocks) memory = block(memory);
    auto y = tokens(tgt) + memory.mean(/*dim=*/1, /*keepdim=*/true);
    for (auto& block : decoder_blocks) y = block(y);
    return torch::linear(y, tokens->weight);
  }

  torch::nn::Embedding tokens;
  std::vector<MyBlock> encoder_blocks, decoder_blocks;
};
TORCH_MODULE(MyTransformer);

/// A decoder of a user's own: an embedding and a ModuleList.
struct MyDecoderImpl : torch::nn::Module {
  explicit MyDecoderImpl(int64_t num_layers)
      : tokens(register_module("tokens", torch::nn::Embedding(100, 64))),
        blocks(register_module("blocks", torch::nn::ModuleList())) {
    for (int64_t i = 0; i < num_layers; ++i) blocks->push_back(MyBlock());
  }

  torch::nn::Embedding tokens;
  torch::nn::ModuleList blocks;
};
TORCH_MODULE(MyDecoder);

/// A branch: two matrices, 512 to 2048 to 512.
using FeedForward = evenkeel::nn::FeedForward;

inline torch::Tensor attention(const torch::Tensor& x) {
  return torch::scaled_dot_product_attention(x, x, x);
}

inline torch::Tensor feed_forward(const torch::Tensor& x) {
  return x.relu();
}

inline torch::Tensor x, src, tgt;
inline torch::nn::LayerNorm norm{nullptr};
inline MyTransformer model{nullptr};
inline MyDecoder decoder{nullptr};

/// Puts the names above back to where they were.
inline void fresh() {
  torch::manual_seed(0);
  x = torch::randn({2, 5, 512});
  src = torch::randint(1, 100, {2, 7});
  tgt = torch::randint(1, 100, {2, 5});
  norm = torch::nn::LayerNorm(torch::nn::LayerNormOptions({512}));
  model = MyTransformer(18, 18);
  decoder = MyDecoder(12);
}

/// Says which block prints what follows.
inline void begins(const char* block) {
  std::cout << "\nbegins " << block << std::endl;
}

struct Block {
  const char* page;
  void (*run)();
};

/// Runs the blocks of the page that the command line names, or all.
inline int run(int argc, char** argv, std::initializer_list<Block> blocks) {
  try {
    for (const auto& block : blocks) {
      if (argc > 1 && std::string(argv[1]) != block.page) continue;
      fresh();
      block.run();
    }
  } catch (const std::exception& error) {
    std::cout << error.what() << std::endl;
    return 1;
  }
  return 0;
}

}  // namespace docs
