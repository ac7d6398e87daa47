// SPDX-License-Identifier: MIT
// Character models as one writes them before knowing this library: two decoder-only models and an
// encoder-decoder.
#pragma once

#include <evenkeel/evenkeel.hpp>

#include <torch/torch.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace own {

/// How the block joins shortcut and branch.
enum class Join {
  kPost,   ///< norm(x + f(x))
  kAdmin,  ///< norm(residual(x, f(x)))
  kPre,    ///< x + f(norm(x))
  kNone,   ///< x + f(x), for T-Fixup
};

struct Options {
  Join join = Join::kPost;
  evenkeel::OutputChangeScale scale = evenkeel::OutputChangeScale::kOLogN;
  bool modern = false;  ///< RMSNorm, rotary positions, SwiGLU, no biases, tied head
  bool packed = false;  ///< query, key and value in one matrix
  bool cross = false;   ///< of a decoder that reads an encoder
  int64_t layers = 24;
  int64_t dim = 64;
  int64_t heads = 4;
  int64_t vocabulary = 0;
  int64_t length = 64;
};

/// Rotates pairs of features by angles that grow with the position; x is (B, heads, T, d).
inline torch::Tensor rotated(const torch::Tensor& x) {
  const int64_t half = x.size(-1) / 2;
  const auto steps = torch::arange(x.size(-2), x.options());
  const auto rates = torch::pow(1e4, -torch::arange(half, x.options()) / static_cast<double>(half));
  const auto angles = steps.unsqueeze(1) * rates;
  const auto a = x.narrow(-1, 0, half), b = x.narrow(-1, half, half);
  return torch::cat({a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()}, -1);
}

struct AttentionImpl : torch::nn::Module {
  explicit AttentionImpl(const Options& options_) : options(options_) {
    const int64_t d = options.dim;
    const auto linear = [&](int64_t out) {
      return torch::nn::Linear(torch::nn::LinearOptions(d, out).bias(!options.modern));
    };
    if (options.packed) {
      qkv = register_module("qkv", linear(3 * d));
    } else {
      q = register_module("q", linear(d));
      k = register_module("k", linear(d));
      v = register_module("v", linear(d));
    }
    o = register_module("o", linear(d));
  }

  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& memory, bool causal) {
    const auto heads = [&](const torch::Tensor& t) {
      return t.unflatten(-1, {options.heads, options.dim / options.heads}).transpose(1, 2);
    };
    std::vector<torch::Tensor> parts;
    if (options.packed) {
      const auto& w = qkv->weight;
      const auto& b = qkv->bias;
      for (int64_t i = 0; i < 3; ++i) {
        const auto rows = w.narrow(0, i * options.dim, options.dim);
        const auto bias = b.defined() ? b.narrow(0, i * options.dim, options.dim) : b;
        parts.push_back(heads(torch::nn::functional::linear(i == 0 ? x : memory, rows, bias)));
      }
    } else {
      parts = {heads(q(x)), heads(k(memory)), heads(v(memory))};
    }
    if (options.modern && x.is_same(memory)) {
      parts[0] = rotated(parts[0]);
      parts[1] = rotated(parts[1]);
    }
    const auto y = at::scaled_dot_product_attention(parts[0], parts[1], parts[2], {}, 0.0, causal);
    return o(y.transpose(1, 2).flatten(2));
  }

  Options options;
  torch::nn::Linear q{nullptr}, k{nullptr}, v{nullptr}, qkv{nullptr}, o{nullptr};
};
TORCH_MODULE(Attention);

struct FeedForwardImpl : torch::nn::Module {
  explicit FeedForwardImpl(const Options& options_) : options(options_) {
    const int64_t d = options.dim, hidden = options.modern ? 8 * d / 3 : 4 * d;
    const auto linear = [&](int64_t in, int64_t out) {
      return torch::nn::Linear(torch::nn::LinearOptions(in, out).bias(!options.modern));
    };
    fc1 = register_module("fc1", linear(d, hidden));
    if (options.modern) gate = register_module("gate", linear(d, hidden));
    fc2 = register_module("fc2", linear(hidden, d));
  }

  torch::Tensor forward(const torch::Tensor& x) {
    return fc2(options.modern ? torch::silu(gate(x)) * fc1(x) : torch::relu(fc1(x)));
  }

  Options options;
  torch::nn::Linear fc1{nullptr}, gate{nullptr}, fc2{nullptr};
};
TORCH_MODULE(FeedForward);

struct BlockImpl : torch::nn::Module {
  explicit BlockImpl(const Options& options_) : options(options_) {
    attention = register_module("attention", Attention(options));
    if (options.cross) cross = register_module("cross", Attention(options));
    feed_forward = register_module("feed_forward", FeedForward(options));
    const int64_t count = options.cross ? 3 : 2;
    for (int64_t i = 0; i < count; ++i) {
      const auto n = std::to_string(i);
      if (options.join != Join::kNone) {
        if (options.modern) {
          rms.push_back(register_module("norm" + n, evenkeel::RMSNorm(options.dim)));
        } else {
          norms.push_back(
              register_module("norm" + n,
                              torch::nn::LayerNorm(torch::nn::LayerNormOptions({options.dim}))));
        }
      }
      if (options.join == Join::kAdmin) {
        residuals.push_back(register_module(
            "residual" + n,
            evenkeel::AdminResidual<>(evenkeel::AdminResidualOptions(count * options.layers)
                                          .output_change_scale(options.scale)
                                          .as_parameter(true)
                                          .embed_dim(options.dim))));
      }
    }
  }

