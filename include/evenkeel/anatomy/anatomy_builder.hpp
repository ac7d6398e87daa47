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

/// Describes the roles of a block's parameters. Specialise it for your own module holder:
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
/// Embeddings, norms and gains need no description if they are known: a torch::nn::Embedding,
/// torch::nn's and evenkeel's norms, a module that derives from `NormModule`, the norms and gains
/// of `Residual` and `AdminResidual`, and parameters called `omega` or `branch_gain`. An Embedding
/// whose registered name has a word such as `position`, `pos` or `wpe` is taken for a table of
/// positions.
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

/// Describes `module` and returns true if it is of a certain type of block; otherwise returns
/// false.
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

/// Builds an `Anatomy`. A model describes itself in its `AnatomyOf`:
///
///     anatomy.embedding(model.tokens).encoder(model.encoder_blocks).decoder(model.decoder_blocks);
class AnatomyBuilder {
 public:
  AnatomyBuilder(torch::nn::Module& model, Stack stack, std::vector<detail::Describer> describers);

  /// Opens the next residual sub-layer of the stack that is being described. Its kind follows from
  /// its matrices: self-attention from `query`, `key` or `value`, feed-forward from `input`.
  SublayerBuilder sublayer(const std::string& name);
  /// The same with a kind that does not follow from them, such as `SublayerKind::kCrossAttention`.
  SublayerBuilder sublayer(const std::string& name, SublayerKind kind);
  /// Starts a new layer for the sub-layers that are described next. A block is one layer without
  /// this call. Use it for a module that holds several layers, or one whose parts are blocks
  /// themselves.
  AnatomyBuilder& layer();

  /// An embedding of the given stack's tokens; describe it once if both stacks share it.
  template <typename T>
  AnatomyBuilder& embedding(const T& module, Stack stack) {
    return add(module, Role::kEmbedding, stack);
  }
  /// An embedding of the stack that is being described, or one that both stacks share.
  template <typename T>
  AnatomyBuilder& embedding(const T& module) {
    return embedding(module, here_.stack);
  }
  /// A learned table of positions: a torch::nn::Embedding, or a tensor (*, embed_dim).
  template <typename T>
  AnatomyBuilder& positions(const T& module) {
    return add(module, Role::kPosition, here_.stack);
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
  /// The projection to the vocabulary, if it is not tied to the embedding.
  template <typename T>
  AnatomyBuilder& head(const T& module) {
    return add(module, Role::kHead, here_.stack);
  }
  /// A gain, norm or bias outside all sub-layers that is not recognised by its type or name.
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
  /// A parameter or module that is not to be initialised.
  template <typename T>
  AnatomyBuilder& unscaled(const T& module) {
    return add(module, Role::kUnscaled, here_.stack);
  }
  /// A part that has its own `AnatomyOf`; without one, the same as `walk`.
  template <typename Block>
  AnatomyBuilder& describe(Block& block);
  /// A module of any type: described by the `AnatomyOf` of its type if there is one, otherwise by
  /// its children in order of registration.
  AnatomyBuilder& walk(torch::nn::Module& module);

  /// Returns the anatomy. Throws if any parameters have no role, and names them.
  Anatomy finish();

 private:
  friend class SublayerBuilder;

  /// The stack, layer and block that are being described.
  struct Place {
    Stack stack = Stack::kEncoder;
    bool in_layer = false;
    torch::nn::Module* block = nullptr;
  };
  /// A layer, and its block, unless `layer()` started it.
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
  /// Adds the roles of a module or tensor; returns the entries of its weight, and of a bias that
  /// has the same role.
  template <typename T>
  std::vector<size_t> tell(const T& module,
                           const detail::Parts& parts,
                           Stack stack,
                           int64_t sublayer);
  std::vector<size_t> tell_tensor(const torch::Tensor& tensor,
                                  const detail::Parts& parts,
                                  Stack stack,
                                  int64_t sublayer);
  std::vector<std::string> norm_names() const;
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
  std::unordered_map<const torch::nn::Module*, bool> described_;  // whether it has sub-layers
  std::unordered_map<const torch::nn::Module*, Stack> stacks_;    // of modules described or walked
  Anatomy anatomy_;  // sorted by `finish`; until then in order of description
};

}  // namespace evenkeel

#include <evenkeel/anatomy/detail/anatomy_builder_impl.hpp>
#include <evenkeel/anatomy/detail/anatomy_roles_impl.hpp>
#include <evenkeel/anatomy/detail/sublayer_builder_impl.hpp>
