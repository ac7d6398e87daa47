// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy.hpp>
#include <evenkeel/anatomy/detail/anatomy_errors.hpp>
#include <evenkeel/anatomy/detail/contained.hpp>
#include <evenkeel/anatomy/detail/registered.hpp>
#include <evenkeel/anatomy/sublayer_builder.hpp>

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace evenkeel {

class AnatomyBuilder;

/// How a block tells the roles of its parameters. Specialise it for a module holder of your own:
///
///     template <>
///     struct evenkeel::AnatomyOf<MyBlock> {
///       static void describe(MyBlockImpl& block, evenkeel::AnatomyBuilder& anatomy) {
///         anatomy.sublayer("attention")
///             .query(block.q).key(block.k).value(block.v).output(block.o);
///         anatomy.sublayer("feed_forward").input(block.fc1).output(block.fc2);
///       }
///     };
///
/// Embeddings, norms and gains need no word: they are known by their type or registered name.
template <typename Holder>
struct AnatomyOf {};

namespace detail {

template <typename T, typename = void>
struct IsDescribed : std::false_type {};
template <typename T>
struct IsDescribed<T,
                   std::void_t<decltype(AnatomyOf<T>::describe(std::declval<contained_t<T>&>(),
                                                               std::declval<AnatomyBuilder&>()))>>
    : std::true_type {};

/// Describes `module` if it is of one type of block; false if it is not.
using Describer = bool (*)(torch::nn::Module&, AnatomyBuilder&);

template <typename Holder>
bool describe_if(torch::nn::Module& module, AnatomyBuilder& anatomy) {
  static_assert(IsDescribed<Holder>::value,
                "anatomy: specialise evenkeel::AnatomyOf<Block> with `static void "
                "describe(BlockImpl&, evenkeel::AnatomyBuilder&)` for this block");
  auto* block = dynamic_cast<contained_t<Holder>*>(&module);
  if (block == nullptr) return false;
  AnatomyOf<Holder>::describe(*block, anatomy);
  return true;
}

}  // namespace detail

/// Collects an `Anatomy`. What a model tells of itself, in its `AnatomyOf`:
///
///     anatomy.embedding(model.tokens).encoder(model.encoder_blocks).decoder(model.decoder_blocks);
class AnatomyBuilder {
 public:
  AnatomyBuilder(torch::nn::Module& model, Stack stack, std::vector<detail::Describer> describers);

  /// Opens the next residual sub-layer of the stack that is being described. Its kind follows from
  /// what it is told: self-attention from `query`, `key` or `value`, feed-forward from `input`.
  SublayerBuilder sublayer(const std::string& name);
  /// The same of a kind that does not follow, such as `SublayerKind::kCrossAttention`.
  SublayerBuilder sublayer(const std::string& name, SublayerKind kind);
  /// Begins a layer, which the sub-layers told from here on are part of. A block is a layer without
  /// this call; it is for a module that holds several, or one whose parts are blocks themselves.
  AnatomyBuilder& layer();

  /// An embedding of the given stack's tokens; told once where both stacks share it.
  template <typename T>
  AnatomyBuilder& embedding(const T& module, Stack stack) {
    return add(module, Role::kEmbedding, stack);
  }
  /// An embedding of the stack that is being described, or one that both stacks share.
  template <typename T>
  AnatomyBuilder& embedding(const T& module) {
    return embedding(module, here_.stack);
  }
  /// The encoder's blocks: a vector of module holders, a ModuleList, or any module.
  template <typename Blocks>
  AnatomyBuilder& encoder(Blocks& blocks) {
    return stack(blocks, Stack::kEncoder);
  }
  /// The decoder's blocks.
  template <typename Blocks>
  AnatomyBuilder& decoder(Blocks& blocks) {
    return stack(blocks, Stack::kDecoder);
  }
  /// The projection to the vocabulary, where it is not the embedding itself.
  template <typename T>
  AnatomyBuilder& head(const T& module) {
    return add(module, Role::kHead, here_.stack);
  }
  /// A gain, norm or bias of no sub-layer that neither its type nor its name tells.
  AnatomyBuilder& gain(const torch::Tensor& tensor) {
    return add(tensor, Role::kGain, here_.stack);
  }
  template <typename T>
  AnatomyBuilder& norm(const T& module) {
    return add(module, Role::kNorm, here_.stack);
  }
  template <typename T>
  AnatomyBuilder& bias(const T& module) {
    return add(module, Role::kBias, here_.stack);
  }
  /// What no init shall touch.
  template <typename T>
  AnatomyBuilder& unscaled(const T& module) {
    return add(module, Role::kUnscaled, here_.stack);
  }
  /// A part that has an `AnatomyOf` of its own; without one, as `walk`.
  template <typename Block>
  AnatomyBuilder& describe(Block& block);
  /// A module of any type: described if its type is, else its children in order of registration.
  AnatomyBuilder& walk(torch::nn::Module& module);

  /// The finished anatomy. Throws, naming them, if parameters are left without a role.
  Anatomy finish();

 private:
  friend class SublayerBuilder;

  /// Which stack, layer and block is being described.
  struct Place {
    Stack stack = Stack::kEncoder;
    bool in_layer = false;
    torch::nn::Module* block = nullptr;
  };
  /// A layer, and the block that it is, unless `layer()` has begun it.
  struct Layer {
    Stack stack;
    int64_t number;
    torch::nn::Module* block;
  };

  template <typename Blocks>
  AnatomyBuilder& stack(Blocks& blocks, Stack stack);
  template <typename Describe>
  bool in_block(torch::nn::Module& module, Describe&& describe);
  bool is_described(const torch::nn::Module& module) const;
  SublayerBuilder open_sublayer(const std::string& name, std::optional<SublayerKind> kind);

  template <typename T>
  AnatomyBuilder& add(const T& module, Role role, Stack stack) {
    tell(module, {{role}}, stack, -1);
    return *this;
  }
  /// Tells the roles of a module or tensor; gives the entries of its weight, and of a bias that has
  /// the same role.
  template <typename T>
  std::vector<size_t> tell(const T& module,
                           const detail::Parts& parts,
                           Stack stack,
                           int64_t sublayer);
  std::vector<size_t> tell_tensor(const torch::Tensor& tensor,
                                  const detail::Parts& parts,
                                  Stack stack,
                                  int64_t sublayer);
  void tell_again(const std::vector<size_t>& told, Role role, Stack stack, int64_t sublayer);
  void tell_bias(const torch::Tensor& tensor, const std::vector<size_t>& matrices);
  std::string name_of(const torch::Tensor& tensor) const;
  void tell_by_type(torch::nn::Module& module, Stack stack);
  void check_layers() const;
  void sort();

  torch::nn::Module& model_;
  std::vector<detail::Describer> describers_;
  detail::Registered registered_;
  std::vector<std::vector<size_t>> told_;  // registered parameter -> its entries in parameters
  std::vector<size_t> parameter_of_;       // entry in parameters -> registered parameter
  Place here_;
  std::vector<Layer> layers_;
  std::unordered_map<const torch::nn::Module*, bool> described_;  // did it tell sub-layers?
  std::unordered_map<const torch::nn::Module*, Stack> stacks_;    // of modules described or walked
  Anatomy anatomy_;  // sorted by `finish`; until then in the order in which it was told
};

}  // namespace evenkeel

#include <evenkeel/anatomy/detail/anatomy_builder_impl.hpp>
#include <evenkeel/anatomy/detail/anatomy_roles_impl.hpp>
#include <evenkeel/anatomy/detail/sublayer_builder_impl.hpp>
