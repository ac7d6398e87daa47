// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/nn/decoder.hpp>
#include <evenkeel/nn/detail/check_options.hpp>
#include <evenkeel/nn/detail/torch_stack.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/nn/stack_options.hpp>
#include <evenkeel/residual/scheme.hpp>

#include <c10/util/Exception.h>
#include <torch/enum.h>
#include <torch/nn/modules/container/any.h>
#include <torch/nn/modules/transformer.h>
#include <torch/nn/options/transformer.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
#include <utility>
#include <variant>

namespace evenkeel::nn {

/// An `Encoder` with the inputs and registered names of torch::nn::TransformerEncoder: the encoder
/// of a `make_torch_transformer`.
/// Shapes: src and y are (S, B, embed_dim); src_mask is (S, S), floating point and added to the
/// scores, or bool or byte, where true excludes a key; src_key_padding_mask is (B, S), bool or
/// byte, true for padding.
class TorchEncoderImpl : public detail::TorchStack<TorchEncoderImpl, Encoder<>> {
 public:
  explicit TorchEncoderImpl(Encoder<> encoder) : TorchStack(std::move(encoder)) {}

  torch::Tensor forward(const torch::Tensor& src,
                        const torch::Tensor& src_mask = {},
                        const torch::Tensor& src_key_padding_mask = {}) {
    const auto x = batch_first("src", src);
    const auto mask = detail::torch_mask("src_mask",
                                         src_mask,
                                         "src_key_padding_mask",
                                         src_key_padding_mask,
                                         x,
                                         x.size(1));
    return sequence_first(stack->forward(x, mask));
  }

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(torch::Tensor())},
                           {2, torch::nn::AnyValue(torch::Tensor())})
};

/// A `ModuleHolder` for `TorchEncoderImpl`: copies of it share one module.
TORCH_MODULE(TorchEncoder);

/// A `Decoder` with the inputs and registered names of torch::nn::TransformerDecoder: the decoder
/// of a `make_torch_transformer`. Without a tgt_mask it is not causal.
/// Shapes: tgt and y are (T, B, embed_dim), memory (S, B, embed_dim), the masks (T, T), (T, S),
/// (B, T) and (B, S), of the types that `TorchEncoder` takes.
class TorchDecoderImpl : public detail::TorchStack<TorchDecoderImpl, Decoder<>> {
 public:
  explicit TorchDecoderImpl(Decoder<> decoder) : TorchStack(std::move(decoder)) {}

  torch::Tensor forward(const torch::Tensor& tgt,
                        const torch::Tensor& memory,
                        const torch::Tensor& tgt_mask = {},
                        const torch::Tensor& memory_mask = {},
                        const torch::Tensor& tgt_key_padding_mask = {},
                        const torch::Tensor& memory_key_padding_mask = {}) {
    const auto x = batch_first("tgt", tgt);
    const auto read = batch_first("memory", memory);
    const auto mask = detail::torch_mask("tgt_mask",
                                         tgt_mask,
                                         "tgt_key_padding_mask",
                                         tgt_key_padding_mask,
                                         x,
                                         x.size(1));
    const auto of_memory = detail::torch_mask("memory_mask",
                                              memory_mask,
                                              "memory_key_padding_mask",
                                              memory_key_padding_mask,
                                              x,
                                              read.size(1));
    return sequence_first(stack->forward(x, read, of_memory, /*cache=*/nullptr, mask));
  }

 protected:
  FORWARD_HAS_DEFAULT_ARGS({2, torch::nn::AnyValue(torch::Tensor())},
                           {3, torch::nn::AnyValue(torch::Tensor())},
                           {4, torch::nn::AnyValue(torch::Tensor())},
                           {5, torch::nn::AnyValue(torch::Tensor())})
};

/// A `ModuleHolder` for `TorchDecoderImpl`: copies of it share one module.
TORCH_MODULE(TorchDecoder);

