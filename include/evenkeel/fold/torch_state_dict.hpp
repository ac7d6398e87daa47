// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/fold/detail/load_renamed.hpp>
#include <evenkeel/fold/detail/name_table.hpp>
#include <evenkeel/fold/detail/plain_model.hpp>
#include <evenkeel/fold/fold.hpp>
#include <evenkeel/fold/state_dict.hpp>
#include <evenkeel/nn/transformer.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include <string>

namespace evenkeel {

/// The state dict of Python's `torch.nn.Transformer` with the weights of `model`, which is folded
/// first, by `fold(model, nullptr, FoldOptions().eps(1e-5))`:
///
///     save_safetensors(to_torch_state_dict(model), "torch.safetensors");
///
/// `encoder` and `decoder` have its names and shapes. Beside them are, under our names,
/// `src_embedding.weight`, `tgt_embedding.weight` and `head.weight`, also where they are one
/// tensor, and `encoder.input_scale` and `decoder.input_scale` if the folded model has them.
/// torch.nn.Transformer is constructed with `norm_first=True` for a Pre-LN model, with
/// `layer_norm_eps=1e-5`, and with the activation of the model.
///
/// torch.nn.Transformer has a norm at the end of each stack, also with `norm_first=False`. It takes
/// the weight and bias of a Post-LN stack's last norm, which are 1 and 0 then: the outputs are the
/// same up to eps. Throws c10::Error, naming the place, for a model whose layers
/// torch.nn.Transformer does not have: norms other than LayerNorm, or none; SwiGLU; fewer heads of
/// keys than of queries.
template <typename S>
StateDict to_torch_state_dict(const nn::Transformer<S>& model) {
  const char* caller = "to_torch_state_dict";
  const auto plain = detail::fold_for_export(caller, model);
  const auto& decoder = *plain->decoder;
  const detail::PlainStacks stacks(caller, *plain);
  TORCH_CHECK(stacks.encoder.num_heads == stacks.decoder.num_heads &&
                  stacks.encoder.dim_feedforward == stacks.decoder.dim_feedforward,
              caller,
              ": expected encoder and decoder with the same number of heads and inner size, but "
              "they differ");
  StateDict state;
  for (const auto& [name, tensor] : detail::packed_projections(state_dict(*plain))) {
    state.emplace(detail::torch_names().theirs(name), tensor.detach());
  }
  if (!stacks.pre_norm) {
    const auto move_to_end = [&](const std::string& stack, size_t layers, const char* norm) {
      const auto last = stack + ".layers." + std::to_string(layers - 1) + "." + norm + ".";
      for (const char* part : {"weight", "bias"}) {
        auto& tensor = state.at(last + part);
        state.emplace(stack + ".norm." + part, tensor);
        tensor = part[0] == 'w' ? at::ones_like(tensor) : at::zeros_like(tensor);
      }
    };
    move_to_end("encoder", plain->encoder->layers.size(), "norm2");
    move_to_end("decoder", decoder.layers.size(), "norm3");
  }
  state.emplace("tgt_embedding.weight", state.at("src_embedding.weight"));
  state.emplace("head.weight", state.at("tgt_embedding.weight"));
  return state;
}

/// Copies the state dict of a Python `torch.nn.Transformer`, with embeddings and head beside it
/// under the names that `to_torch_state_dict` gives them, into a model of the scheme PostNorm or
/// PreNorm. What `to_torch_state_dict` has made comes back. `rename` of the options is applied
/// first, e.g. to take away a prefix.
///
/// Throws as `load_state_dict`, and for the norm at the end of a stack that a Post-LN
/// `nn::Transformer` does not have and that is more than a factor: such weights can be loaded into
/// a `nn::make_torch_transformer` by `load_state_dict`.
inline nn::IncompatibleKeys load_torch_state_dict(nn::TransformerImpl& model,
                                                  const StateDict& tensors,
                                                  const LoadOptions& options = {}) {
  constexpr const char* kCaller = "load_torch_state_dict";
  auto ours = detail::with_our_names(detail::torch_names(), tensors, options, kCaller);
  for (const auto* stack : {"encoder", "decoder"}) {
    const auto& layers = *stack == 'e' ? model.encoder->layers : model.decoder->layers;
    const auto& end = *stack == 'e' ? model.encoder->end : model.decoder->end;
    const auto last = std::string(stack) + ".layer_" + std::to_string(layers.size() - 1) +
                      ".feed_forward_residual.norm.";
    const auto of_end = std::string(stack) + ".norm.";
    const auto weight = ours.find(last + "weight");
    const auto bias = ours.find(last + "bias");
    if (!end->norm.is_empty() || ours.count(of_end + "weight") == 0 || weight == ours.end() ||
        bias == ours.end()) {
      continue;
    }
    const auto is_uniform = [](const torch::Tensor& values) {
      return values.numel() > 0 && values.eq(values.flatten()[0]).all().item<bool>();
    };
    TORCH_CHECK_VALUE(is_uniform(weight->second) && is_uniform(bias->second) &&
                          weight->second.flatten()[0].item<double>() > 0.0,
                      kCaller,
                      ": expected the last norm before ",
                      of_end,
                      "weight to have one weight above 0 and one bias, as a Post-LN "
                      "nn::Transformer has no norm behind it; load these tensors into a "
                      "nn::make_torch_transformer by load_state_dict");
    for (const char* part : {"weight", "bias"}) {
      const auto found = ours.find(of_end + part);
      if (found == ours.end()) continue;
      ours[last + part] = found->second;
      ours.erase(found);
    }
  }
  return detail::load_ours(model, std::move(ours), options, kCaller);
}

/// Copies a state dict with the names of a fairseq Transformer (0.12.2, e.g.
/// `encoder.layers.0.self_attn.k_proj.weight`) into a model of the scheme PostNorm or PreNorm.
/// Python saves one by `safetensors.torch.save_file(torch.load(file)["model"], ...)`, without its
/// tied weights. Channels are put in the order of our positions, see `import_marian`.
///
/// fairseq's sinusoidal positions start at 2 and have slightly different frequencies, so that a
/// model has to be trained on to compute the same. Throws as `load_state_dict`; learned positions
/// are an error.
inline nn::IncompatibleKeys load_fairseq_state_dict(nn::TransformerImpl& model,
                                                    const StateDict& tensors,
                                                    const LoadOptions& options = {}) {
  constexpr const char* kCaller = "load_fairseq_state_dict";
  auto theirs = detail::renamed(tensors, options, kCaller);
  for (const char* stack : {"encoder", "decoder"}) {
    theirs.erase(std::string(stack) + ".version");
    theirs.erase(std::string(stack) + ".embed_positions._float_tensor");
  }
  theirs = detail::with_channels(theirs, detail::from_split_positions(model.options.embed_dim()));
  auto plain = options;
  plain.rename(nullptr);
  auto ours = detail::with_our_names(detail::fairseq_names(), theirs, plain, kCaller);
  return detail::load_ours(model, std::move(ours), options, kCaller);
}

}  // namespace evenkeel