  torch::Tensor forward(torch::Tensor x, const torch::Tensor& memory, bool causal) {
    size_t i = 0;
    x = join(i++, x, [&](const torch::Tensor& h) { return attention(h, h, causal); });
    if (options.cross) {
      x = join(i++, x, [&](const torch::Tensor& h) { return cross(h, memory, false); });
    }
    return join(i, x, [&](const torch::Tensor& h) { return feed_forward(h); });
  }

  torch::Tensor norm(size_t i, const torch::Tensor& x) {
    return options.modern ? rms[i](x) : norms[i](x);
  }

  template <typename Branch>
  torch::Tensor join(size_t i, const torch::Tensor& x, Branch branch) {
    switch (options.join) {
      case Join::kPost:
        return norm(i, x + branch(x));
      case Join::kAdmin:
        return norm(i, residuals[i](x, branch(x)));
      case Join::kPre:
        return x + branch(norm(i, x));
      case Join::kNone:
        break;
    }
    return x + branch(x);
  }

  Options options;
  Attention attention{nullptr}, cross{nullptr};
  FeedForward feed_forward{nullptr};
  std::vector<torch::nn::LayerNorm> norms;
  std::vector<evenkeel::RMSNorm> rms;
  std::vector<evenkeel::AdminResidual<>> residuals;
};
TORCH_MODULE(Block);

struct StackImpl : torch::nn::Module {
  explicit StackImpl(const Options& options_) : options(options_) {
    tokens = register_module("tokens", torch::nn::Embedding(options.vocabulary, options.dim));
    if (!options.modern) {
      positions = register_module("positions", torch::nn::Embedding(options.length, options.dim));
    }
    blocks = register_module("blocks", torch::nn::ModuleList());
    for (int64_t i = 0; i < options.layers; ++i) blocks->push_back(Block(options));
    if (options.join == Join::kPre) {
      if (options.modern) {
        rms = register_module("norm", evenkeel::RMSNorm(options.dim));
      } else {
        norm = register_module("norm",
                               torch::nn::LayerNorm(torch::nn::LayerNormOptions({options.dim})));
      }
    }
  }

  torch::Tensor forward(const torch::Tensor& ids, const torch::Tensor& memory, bool causal) {
    auto x = tokens(ids);
    if (!options.modern) x = x + positions(torch::arange(ids.size(1)));
    for (const auto& block : *blocks) x = block->as<Block>()->forward(x, memory, causal);
    if (options.join == Join::kPre) x = options.modern ? rms(x) : norm(x);
    return x;
  }

  Options options;
  torch::nn::Embedding tokens{nullptr}, positions{nullptr};
  torch::nn::ModuleList blocks{nullptr};
  torch::nn::LayerNorm norm{nullptr};
  evenkeel::RMSNorm rms{nullptr};
};
TORCH_MODULE(Stack);

/// A decoder, or an encoder and a decoder that reads it; returns logits.
struct ModelImpl : torch::nn::Module {
  ModelImpl(Options options_, bool with_encoder) : options(options_) {
    if (with_encoder) encoder = register_module("encoder", Stack(options));
    options.cross = with_encoder;
    decoder = register_module("decoder", Stack(options));
    if (!options.modern) {
      head = register_module("head", torch::nn::Linear(options.dim, options.vocabulary));
    }
  }

  torch::Tensor forward(const torch::Tensor& src, const torch::Tensor& tgt) {
    const auto memory = encoder ? encoder(src, torch::Tensor(), false) : torch::Tensor();
    const auto x = decoder(tgt, memory, true);
    return options.modern ? x.matmul(decoder->tokens->weight.t()) : head(x);
  }

  Options options;
  Stack encoder{nullptr}, decoder{nullptr};
  torch::nn::Linear head{nullptr};
};
TORCH_MODULE(Model);

}  // namespace own

template <>
struct evenkeel::AnatomyOf<own::Block> {
  static void describe(own::BlockImpl& block, evenkeel::AnatomyBuilder& anatomy) {
    const auto tell = [](evenkeel::SublayerBuilder sublayer, own::AttentionImpl& attention) {
      if (attention.options.packed) {
        sublayer.query_key_value(attention.qkv);
      } else {
        sublayer.query(attention.q).key(attention.k).value(attention.v);
      }
      sublayer.output(attention.o);
    };
    tell(anatomy.sublayer("attention"), *block.attention);
    if (block.cross) {
      tell(anatomy.sublayer("cross", evenkeel::SublayerKind::kCrossAttention), *block.cross);
    }
    auto sublayer = anatomy.sublayer("feed_forward").input(block.feed_forward->fc1);
    if (block.feed_forward->gate) sublayer.gate(block.feed_forward->gate);
    sublayer.output(block.feed_forward->fc2);
  }
};

template <>
struct evenkeel::AnatomyOf<own::Model> {
  static void describe(own::ModelImpl& model, evenkeel::AnatomyBuilder& anatomy) {
    if (model.encoder) {
      anatomy.embedding(model.encoder->tokens, Stack::kEncoder).encoder(*model.encoder->blocks);
    }
    anatomy.embedding(model.decoder->tokens, Stack::kDecoder).decoder(*model.decoder->blocks);
    if (model.head) anatomy.head(model.head);
  }
};