namespace detail {

inline void check(const torch::nn::TransformerOptions& options) {
  constexpr const char* kName = "make_torch_transformer";
  TORCH_CHECK(options.custom_encoder().is_empty() && options.custom_decoder().is_empty(),
              kName,
              ": expected options without custom_encoder and custom_decoder, which it sets itself, "
              "but got ",
              options.custom_encoder().is_empty() ? "a custom_decoder" : "a custom_encoder");
  TORCH_CHECK(
      options.d_model() > 0 && options.nhead() > 0 && options.d_model() % options.nhead() == 0,
      kName,
      ": expected d_model to be a multiple of nhead, but got ",
      options.d_model(),
      " and ",
      options.nhead());
  TORCH_CHECK(options.num_encoder_layers() > 0 && options.num_decoder_layers() > 0,
              kName,
              ": expected num_encoder_layers and num_decoder_layers > 0, but got ",
              options.num_encoder_layers(),
              " and ",
              options.num_decoder_layers());
  TORCH_CHECK(options.dim_feedforward() > 0,
              kName,
              ": expected dim_feedforward > 0, but got ",
              options.dim_feedforward());
  check_probability(kName, "dropout", options.dropout());
  TORCH_CHECK(std::holds_alternative<torch::enumtype::kReLU>(options.activation()) ||
                  std::holds_alternative<torch::enumtype::kGELU>(options.activation()),
              kName,
              ": expected activation to be torch::kReLU or torch::kGELU, but got a function; for "
              "an activation of your own, pass layers with your own branch to nn::Encoder and "
              "nn::Decoder");
}

/// The options of one of the stacks. torch::nn has one probability for every dropout.
inline StackOptions stack_options(const torch::nn::TransformerOptions& options, Stack stack) {
  const bool encoder = stack == Stack::kEncoder;
  const auto here = encoder ? options.num_encoder_layers() : options.num_decoder_layers();
  const auto other = encoder ? options.num_decoder_layers() : options.num_encoder_layers();
  const bool gelu = std::holds_alternative<torch::enumtype::kGELU>(options.activation());
  return StackOptions(here, options.d_model(), options.nhead(), options.dim_feedforward())
      .other_layers(other)
      .activation(gelu ? Activation::kGELU : Activation::kReLU)
      .dropout(options.dropout())
      .attention_dropout(options.dropout())
      .activation_dropout(options.dropout());
}

/// The stack of a torch::nn::Transformer, or null if it is not one of the library's.
template <typename Impl>
Impl* torch_stack(const torch::nn::AnyModule& stack) {
  return dynamic_cast<Impl*>(stack.ptr().get());
}

}  // namespace detail

/// Re-initialises a `make_torch_transformer` by its scheme. `model->reset_parameters()` is
/// LibTorch's, is not virtual, and fills every matrix by Xavier uniform whatever the scheme is; it
/// leaves biases, norms and gains as they are. A model made from the options of another,
/// `torch::nn::Transformer(model->options)`, starts like that too.
inline void reset_parameters(torch::nn::Transformer& model) {
  auto* encoder = detail::torch_stack<TorchEncoderImpl>(model->encoder);
  auto* decoder = detail::torch_stack<TorchDecoderImpl>(model->decoder);
  TORCH_CHECK(encoder != nullptr && decoder != nullptr,
              "reset_parameters: expected a torch::nn::Transformer of make_torch_transformer, but "
              "got one with ",
              model->encoder.ptr()->name(),
              " and ",
              model->decoder.ptr()->name());
  encoder->reset_parameters();
  decoder->reset_parameters();
}

/// Returns a torch::nn::Transformer whose residuals follow a scheme:
///
///     auto model = evenkeel::nn::make_torch_transformer(evenkeel::find_scheme("admin"), options);
///
/// Layout, masks, options, state names and the rest of its interface are LibTorch's, so its users
/// need no other change; a scheme's gains are additional state, such as
/// `encoder.layers.0.self_attn_residual.omega`. A query without any key to attend to gets 0 from
/// attention, not NaN. Throws if an option is out of range, if the options hold a custom encoder or
/// decoder, or if the activation is a function.
inline torch::nn::Transformer make_torch_transformer(const Scheme& scheme,
                                                     torch::nn::TransformerOptions options = {}) {
  detail::check(options);
  options.custom_encoder(torch::nn::AnyModule(
      TorchEncoder(Encoder<>(scheme, detail::stack_options(options, Stack::kEncoder)))));
  options.custom_decoder(torch::nn::AnyModule(
      TorchDecoder(Decoder<>(scheme, detail::stack_options(options, Stack::kDecoder)))));
  torch::nn::Transformer model(std::move(options));
  // LibTorch clones what the options hold, and draws over its weights. Options that hold the
  // model's own stacks instead do not keep a second set of weights, and still serve clone(); a
  // clone's options go on holding the original's.
  model->options.custom_encoder(model->encoder);
  model->options.custom_decoder(model->decoder);
  reset_parameters(model);
  return model;
}

/// The same for a scheme that is known at compile time: `make_torch_transformer<Admin>(options)`.
template <typename S>
torch::nn::Transformer make_torch_transformer(torch::nn::TransformerOptions options = {}) {
  return make_torch_transformer(scheme_of<S>(), std::move(options));
}

}  // namespace evenkeel::nn
