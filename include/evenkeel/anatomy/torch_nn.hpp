// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy_builder.hpp>
#include <evenkeel/anatomy/detail/self_described.hpp>

#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/transformer.h>
#include <torch/nn/modules/transformercoder.h>
#include <torch/nn/modules/transformerlayer.h>

#include <vector>

/// The roles of the parameters of torch::nn's attention and Transformer.
namespace evenkeel {

namespace detail {

/// torch::nn's attention: one packed matrix, or three if key and value have other sizes. `bias_k`
/// and `bias_v` are an additional key and value, which torch::nn initialises, not biases.
inline SublayerBuilder describe_attention(torch::nn::MultiheadAttentionImpl& attention,
                                          SublayerBuilder sublayer) {
  if (attention._qkv_same_embed_dim) {
    sublayer.query_key_value(attention.in_proj_weight);
  } else {
    sublayer.query(attention.q_proj_weight)
        .key(attention.k_proj_weight)
        .value(attention.v_proj_weight);
  }
  return sublayer.bias(attention.in_proj_bias)
      .output(attention.out_proj)
      .unscaled(attention.bias_k)
      .unscaled(attention.bias_v);
}

}  // namespace detail

template <>
struct AnatomyOf<torch::nn::MultiheadAttention> {
  static void describe(torch::nn::MultiheadAttentionImpl& attention, AnatomyBuilder& anatomy) {
    detail::describe_attention(attention, anatomy.sublayer("attention"));
  }
};

template <>
struct AnatomyOf<torch::nn::TransformerEncoderLayer> {
  static void describe(torch::nn::TransformerEncoderLayerImpl& layer, AnatomyBuilder& anatomy) {
    detail::describe_attention(*layer.self_attn, anatomy.sublayer("self_attn"))
        .norm(layer.norm1, NormSlot::kSum);
    anatomy.sublayer("feed_forward")
        .input(layer.linear1)
        .output(layer.linear2)
        .norm(layer.norm2, NormSlot::kSum);
  }
};

template <>
struct AnatomyOf<torch::nn::TransformerDecoderLayer> {
  static void describe(torch::nn::TransformerDecoderLayerImpl& layer, AnatomyBuilder& anatomy) {
    detail::describe_attention(*layer.self_attn, anatomy.sublayer("self_attn"))
        .norm(layer.norm1, NormSlot::kSum);
    detail::describe_attention(*layer.multihead_attn,
                               anatomy.sublayer("multihead_attn", SublayerKind::kCrossAttention))
        .norm(layer.norm2, NormSlot::kSum);
    anatomy.sublayer("feed_forward")
        .input(layer.linear1)
        .output(layer.linear2)
        .norm(layer.norm3, NormSlot::kSum);
  }
};

template <>
struct AnatomyOf<torch::nn::Transformer> {
  static void describe(torch::nn::TransformerImpl& model, AnatomyBuilder& anatomy) {
    anatomy.encoder(*model.encoder.ptr()).decoder(*model.decoder.ptr());
  }
};

namespace detail {

/// The roles and sub-layers of `model`, described by its own `AnatomyOf` if there is one; otherwise
/// by those of its modules in order of registration, of the types `Blocks...` or torch::nn's.
template <typename Model, typename... Blocks>
Anatomy anatomy_of(Model& model, Stack stack) {
  std::vector<Describer> describers{describe_if<Blocks>...};
  for (const auto known : {describe_if<torch::nn::Transformer>,
                           describe_if<torch::nn::TransformerEncoderLayer>,
                           describe_if<torch::nn::TransformerDecoderLayer>,
                           describe_if<torch::nn::MultiheadAttention>,
                           describe_itself}) {
    describers.push_back(known);
  }
  AnatomyBuilder anatomy(contained(model), stack, std::move(describers));
  return anatomy.describe(model).finish();
}

}  // namespace detail

/// Returns the anatomy of a model: `anatomy_of(model)` for a model that has an `AnatomyOf` or is
/// built of torch::nn's layers; `anatomy_of<MyBlock>(model)` for one that holds user-defined blocks
/// in a ModuleList. `stack` is the kind of a single stack. Does not change the model. Throws if any
/// parameters have no role, and names them.
template <typename... Blocks, typename Model>
Anatomy anatomy_of(Model& model, Stack stack = Stack::kEncoder) {
  return detail::anatomy_of<Model, Blocks...>(model, stack);
}

}  // namespace evenkeel
