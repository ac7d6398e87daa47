// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/fold/detail/name_table.hpp>
#include <evenkeel/fold/detail/plain_model.hpp>
#include <evenkeel/fold/fold.hpp>
#include <evenkeel/fold/fold_options.hpp>
#include <evenkeel/fold/state_dict.hpp>
#include <evenkeel/nn/transformer.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <utility>

namespace evenkeel::detail {

/// The eps of LayerNorm in programs that have it as a constant.
inline constexpr double kPlainEps = 1e-5;

/// The plain model with that eps, in evaluation mode. `caller` begins the error for an empty
/// holder.
template <typename Model>
auto fold_for_export(const char* caller, const Model& model) {
  TORCH_CHECK(!model.is_empty(), caller, ": expected a model, but got an empty holder");
  auto plain = fold(model, nullptr, FoldOptions().eps(kPlainEps));
  plain->eval();
  return plain;
}

/// Both stacks of a folded Transformer, which agree on everything but their depth.
struct PlainStacks {
  PlainStacks(const char* caller, const nn::TransformerImpl& model) {
    using Kind = SublayerKind;
    encoder = PlainStackReader(caller, "encoder.")
                  .read(model.encoder->layers, {Kind::kSelfAttention, Kind::kFeedForward});
    decoder = PlainStackReader(caller, "decoder.")
                  .read(model.decoder->layers,
                        {Kind::kSelfAttention, Kind::kCrossAttention, Kind::kFeedForward});
    TORCH_CHECK(encoder.pre_norm == decoder.pre_norm && encoder.activation == decoder.activation,
                caller,
                ": expected the same norms and activation in encoder and decoder, but they differ");
    pre_norm = encoder.pre_norm;
  }

  PlainStack encoder;
  PlainStack decoder;
  bool pre_norm = false;
};

/// The order of our channels for a model whose positions are all sines, then all cosines: ours are
/// pairs. `index[c]` is their channel for our channel c.
inline torch::Tensor from_split_positions(int64_t embed_dim) {
  return at::arange(embed_dim, torch::kInt64).view({2, embed_dim / 2}).t().flatten();
}

/// The reverse: our channel for each of theirs.
inline torch::Tensor to_split_positions(int64_t embed_dim) {
  return from_split_positions(embed_dim).argsort();
}

/// A state dict with fairseq's names whose channels of the residual stream are in another order.
/// Attention, feed-forward, norms and logits compute the same in any order.
inline StateDict with_channels(const StateDict& state, const torch::Tensor& index) {
  StateDict result;
  for (const auto& [name, tensor] : state) {
    const auto has = [&, &of = name](const char* part) { return of.find(part) != of.npos; };
    const bool is_inner_bias =
        ends_with(name, ".bias") && (has("q_proj") || has("k_proj") || has("v_proj") || has("fc1"));
    const bool writes = has("out_proj") || has("fc2") || has("layer_norm");
    const auto order = index.to(tensor.device());
    const bool has_channels = tensor.dim() > 0 &&
                              tensor.size(writes ? 0 : tensor.dim() - 1) == index.numel() &&
                              !is_inner_bias && !has("logits_bias");
    result[name] =
        has_channels ? tensor.index_select(writes ? 0 : tensor.dim() - 1, order) : tensor;
  }
  return result;
}

/// The tensors under our names, with packed projections; a name that the table does not have stays.
inline StateDict with_our_names(const NameTable& table,
                                const StateDict& tensors,
                                const LoadOptions& options,
                                const char* caller) {
  StateDict ours;
  for (const auto& [name, tensor] : packed_projections(renamed(tensors, options, caller))) {
    const auto known = table.ours(name);
    TORCH_CHECK_VALUE(ours.emplace(known.empty() ? name : known, tensor).second,
                      caller,
                      ": two tensors have the meaning of ",
                      known.empty() ? name : known);
  }
  return ours;
}

/// Loads tensors under our names; of tied embeddings all that are there have to be the same.
inline nn::IncompatibleKeys load_ours(nn::TransformerImpl& model,
                                      StateDict ours,
                                      LoadOptions options,
                                      const char* caller) {
  if (model.options.tie_embeddings()) {
    for (const char* name : {"tgt_embedding.weight", "head.weight"}) {
      const auto found = ours.find(name);
      if (found == ours.end()) continue;
      const auto& tied = ours.emplace("src_embedding.weight", found->second).first->second;
      TORCH_CHECK_VALUE(at::equal(tied, found->second),
                        caller,
                        ": expected ",
                        name,
                        " to be equal to src_embedding.weight, as the model has tied embeddings; "
                        "construct it with tie_embeddings(false)");
      ours.erase(name);
    }
  }
  return load_state_dict(model, ours, options.rename(nullptr), caller);
}

}  // namespace evenkeel::detail
