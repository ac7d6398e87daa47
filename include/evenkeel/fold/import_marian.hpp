// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/fold/detail/hf_config.hpp>
#include <evenkeel/fold/detail/load_renamed.hpp>
#include <evenkeel/fold/detail/name_table.hpp>
#include <evenkeel/fold/safetensors.hpp>
#include <evenkeel/nn/transformer.hpp>
#include <evenkeel/residual/post_norm.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/scheme.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

namespace evenkeel {

namespace detail {

/// The options of the model of a config, without what its tensors decide.
inline nn::TransformerOptions options_of(const HfConfig& config) {
  // Of the configs of earlier versions, and of other models of the type.
  for (const char* name : {"normalize_before", "normalize_embedding", "add_final_layer_norm"}) {
    if (config.type() == "marian") config.check_is_off(name);
  }
  const auto source = config.size("vocab_size");
  const auto pad = config.id("pad_token_id");
  return nn::TransformerOptions()
      .encoder_layers(config.size("encoder_layers"))
      .decoder_layers(config.size("decoder_layers"))
      .embed_dim(config.size("d_model"))
      .num_heads(config.same_size("attention_heads"))
      .dim_feedforward(config.same_size("ffn_dim"))
      .activation(config.activation())
      .src_vocab_size(source)
      .vocab_size(config.size_or("decoder_vocab_size", source))
      .pad_id(pad)
      .starts_with_pad(config.id("decoder_start_token_id") == pad)
      .dropout(config.number("dropout", 0.1))
      .attention_dropout(config.number("attention_dropout", 0.0))
      .activation_dropout(config.number("activation_dropout", 0.0));
}

}  // namespace detail

/// Reads a translation model that Hugging Face's transformers has saved with `save_pretrained`, as
/// config.json and model.safetensors: a MarianMTModel, such as an OPUS-MT model, becomes an
/// `nn::Transformer` of the scheme PostNorm, a PegasusForConditionalGeneration one of PreNorm. It
/// computes the same and can be trained on; what `export_marian` has written comes back. Its
/// vocabulary is not read.
///
///     auto model = evenkeel::import_marian("opus-mt-en-de");
///
/// A model whose decoder starts with the padding token, as Marian's do, has the option
/// `starts_with_pad`; one with a bias of its logits has `logits_bias`. The dtype is that of the
/// file. Channels are put in the order of our positions, see `export_marian`.
///
/// Throws c10::ValueError, which begins with the file's name, for a file that cannot be read or is
/// damaged, see `read_safetensors`, and for a model that is another. A pytorch_model.bin is not
/// read, since it is unpickled: save the model as safetensors first.
inline nn::Transformer<> import_marian(const std::string& folder) {
  const detail::HfConfig config(folder + "/config.json", {"marian", "pegasus"});
  const bool pre_norm = config.type() == "pegasus";
  auto options = detail::options_of(config);
  const auto dim = options.embed_dim();
  const auto file = folder + "/model.safetensors";
  StateDict theirs;
  for (const auto& [name, tensor] : read_safetensors(file).tensors) {
    theirs.emplace(name.rfind("model.", 0) == 0 ? name.substr(6) : name, tensor);
  }
  const auto take = [&](const char* name) {
    const auto found = theirs.extract(name);
    return found.empty() ? torch::Tensor() : found.mapped();
  };
  const auto first_of = [](const torch::Tensor& a, const torch::Tensor& b) {
    return a.defined() ? a : b;
  };
  const bool tie = config.flag("tie_word_embeddings", true);
  const bool share = pre_norm ? tie : config.flag("share_encoder_decoder_embeddings", true);
  const auto shared = take("shared.weight");
  auto source = first_of(take("encoder.embed_tokens.weight"), shared);
  auto target = first_of(take("decoder.embed_tokens.weight"), shared);
  auto head = take("lm_head.weight");
  if (tie) {
    head = first_of(head, target);
    target = first_of(target, head);
  }
  if (share) {
    source = first_of(source, target);
    target = first_of(target, source);
    if (tie) head = first_of(head, source);
  }
  TORCH_CHECK_VALUE(source.defined() && target.defined() && head.defined(),
                    file,
                    ": expected embeddings and lm_head.weight, but there are none of the ",
                    !source.defined()   ? "source"
                    : !target.defined() ? "target"
                                        : "head");
  // Before a model is made by the config's sizes, which may be any.
  detail::check_shape(file, "the source's embedding", source, {options.src_vocab_size(), dim});
  detail::check_shape(file, "the target's embedding", target, {options.vocab_size(), dim});
  detail::check_shape(file, "the head", head, {options.vocab_size(), dim});
  detail::check_shape(file,
                      "encoder.layers.0.fc1.weight",
                      theirs["encoder.layers.0.fc1.weight"],
                      {options.dim_feedforward(), dim});
  detail::check_layers(file, options.encoder_layers(), "encoder.layers.", theirs);
  detail::check_layers(file, options.decoder_layers(), "decoder.layers.", theirs);
  const auto bias = take("final_logits_bias");
  if (bias.defined() && bias.ne(0.0).any().item<bool>()) {
    options.logits_bias(true);
    theirs["logits_bias"] = bias.flatten();
  }

  bool scaled = false;
  for (auto* of : {&source, &target}) {
    const std::string stack = of == &source ? "encoder" : "decoder";
    const auto name = stack + ".embed_positions.weight";
    const auto table = take(name.c_str());
    auto& embedding = *of;
    auto scale = table.defined()
                     ? detail::position_scale(file, name, table, detail::to_split_positions(dim))
                     : table;
    scaled = scaled || scale.defined();
    if (!scale.defined()) scale = at::ones({dim}, torch::kFloat64);
    theirs[stack + ".input_scale"] = scale.to(embedding.scalar_type());
    if (!config.flag("scale_embedding", false)) {
      scale = scale * std::sqrt(static_cast<double>(dim));
    }
    if (scale.ne(1.0).any().item<bool>()) {
      embedding = (embedding.to(torch::kFloat64) / scale).to(embedding.scalar_type());
    }
  }
  if (!scaled) {
    theirs.erase("encoder.input_scale");
    theirs.erase("decoder.input_scale");
  }
  const bool tied = share && tie && at::equal(source, target) && at::equal(source, head);
  options.input_scale(scaled).tie_embeddings(tied);
  theirs["encoder.embed_tokens.weight"] = source;
  theirs["decoder.embed_tokens.weight"] = target;
  theirs["decoder.output_projection.weight"] = head;

  nn::Transformer<> model(pre_norm ? scheme_of<PreNorm>() : scheme_of<PostNorm>(), options);
  model->to(source.scalar_type());
  theirs = detail::with_channels(theirs, detail::from_split_positions(dim));
  auto ours = detail::with_our_names(detail::fairseq_names(), theirs, {}, file.c_str());
  detail::load_ours(*model, std::move(ours), {}, file.c_str());
  model->eval();
  return model;
}

}  // namespace evenkeel
