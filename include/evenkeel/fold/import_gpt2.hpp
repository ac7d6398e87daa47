// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/fold/detail/gpt2_names.hpp>
#include <evenkeel/fold/detail/hf_config.hpp>
#include <evenkeel/fold/safetensors.hpp>
#include <evenkeel/fold/state_dict.hpp>
#include <evenkeel/nn/language_model.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/scheme.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

namespace evenkeel {

/// Reads a GPT2LMHeadModel that `export_gpt2` has written, or transformers has saved since, as an
/// `nn::LanguageModel` of the scheme PreNorm: what was exported comes back. A table of positions
/// that is not sinusoidal is of learned ones. The activation gelu_new, which the published GPT-2
/// models have, is an error. The dtype is that of the file. Throws c10::ValueError, which begins
/// with the file's name.
inline nn::LanguageModel<> import_gpt2(const std::string& folder) {
  const detail::HfConfig config(folder + "/config.json", {"gpt2"});
  config.check_is_off("scale_attn_by_inverse_layer_idx");
  config.check_is_off("add_cross_attention");
  const auto dim = config.size("n_embd");
  auto options = nn::LanguageModelOptions()
                     .num_layers(config.size("n_layer"))
                     .embed_dim(dim)
                     .num_heads(config.size("n_head"))
                     .dim_feedforward(config.size_or("n_inner", 4 * dim))
                     .vocab_size(config.size("vocab_size"))
                     .activation(config.activation())
                     .pad_id(config.id_or("pad_token_id", -1))
                     .norm_eps(config.number("layer_norm_epsilon", 1e-5))
                     .dropout(config.number("resid_pdrop", 0.1))
                     .attention_dropout(config.number("attn_pdrop", 0.1));
  const auto file = folder + "/model.safetensors";
  StateDict theirs;
  for (const auto& [name, tensor] : read_safetensors(file).tensors) {
    theirs.emplace(name.rfind("transformer.", 0) == 0 ? name.substr(12) : name, tensor);
  }
  const auto take = [&](const std::string& name) {
    const auto found = theirs.extract(name);
    return found.empty() ? torch::Tensor() : found.mapped();
  };
  auto embedding = take("wte.weight");
  auto head = take("lm_head.weight");
  if (!head.defined() && config.flag("tie_word_embeddings", true)) head = embedding;
  // Before a model is made by the config's sizes, which may be any.
  detail::check_shape(file, "transformer.wte.weight", embedding, {options.vocab_size(), dim});
  detail::check_shape(file, "lm_head.weight", head, {options.vocab_size(), dim});
  detail::check_shape(file,
                      "transformer.h.0.mlp.c_fc.weight",
                      theirs["h.0.mlp.c_fc.weight"],
                      {dim, options.dim_feedforward()});
  detail::check_layers(file, options.num_layers(), "h.", theirs);
  const auto positions = take("wpe.weight");
  const auto channels = at::arange(dim, torch::kInt64);
  const auto table = detail::position_table(file, "transformer.wpe.weight", positions, channels);
  auto scale = table.sinusoidal ? table.scale : torch::Tensor();
  StateDict ours;
  if (!table.sinusoidal) {
    options.learned_positions(positions.size(0));
    ours["position_embedding.weight"] = positions;
  }
  options.input_scale(scale.defined());
  if (scale.defined()) {
    ours["decoder.input_scale"] = scale.to(embedding.scalar_type());
  } else {
    scale = at::ones({dim}, torch::kFloat64);
  }
  const auto dtype = embedding.scalar_type();
  scale = scale * std::sqrt(static_cast<double>(dim));
  embedding = (embedding.to(torch::kFloat64) / scale).to(dtype);
  const double rounding = c10::elementSize(dtype) < 4 ? 1e-2 : 1e-6;
  const bool tied = at::allclose(embedding, head, rounding, 0.0);
  options.tie_embeddings(tied);
  ours["embedding.weight"] = tied ? head : embedding;
  if (!tied) ours["head.weight"] = head;
  for (int64_t i = 0; i < options.num_layers(); ++i) {
    for (const auto& [name, of_theirs, is_matrix] : detail::kGpt2Names) {
      const auto tensor = take("h." + std::to_string(i) + "." + of_theirs);
      if (!tensor.defined()) continue;
      ours["decoder.layer_" + std::to_string(i) + "." + name] =
          is_matrix && tensor.dim() == 2 ? tensor.t() : tensor;
    }
  }
  for (const char* part : {"weight", "bias"}) {
    const auto tensor = take(std::string("ln_f.") + part);
    if (tensor.defined()) ours[std::string("decoder.norm.") + part] = tensor;
  }
  ours.merge(theirs);  // what is left is unexpected

  nn::LanguageModel<> model(scheme_of<PreNorm>(), options);
  model->to(dtype);
  detail::load_state_dict(*model, ours, {}, file.c_str());
  model->eval();
  return model;
}

}  // namespace evenkeel
