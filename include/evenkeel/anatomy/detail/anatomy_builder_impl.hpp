// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy_builder.hpp>
#include <evenkeel/anatomy/detail/known_types.hpp>

#include <c10/util/Exception.h>

#include <algorithm>

namespace evenkeel {

inline AnatomyBuilder::AnatomyBuilder(torch::nn::Module& model,
                                      Stack stack,
                                      std::vector<detail::Describer> describers)
    : model_(model),
      describers_(std::move(describers)),
      registered_(model),
      told_(registered_.parameters().size()) {
  here_.stack = stack;
}

inline AnatomyBuilder& AnatomyBuilder::layer() {
  const bool encoder = here_.stack == Stack::kEncoder;
  auto& number = encoder ? anatomy_.encoder_layers : anatomy_.decoder_layers;
  layers_.push_back({here_.stack, number++, nullptr});
  here_.in_layer = true;
  return *this;
}

inline SublayerBuilder AnatomyBuilder::sublayer(const std::string& name) {
  return open_sublayer(name, std::nullopt);
}

inline SublayerBuilder AnatomyBuilder::sublayer(const std::string& name, SublayerKind kind) {
  return open_sublayer(name, kind);
}

inline SublayerBuilder AnatomyBuilder::open_sublayer(const std::string& name,
                                                     std::optional<SublayerKind> kind) {
  if (!here_.in_layer) {
    layer();
    layers_.back().block = here_.block;
  }
  Sublayer sublayer;
  sublayer.name = name;
  sublayer.stack = here_.stack;
  sublayer.index = anatomy_.num_res_layers(here_.stack);
  sublayer.layer =
      here_.stack == Stack::kEncoder ? anatomy_.encoder_layers - 1 : anatomy_.decoder_layers - 1;
  sublayer.kind = kind.value_or(SublayerKind::kOther);
  anatomy_.sublayers.push_back(std::move(sublayer));
  return {*this, anatomy_.sublayers.size() - 1, kind.has_value()};
}

template <typename Describe>
bool AnatomyBuilder::in_block(torch::nn::Module& module, Describe&& describe) {
  const auto outer = here_;
  const auto sublayers_before = anatomy_.sublayers.size();
  here_.block = &module;
  const bool described = describe();
  here_ = outer;
  if (described) {
    described_[&module] = anatomy_.sublayers.size() > sublayers_before;
    stacks_.emplace(&module, here_.stack);
  }
  return described;
}

inline bool AnatomyBuilder::is_described(const torch::nn::Module& module) const {
  const auto found = described_.find(&module);
  if (found == described_.end()) return false;
  TORCH_CHECK(!found->second,
              "anatomy: a block of type ",
              detail::holder_type(module),
              " is shared by several layers; it is registered as ",
              registered_.paths(module),
              ". Initial weights depend on the position of a layer: give each layer its own block");
  return true;
}

template <typename Block>
AnatomyBuilder& AnatomyBuilder::describe(Block& block) {
  if constexpr (detail::IsDescribed<Block>::value) {
    auto& module = detail::contained(block);
    if (is_described(module)) return *this;
    in_block(module, [&] {
      AnatomyOf<Block>::describe(module, *this);
      return true;
    });
    return *this;
  } else if constexpr (std::is_base_of_v<torch::nn::Module, Block> ||
                       torch::detail::is_module_holder<Block>::value) {
    return walk(detail::contained(block));
  } else {
    return walk(*block);  // a shared_ptr, as a ModuleList holds them
  }
}

template <typename Blocks>
AnatomyBuilder& AnatomyBuilder::stack(Blocks& blocks, Stack stack) {
  const auto outer = std::exchange(here_, {stack, /*in_layer=*/false, here_.block});
  if constexpr (detail::IsRange<Blocks>::value) {
    for (auto& block : blocks) describe(block);
  } else {
    describe(blocks);
  }
  here_ = outer;
  return *this;
}

inline AnatomyBuilder& AnatomyBuilder::walk(torch::nn::Module& module) {
  if (is_described(module)) return *this;
  for (const auto describe : describers_) {
    if (in_block(module, [&] { return describe(module, *this); })) return *this;
  }
  stacks_.emplace(&module, here_.stack);
  for (const auto& child : module.children()) walk(*child);
  return *this;
}

/// Throws if modules that are a single sub-layer each, attention or feed-forward, would be taken
/// for layers.
inline void AnatomyBuilder::check_layers() const {
  for (const auto stack : {Stack::kEncoder, Stack::kDecoder}) {
    std::string attention;
    std::string feed_forward;
    for (const auto& layer : layers_) {
      if (layer.stack != stack || layer.block == nullptr) continue;
      const auto in_layer = [&](const Sublayer& sublayer) {
        return sublayer.stack == stack && sublayer.layer == layer.number;
      };
      const auto& all = anatomy_.sublayers;
      if (std::count_if(all.begin(), all.end(), in_layer) != 1) continue;
      const auto kind = std::find_if(all.begin(), all.end(), in_layer)->kind;
      if (kind == SublayerKind::kOther) continue;
      auto& name = kind == SublayerKind::kFeedForward ? feed_forward : attention;
      if (name.empty()) name = registered_.paths(*layer.block);
    }
    TORCH_CHECK(attention.empty() || feed_forward.empty(),
                "anatomy: which modules form a layer of the ",
                to_string(stack),
                " is not known: ",
                attention,
                " is only an attention, ",
                feed_forward,
                " only a feed-forward. Specialise evenkeel::AnatomyOf for the block that holds "
                "them, with a sublayer(...) for each; the experts of a mixture are one: "
                "anatomy.sublayer(\"experts\").router(block.router), then .input(expert->fc1)"
                ".output(expert->fc2) for each expert. If every module is a layer, start each with "
                "anatomy.layer()");
  }
}

inline Anatomy AnatomyBuilder::finish() {
  detail::check_members(registered_);
  tell_by_type(model_, here_.stack);
  std::vector<size_t> without;
  for (size_t i = 0; i < told_.size(); ++i) {
    if (told_[i].empty()) without.push_back(i);
  }
  detail::Modules described;
  for (const auto& [module, tells_sublayers] : described_) described.insert(module);
  detail::check_all_told(registered_, without, described);
  check_layers();
  anatomy_.norms = norm_names();
  sort();
  return std::move(anatomy_);
}

}  // namespace evenkeel
