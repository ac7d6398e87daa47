// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/fold/safetensors.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// The names that another program has for the parameters of an `nn::Transformer`.
struct NameTable {
  using Names = std::vector<std::pair<std::string, std::string>>;  // ours, theirs

  Names encoder_layer;  ///< How the names in a layer begin.
  Names decoder_layer;
  Names end_norm;  ///< How the names of a stack's last norm begin.
  Names model;     ///< Whole names.

  /// Their name for one of ours, empty if there is none.
  std::string theirs(std::string_view ours) const { return translated(ours, true); }
  /// Our name for one of theirs, empty if there is none.
  std::string ours(std::string_view theirs) const { return translated(theirs, false); }

 private:
  static bool begins(std::string_view name, std::string_view with) {
    return name.substr(0, with.size()) == with;
  }

  static std::string with_beginning(std::string_view name, const Names& names, bool from_ours) {
    for (const auto& [ours, theirs] : names) {
      const auto& from = from_ours ? ours : theirs;
      if (begins(name, from)) {
        return (from_ours ? theirs : ours) + std::string(name.substr(from.size()));
      }
    }
    return {};
  }

  std::string translated(std::string_view name, bool from_ours) const {
    for (const auto& [ours, theirs] : model) {
      if (name == (from_ours ? ours : theirs)) return from_ours ? theirs : ours;
    }
    for (const auto& [stack, in_layer] :
         {std::pair{std::string_view("encoder."), &encoder_layer}, {"decoder.", &decoder_layer}}) {
      if (!begins(name, stack)) continue;
      auto rest = name.substr(stack.size());
      std::string to(stack);
      const std::string_view layer = from_ours ? "layer_" : "layers.";
      if (!begins(rest, layer)) {
        const auto norm = with_beginning(rest, end_norm, from_ours);
        return norm.empty() ? norm : to + norm;
      }
      rest.remove_prefix(layer.size());
      const auto dot = rest.find_first_not_of("0123456789");
      if (dot == 0 || dot == rest.npos || rest[dot] != '.') return {};
      const auto inner = with_beginning(rest.substr(dot + 1), *in_layer, from_ours);
      to += from_ours ? "layers." : "layer_";
      return inner.empty() ? inner : to.append(rest.substr(0, dot + 1)).append(inner);
    }
    return {};
  }
};

/// torch.nn.Transformer's. The names beside it are ours: it has neither embeddings nor a head.
inline const NameTable& torch_names() {
  static const NameTable table{{{"self_attn.", "self_attn."},
                                {"self_attn_residual.norm.", "norm1."},
                                {"feed_forward.fc1.", "linear1."},
                                {"feed_forward.fc2.", "linear2."},
                                {"feed_forward_residual.norm.", "norm2."}},
                               {{"self_attn.", "self_attn."},
                                {"self_attn_residual.norm.", "norm1."},
                                {"cross_attn.", "multihead_attn."},
                                {"cross_attn_residual.norm.", "norm2."},
                                {"feed_forward.fc1.", "linear1."},
                                {"feed_forward.fc2.", "linear2."},
                                {"feed_forward_residual.norm.", "norm3."}},
                               {{"norm.", "norm."}},
                               {{"src_embedding.weight", "src_embedding.weight"},
                                {"tgt_embedding.weight", "tgt_embedding.weight"},
                                {"head.weight", "head.weight"},
                                {"logits_bias", "logits_bias"},
                                {"encoder.input_scale", "encoder.input_scale"},
                                {"decoder.input_scale", "decoder.input_scale"}}};
  return table;
}

/// fairseq's, which Hugging Face's BART and Marian have too.
inline const NameTable& fairseq_names() {
  static const NameTable table{{{"self_attn.", "self_attn."},
                                {"self_attn_residual.norm.", "self_attn_layer_norm."},
                                {"feed_forward.fc1.", "fc1."},
                                {"feed_forward.fc2.", "fc2."},
                                {"feed_forward_residual.norm.", "final_layer_norm."}},
                               {{"self_attn.", "self_attn."},
                                {"self_attn_residual.norm.", "self_attn_layer_norm."},
                                {"cross_attn.", "encoder_attn."},
                                {"cross_attn_residual.norm.", "encoder_attn_layer_norm."},
                                {"feed_forward.fc1.", "fc1."},
                                {"feed_forward.fc2.", "fc2."},
                                {"feed_forward_residual.norm.", "final_layer_norm."}},
                               {{"norm.", "layer_norm."}},
                               {{"src_embedding.weight", "encoder.embed_tokens.weight"},
                                {"tgt_embedding.weight", "decoder.embed_tokens.weight"},
                                {"head.weight", "decoder.output_projection.weight"},
                                {"logits_bias", "logits_bias"},
                                {"encoder.input_scale", "encoder.input_scale"},
                                {"decoder.input_scale", "decoder.input_scale"}}};
  return table;
}

inline bool ends_with(std::string_view name, std::string_view with) {
  return name.size() >= with.size() && name.substr(name.size() - with.size()) == with;
}

/// Queries, keys and values in one tensor each, as `in_proj_weight` and `in_proj_bias`. What is not
/// there in all three parts stays as it is.
inline StateDict packed_projections(StateDict state) {
  StateDict packed;
  for (const auto& [name, tensor] : state) {
    for (const std::string kind : {"weight", "bias"}) {
      if (!ends_with(name, fmt::format("q_proj.{}", kind))) continue;
      const auto prefix = name.substr(0, name.size() - kind.size() - 7);
      const auto key = state.find(fmt::format("{}k_proj.{}", prefix, kind));
      const auto value = state.find(fmt::format("{}v_proj.{}", prefix, kind));
      if (key == state.end() || value == state.end()) continue;
      packed[fmt::format("{}in_proj_{}", prefix, kind)] =
          at::cat({tensor, key->second, value->second});
    }
  }
  for (const auto& item : packed) {
    const auto kind = item.first.substr(item.first.rfind('_') + 1);
    const auto prefix = item.first.substr(0, item.first.size() - kind.size() - 8);
    for (const char* part : {"q", "k", "v"})
      state.erase(fmt::format("{}{}_proj.{}", prefix, part, kind));
  }
  state.merge(packed);
  return state;
}

/// The reverse.
inline StateDict split_projections(const StateDict& state) {
  StateDict split;
  for (const auto& [name, tensor] : state) {
    const auto at = name.rfind("in_proj_");
    if (at == name.npos) {
      split.emplace(name, tensor);
      continue;
    }
    const auto parts = tensor.chunk(3);
    for (size_t i = 0; i < parts.size(); ++i) {
      split.emplace(name.substr(0, at) + "qkv"[i] + "_proj." + name.substr(at + 8), parts[i]);
    }
  }
  return split;
}

}  // namespace evenkeel::detail
