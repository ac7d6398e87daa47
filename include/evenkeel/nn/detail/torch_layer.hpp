// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy_builder.hpp>
#include <evenkeel/anatomy/detail/self_described.hpp>
#include <evenkeel/core/enums.hpp>
#include <evenkeel/nn/layer.hpp>

#include <torch/nn/module.h>

#include <cstddef>
#include <memory>
#include <ostream>
#include <string>
#include <utility>

namespace evenkeel::nn::detail {

/// A layer under the names of torch::nn::TransformerEncoderLayer and TransformerDecoderLayer. It
/// registers the modules and gains of a `Layer`, which computes; the `Layer` itself is not
/// registered. Names that torch::nn does not have are those of `Layer`, `self_attn_residual.omega`.
class TorchLayer : public torch::nn::Module, public evenkeel::detail::SelfDescribed {
 public:
  explicit TorchLayer(Layer layer_) : layer(std::move(layer_)) {
    Module::train(layer->is_training());
    // In the order of torch::nn's layers, so that `parameters()` has their order.
    for (const auto& sublayer : layer->sublayers) register_branch(sublayer);
    size_t number = 0;
    for (const auto& sublayer : layer->sublayers) {
      const auto norms = sublayer.residual->named_children();
      ++number;
      if (norms.contains("norm")) register_module("norm" + std::to_string(number), norms["norm"]);
    }
    for (const auto& sublayer : layer->sublayers) register_rest(sublayer);
    // torch::nn has modules here, and a checkpoint an entry for each.
    for (size_t i = 0; i <= layer->sublayers.size(); ++i) {
      const auto name = "dropout" + (i == 0 ? std::string() : std::to_string(i));
      register_module(name, std::make_shared<torch::nn::Module>(name));
    }
  }

  /// The `Layer` is no child, but applies dropout.
  void train(bool on = true) override {
    Module::train(on);
    layer->train(on);
  }

  void describe(AnatomyBuilder& anatomy) override { AnatomyOf<Layer>::describe(*layer, anatomy); }

  /// Pretty prints the module, e.g. `evenkeel::nn::TorchLayer<Admin O(logn)>`.
  void pretty_print(std::ostream& stream) const override {
    stream << "evenkeel::nn::TorchLayer<" << layer->sublayers.front().residual->scheme_title()
           << ">";
  }

  Layer layer;  ///< What computes.

 private:
  static std::string name_of(const Sublayer& sublayer) {
    return sublayer.kind == SublayerKind::kCrossAttention ? "multihead_attn" : sublayer.name;
  }

  void register_branch(const Sublayer& sublayer) {
    if (sublayer.kind != SublayerKind::kFeedForward) {
      register_module(name_of(sublayer), sublayer.branch.ptr());
      return;
    }
    for (const auto& child : sublayer.branch.ptr()->named_children()) {
      const auto& name = child.key();
      register_module(name == "fc1" ? "linear1" : name == "fc2" ? "linear2" : name, child.value());
    }
  }

  // Gains, and norms in addition to the one that torch::nn has.
  void register_rest(const Sublayer& sublayer) {
    const auto& residual = *sublayer.residual;
    const auto rest = std::make_shared<torch::nn::Module>("evenkeel::Residual");
    for (const auto& parameter : residual.named_parameters(/*recurse=*/false)) {
      rest->register_parameter(parameter.key(),
                               parameter.value(),
                               parameter.value().requires_grad());
    }
    for (const auto& buffer : residual.named_buffers(/*recurse=*/false)) {
      rest->register_buffer(buffer.key(), buffer.value());
    }
    for (const auto& norm : residual.named_children()) {
      if (norm.key() != "norm") rest->register_module(norm.key(), norm.value());
    }
    const bool empty =
        rest->parameters().empty() && rest->buffers().empty() && rest->children().empty();
    if (!empty) register_module(name_of(sublayer) + "_residual", rest);
  }
};

}  // namespace evenkeel::nn::detail
