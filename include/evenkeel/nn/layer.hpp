// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/sublayer.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace evenkeel::nn {

/// The cache of one sub-layer during generation: keys and values of an attention, empty for other
/// sub-layers.
struct SublayerCache : KeyValueCache {
  bool of_memory = false;  ///< Whether they belong to the encoder's output (cross-attention).
};

/// The caches of the sub-layers of one layer.
using LayerCache = std::vector<SublayerCache>;

/// A layer: a sequence of sub-layers. Encoder layers, decoder layers, sandwich layers and layers
/// with user-defined branches differ only in this list.
/// Shapes: x and y are (B, T, embed_dim).
class LayerImpl : public torch::nn::Cloneable<LayerImpl> {
 public:
  explicit LayerImpl(std::vector<Sublayer> sublayers_) : sublayers(std::move(sublayers_)) {
    TORCH_CHECK(!sublayers.empty(), "Layer: expected at least one sub-layer, but got none");
    register_all();
  }

  /// Called by clone() on a member-wise copy, which still shares its children with the original.
  void reset() override {
    const auto originals = sublayers;
    for (auto& sublayer : sublayers) {
      sublayer.branch = sublayer.branch.clone();
      sublayer.residual = evenkeel::detail::clone_of(sublayer.residual);
    }
    for (auto& sublayer : sublayers) {
      for (size_t i = 0; i < originals.size(); ++i) {
        if (sublayer.residual->gain_owner() != originals[i].residual.ptr()) continue;
        sublayer.residual->share_gain_of(sublayers[i].residual.ptr());
      }
    }
    register_all();
  }

  /// Re-initialises every branch and residual, as far as they have `reset_parameters()`. A stack's
  /// draws weights as its scheme has it.
  void reset_parameters() {
    for (auto& sublayer : sublayers) {
      sublayer.branch.reset_parameters();
      sublayer.residual->reset_parameters();
    }
  }

  /// Throws if the scheme has two streams that run through the whole stack.
  torch::Tensor forward(const torch::Tensor& x, const BranchInputs& inputs = {}) {
    const auto& residual = *sublayers.front().residual;
    const auto kind = residual.stream_kind();
    TORCH_CHECK(kind != StreamKind::kDual && kind != StreamKind::kSiamese,
                "Layer: expected forward_stream() of a ResidualStream, as ",
                residual.scheme_title(),
                " has two streams, but got a tensor");
    return forward_stream(x, inputs).sum();
  }

  /// The residual stream after this layer, for one of several layers in a row. With a cache, which
  /// has an entry for each sub-layer, the stream holds the tokens that follow the cached ones.
  ResidualStream forward_stream(ResidualStream stream,
                                const BranchInputs& inputs = {},
                                LayerCache* cache = nullptr) {
    for (size_t i = 0; i < sublayers.size(); ++i) {
      auto* keys_and_values = cache == nullptr ? nullptr : &cache->at(i);
      stream = sublayers[i].forward(std::move(stream), inputs, keys_and_values);
    }
    return stream;
  }

  /// Resizes a cache to one entry for each sub-layer.
  void resize(LayerCache& cache) const {
    cache.resize(sublayers.size());
    for (size_t i = 0; i < sublayers.size(); ++i) {
      cache[i].of_memory = sublayers[i].kind == SublayerKind::kCrossAttention;
    }
  }

  /// Returns the sub-layer of the given name, e.g. `layer->sublayer("self_attn").residual->omega`.
  Sublayer& sublayer(std::string_view name) {
    std::string names;
    for (auto& part : sublayers) {
      if (part.name == name) return part;
      names += (names.empty() ? "" : ", ") + part.name;
    }
    TORCH_CHECK_VALUE(false, "Layer: expected one of ", names, ", but got ", name);
    return sublayers.front();
  }

  std::vector<Sublayer> sublayers;  ///< First to last.

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(BranchInputs())})

 private:
  void register_all() {
    for (auto& sublayer : sublayers) {
      register_module(sublayer.name, sublayer.branch.ptr());
      register_module(sublayer.name + "_residual", sublayer.residual);
    }
  }
};

/// A `ModuleHolder` for `LayerImpl`: copies of it share one module.
TORCH_MODULE(Layer);

}  // namespace evenkeel::nn

template <>
struct evenkeel::AnatomyOf<evenkeel::nn::Layer> {
  static void describe(nn::LayerImpl& layer, AnatomyBuilder& anatomy) {
    for (auto& part : layer.sublayers) {
      auto sublayer = part.kind == SublayerKind::kOther ? anatomy.sublayer(part.name)
                                                        : anatomy.sublayer(part.name, part.kind);
      part.branch.describe(sublayer);
      const auto& residual = *part.residual;
      sublayer.gain(residual.omega, GainSlot::kShortcut)
          .gain(residual.gain_of_branch(), GainSlot::kBranch);
      for (const auto& [norm, slot] : {std::pair{&residual.stream_norm, NormSlot::kStream},
                                       {&residual.second_norm, NormSlot::kSecond},
                                       {&residual.input_norm, NormSlot::kInput},
                                       {&residual.branch_norm, NormSlot::kBranch},
                                       {&residual.sum_norm, NormSlot::kSum}}) {
        if (!norm->is_empty()) sublayer.norm(norm->ptr(), slot);
      }
    }
  }
};
