// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/torch_nn.hpp>
#include <evenkeel/init/apply_init.hpp>
#include <evenkeel/kernels/detail/plain_residual.hpp>
#include <evenkeel/nn/any_branch.hpp>
#include <evenkeel/nn/blocks.hpp>
#include <evenkeel/nn/detail/block_parts.hpp>
#include <evenkeel/nn/detail/check_options.hpp>
#include <evenkeel/nn/detail/make_layer.hpp>
#include <evenkeel/nn/detail/tie_inits.hpp>
#include <evenkeel/nn/layer.hpp>
#include <evenkeel/nn/stack_options.hpp>
#include <evenkeel/residual/detail/has_norms.hpp>
#include <evenkeel/residual/observer.hpp>
#include <evenkeel/residual/residual.hpp>
#include <evenkeel/residual/residual_stream.hpp>
#include <evenkeel/residual/scheme.hpp>
#include <evenkeel/residual/stack_end.hpp>

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <c10/util/Exception.h>
#include <torch/nn/cloneable.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::nn::detail {

/// dtype and device of the queries for the input x (B, T, embed_dim), for masks that are made once
/// for all layers.
inline torch::TensorOptions query_options(const torch::Tensor& x) {
  const auto device = x.device().type();
  return at::autocast::is_autocast_enabled(device)
             ? x.options().dtype(at::autocast::get_autocast_dtype(device))
             : x.options();
}

/// Base class of encoder and decoder: layers, and the end that the last residual has.
template <typename Derived>
class StackModule : public torch::nn::Cloneable<Derived>, public evenkeel::detail::HasNorms {
 public:
  /// Called by clone() on a member-wise copy, which still shares its children with the original.
  void reset() override {
    for (auto& layer : layers) layer = evenkeel::detail::clone_of(layer);
    end = evenkeel::detail::clone_of(end);
    register_all();
  }

  /// Re-initialises everything by the scheme: weights, biases, gains and norms.
  InitReport reset_parameters() {
    for (auto& layer : layers) layer->reset_parameters();
    end->reset_parameters();
    if (input_scale.defined()) input_scale.fill_(1.0);
    return draw();
  }

  /// The norms at the end, if there are any; the layers know their own.
  std::vector<std::shared_ptr<torch::nn::Module>> norm_modules() const override {
    return end->norm_modules();
  }

  StackOptions options;       ///< The options with which this was constructed.
  std::vector<Layer> layers;  ///< First to last.
  StackEnd end{nullptr};      ///< What follows; its norms are registered as the stack's own.
  torch::Tensor input_scale;  ///< A factor on the input, (embed_dim); undefined if there is none.

 protected:
  StackModule(const char* name, Scheme scheme, const StackOptions& options_, Stack stack)
      : StackModule(name, scheme, options_, stack, made(name, scheme, options_, stack)) {}

  StackModule(const char* name,
              Scheme scheme,
              StackOptions options_,
              Stack stack,
              std::vector<Layer> layers_)
      : options(std::move(options_)),
        layers(std::move(layers_)),
        scheme_(std::move(scheme)),
        stack_(stack) {
    TORCH_CHECK(static_cast<int64_t>(layers.size()) == options.num_layers(),
                name,
                ": expected as many layers as num_layers, ",
                options.num_layers(),
                ", but got ",
                layers.size());
    check_probability(name, "layerdrop", options.layerdrop());
    end = StackEnd(*layers.back()->sublayers.back().residual, end_norm(options));
    register_all();
    draw();
  }

  /// The output of the stack, with a cache that holds an entry for each layer.
  torch::Tensor run(const torch::Tensor& x,
                    const BranchInputs& inputs,
                    std::vector<LayerCache>* cache = nullptr) {
    ResidualStream stream = evenkeel::detail::apply_gain(x, input_scale);
    const bool drops =
        options.layerdrop() > 0.0 && this->is_training() && cache == nullptr && !Observer::any();
    for (size_t i = 0; i < layers.size(); ++i) {
      if (drops && at::rand({}, torch::kFloat64).item<double>() < options.layerdrop()) continue;
      auto* of_layer = cache == nullptr ? nullptr : &cache->at(i);
      stream = layers[i]->forward_stream(std::move(stream), inputs, of_layer);
    }
    return end(std::move(stream));
  }

 private:
  static std::vector<Layer> made(const char* name,
                                 const Scheme& scheme,
                                 const StackOptions& options,
                                 Stack stack) {
    TORCH_CHECK(options.num_layers() > 0,
                name,
                ": expected num_layers > 0, but got ",
                options.num_layers());
    options.check_layer(name);
    const auto& block = find_block(options.block());
    check_block(block, scheme, options, stack);
    const auto of_block =
        block.gains ? with_gains(scheme, block.gains(options.num_layers())) : scheme;
    std::vector<Layer> layers;
    for (int64_t i = 0; i < options.num_layers(); ++i) {
      layers.push_back(make_layer(of_block, options, stack, i));
    }
    return layers;
  }

  void register_all() {
    for (size_t i = 0; i < layers.size(); ++i) {
      this->register_module("layer_" + std::to_string(i), layers[i]);
    }
    for (const auto& norm : end->named_children()) {
      this->register_module(norm.key(), norm.value());
    }
    if (options.input_scale()) {
      input_scale = this->register_buffer("input_scale", torch::ones({options.embed_dim()}));
    }
  }

  InitReport draw() {
    if (options.shaped()) tie_inits(layers, options.shaped()->tied_init());
    auto anatomy = anatomy_of<Layer>(*this, stack_);
    (stack_ == Stack::kEncoder ? anatomy.decoder_layers : anatomy.encoder_layers) =
        options.other_layers();
    return apply_init(anatomy, scheme_.draw);
  }

  Scheme scheme_;
  Stack stack_;
};

}  // namespace evenkeel::nn::detail
