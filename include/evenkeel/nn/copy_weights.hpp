// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/core/error.hpp>
#include <evenkeel/nn/torch_transformer.hpp>
#include <evenkeel/residual/norms.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/nn/modules/transformer.h>
#include <torch/nn/modules/transformercoder.h>
#include <torch/ordered_dict.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

namespace evenkeel::nn {

/// The names of parameters and buffers that only one of two models has, as PyTorch's
/// `load_state_dict` returns them.
struct IncompatibleKeys {
  std::vector<std::string> missing_keys;     ///< Only in the model that is copied into.
  std::vector<std::string> unexpected_keys;  ///< Only in the model that is copied from.
};

namespace detail {

using State = torch::OrderedDict<std::string, torch::Tensor>;

inline State state_of(const torch::nn::Module& module) {
  auto state = module.named_parameters();
  for (const auto& buffer : module.named_buffers()) state.insert(buffer.key(), buffer.value());
  return state;
}

/// The norms of each sub-layer of a stack of torch::nn's or ours; empty for any other.
template <typename Ours, typename Torchs>
std::vector<Norms> norms_of(const torch::nn::AnyModule& stack, size_t sublayers_of_torch) {
  std::vector<Norms> norms;
  if (const auto* ours = torch_stack<Ours>(stack)) {
    for (const auto& layer : ours->stack->layers) {
      for (const auto& sublayer : layer->sublayers) norms.push_back(sublayer.residual->norms());
    }
  } else if (const auto* torchs = torch_stack<Torchs>(stack)) {
    norms.resize(torchs->layers->size() * sublayers_of_torch, Norms::at_sum());
  }
  return norms;
}

inline void check_norms(Stack stack, const std::vector<Norms>& from, const std::vector<Norms>& to) {
  for (size_t i = 0; i < std::min(from.size(), to.size()); ++i) {
    TORCH_CHECK(from[i] == to[i],
                "copy_weights: expected the norms of sub-layer ",
                i,
                " of the ",
                to_string(stack),
                " where the weights come from a model with norms at: ",
                to_string(from[i]),
                "; but got norms at: ",
                to_string(to[i]),
                ". The outputs would differ; pass strict = false to copy all the same");
  }
}

}  // namespace detail

/// Copies the weights of one torch::nn::Transformer into another by their names, e.g. from
/// LibTorch's own into one of `make_torch_transformer`, or back. Post-LN computes the same as
/// LibTorch's own with the same weights. Parameters and buffers may be on different devices and of
/// different dtypes.
///
/// Throws, and changes nothing, if two tensors of one name differ in shape. Unless `strict` is
/// false, it also throws if one model has a name that the other has not, or if their norms are at
/// different places; otherwise tensors that `from` does not have, such as omega, keep their values.
inline IncompatibleKeys copy_weights(const torch::nn::Transformer& from,
                                     torch::nn::Transformer& to,
                                     bool strict = true) {
  if (strict) {
    using torch::nn::TransformerDecoderImpl;
    using torch::nn::TransformerEncoderImpl;
    const auto encoder = detail::norms_of<TorchEncoderImpl, TransformerEncoderImpl>;
    const auto decoder = detail::norms_of<TorchDecoderImpl, TransformerDecoderImpl>;
    detail::check_norms(Stack::kEncoder, encoder(from->encoder, 2), encoder(to->encoder, 2));
    detail::check_norms(Stack::kDecoder, decoder(from->decoder, 3), decoder(to->decoder, 3));
  }
  const auto source = detail::state_of(*from);
  auto target = detail::state_of(*to);
  IncompatibleKeys keys;
  for (const auto& item : target) {
    const auto* values = source.find(item.key());
    if (values == nullptr) {
      keys.missing_keys.push_back(item.key());
      continue;
    }
    TORCH_CHECK(values->sizes() == item.value().sizes(),
                "copy_weights: expected ",
                item.key(),
                " of shape ",
                item.value().sizes(),
                ", but got ",
                values->sizes());
  }
  for (const auto& item : source) {
    if (!target.contains(item.key())) keys.unexpected_keys.push_back(item.key());
  }
  TORCH_CHECK(!strict || (keys.missing_keys.empty() && keys.unexpected_keys.empty()),
              "copy_weights: expected models with the same names, but the one that is copied from "
              "lacks: ",
              evenkeel::detail::first_of(keys.missing_keys),
              "; and has in addition: ",
              evenkeel::detail::first_of(keys.unexpected_keys),
              ". Pass strict = false to copy the others");
  const torch::NoGradGuard no_grad;
  for (auto& item : target) {
    if (const auto* values = source.find(item.key())) item.value().copy_(*values);
  }
  return keys;
}

}  // namespace evenkeel::nn
