// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy.hpp>
#include <evenkeel/anatomy/detail/contained.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
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

/// Tells the roles of the parameters of one residual sub-layer. Every call takes a module with a
/// `weight` and perhaps a `bias`, such as torch::nn::Linear, or a tensor.
class SublayerBuilder {
 public:
  template <typename T>
  SublayerBuilder& query(const T& projection) {
    return add(projection, Role::kQuery);
  }
  template <typename T>
  SublayerBuilder& key(const T& projection) {
    return add(projection, Role::kKey);
  }
  template <typename T>
  SublayerBuilder& value(const T& projection) {
    return add(projection, Role::kValue);
  }
  /// Query, key and value in one matrix of shape (3 * embed_dim, embed_dim), in that order.
  template <typename T>
  SublayerBuilder& query_key_value(const T& projection) {
    return add(projection, Role::kQuery, /*packed=*/true);
  }
  /// The feed-forward's first matrix.
  template <typename T>
  SublayerBuilder& input(const T& projection) {
    feed_forward_ = true;
    return add(projection, Role::kFeedForwardIn);
  }
  /// What writes to the residual stream: the attention's output projection, or the feed-forward's
  /// last matrix where `input` was told before.
  template <typename T>
  SublayerBuilder& output(const T& projection) {
    return add(projection, feed_forward_ ? Role::kFeedForwardOut : Role::kAttentionOutput);
  }

 private:
  friend class AnatomyBuilder;
  SublayerBuilder(AnatomyBuilder& anatomy, Stack stack, int64_t index)
      : anatomy_(anatomy), stack_(stack), index_(index) {}

  template <typename T>
  SublayerBuilder& add(const T& projection, Role role, bool packed = false);

  AnatomyBuilder& anatomy_;
  Stack stack_;
  int64_t index_;
  bool feed_forward_ = false;
};

/// Collects an `Anatomy`. What a model tells of itself, in its `AnatomyOf`:
///
///     anatomy.embedding(model.tokens).encoder(model.encoder_blocks).decoder(model.decoder_blocks);
class AnatomyBuilder {
 public:
  AnatomyBuilder(torch::nn::Module& model, Stack stack, std::vector<detail::Describer> describers);

  /// Opens the next residual sub-layer of the stack that is being described.
  SublayerBuilder sublayer(const std::string& name);

  /// An embedding of the given stack's tokens; told once where both stacks share it.
  template <typename T>
  AnatomyBuilder& embedding(const T& module, Stack stack) {
    return add(module, Role::kEmbedding, stack, -1);
  }
  /// An embedding of the stack that is being described, or one that both stacks share.
  template <typename T>
  AnatomyBuilder& embedding(const T& module) {
    return embedding(module, stack_);
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
    return add(module, Role::kHead, stack_, -1);
  }
  /// A gain, norm or bias that neither its type nor its name tells.
  AnatomyBuilder& gain(const torch::Tensor& tensor) { return add(tensor, Role::kGain, stack_, -1); }
  template <typename T>
  AnatomyBuilder& norm(const T& module) {
    return add(module, Role::kNorm, stack_, -1);
  }
  template <typename T>
  AnatomyBuilder& bias(const T& module) {
    return add(module, Role::kBias, stack_, -1);
  }
  /// What no init shall touch.
  template <typename T>
  AnatomyBuilder& unscaled(const T& module) {
    return add(module, Role::kUnscaled, stack_, -1);
  }
  /// A module of any type: described if its type is, else its children in order of registration.
  AnatomyBuilder& walk(torch::nn::Module& module);

  /// The finished anatomy. Throws, naming them, if parameters are left without a role.
  Anatomy finish();

 private:
  friend class SublayerBuilder;

  template <typename Blocks>
  AnatomyBuilder& stack(Blocks& blocks, Stack stack);
  template <typename Block>
  void walk_block(Block& block);
  template <typename Describe>
  void in_block(Describe&& describe);
  template <typename T>
  AnatomyBuilder& add(
      const T& module, Role role, Stack stack, int64_t sublayer, bool packed = false);
  void add_tensor(
      const torch::Tensor& tensor, Role role, Stack stack, int64_t sublayer, bool packed);
  void add_by_type();
  std::string unassigned() const;

  int64_t& layers(Stack stack) {
    return stack == Stack::kEncoder ? anatomy_.encoder_layers : anatomy_.decoder_layers;
  }

  torch::nn::Module& model_;
  Stack stack_;
  bool in_layer_ = false;  // inside a block that has told a sub-layer
  std::vector<detail::Describer> describers_;
  std::vector<std::string> order_;                                     // parameters by registration
  std::unordered_map<const void*, std::string> names_;                 // TensorImpl -> name
  std::unordered_map<const void*, std::vector<ParameterRole>> roles_;  // TensorImpl -> roles
  Anatomy anatomy_;
};

}  // namespace evenkeel

#include <evenkeel/anatomy/detail/anatomy_builder_impl.hpp>
