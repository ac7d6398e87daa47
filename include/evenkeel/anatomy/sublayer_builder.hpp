// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/sublayer.hpp>
#include <evenkeel/core/enums.hpp>

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace evenkeel {

class AnatomyBuilder;

namespace detail {

/// A number of rows of a tensor, and their role; 0 means all rows.
struct Part {
  Role role;
  int64_t rows = 0;
};
using Parts = std::vector<Part>;

}  // namespace detail

/// Describes the roles of the parameters of one residual sub-layer. Every function takes a tensor,
/// or a module with a `weight` and optionally a `bias`, such as torch::nn::Linear.
class SublayerBuilder {
 public:
  template <typename T>
  SublayerBuilder& query(const T& projection) {
    return attention(projection, {{Role::kQuery}});
  }
  /// Reads the encoder's output in cross-attention, otherwise the residual stream. The same holds
  /// for `value`.
  template <typename T>
  SublayerBuilder& key(const T& projection) {
    return attention(projection, {{Role::kKey}});
  }
  template <typename T>
  SublayerBuilder& value(const T& projection) {
    return attention(projection, {{Role::kValue}});
  }
  /// Query, key and value in one matrix of shape (3 * embed_dim, embed_dim), in that order.
  template <typename T>
  SublayerBuilder& query_key_value(const T& projection);
  /// The same with different numbers of rows, as with grouped key and value heads.
  template <typename T>
  SublayerBuilder& query_key_value(const T& projection,
                                   int64_t query_rows,
                                   int64_t key_rows,
                                   int64_t value_rows);
  /// Key and value in one matrix of shape (2 * embed_dim, embed_dim), in that order.
  template <typename T>
  SublayerBuilder& key_value(const T& projection);
  /// The same with different numbers of rows.
  template <typename T>
  SublayerBuilder& key_value(const T& projection, int64_t key_rows, int64_t value_rows);

  /// A feed-forward's first matrix. A mixture of experts is one sub-layer: call `input` and
  /// `output` for each expert.
  template <typename T>
  SublayerBuilder& input(const T& projection) {
    return feed_forward(projection, {{Role::kFeedForwardIn}});
  }
  /// The gate matrix of a gated feed-forward such as SwiGLU: its activation multiplies the output
  /// of `input`.
  template <typename T>
  SublayerBuilder& gate(const T& projection) {
    return feed_forward(projection, {{Role::kFeedForwardIn}});
  }
  /// Gate and input, in either order, in one matrix of shape (2 * dim_feedforward, embed_dim).
  template <typename T>
  SublayerBuilder& gate_input(const T& projection);
  /// The router of a mixture of experts. It reads the residual stream and is not initialised.
  template <typename T>
  SublayerBuilder& router(const T& projection);

  /// The matrix that writes to the residual stream: the attention's output projection, or the
  /// feed-forward's last matrix if `input` was called before.
  template <typename T>
  SublayerBuilder& output(const T& projection);

  /// The last matrices keep the initial values that the block gives them, whatever the scheme:
  /// `.query(block.q).kept()` where W_Q begins at 0. The same holds for their bias.
  SublayerBuilder& kept();

  /// The bias of the last matrix, if that was given as a tensor. A packed projection takes its bias
  /// row by row. One bias for several separate projections belongs to the last ones whose rows add
  /// up to its size.
  SublayerBuilder& bias(const torch::Tensor& tensor);
  /// A norm, and its place if that is known.
  template <typename T>
  SublayerBuilder& norm(const T& module, std::optional<NormSlot> slot = std::nullopt);
  /// The same for a norm of any type.
  SublayerBuilder& norm(const std::shared_ptr<torch::nn::Module>& module,
                        std::optional<NormSlot> slot = std::nullopt);
  /// A gain, which is a parameter or a buffer of the model, and what it multiplies if that is
  /// known.
  SublayerBuilder& gain(const torch::Tensor& tensor, std::optional<GainSlot> slot = std::nullopt);
  /// A parameter or module that is not to be initialised.
  template <typename T>
  SublayerBuilder& unscaled(const T& module);

 private:
  friend class AnatomyBuilder;
  SublayerBuilder(AnatomyBuilder& anatomy, size_t at, bool kind_told)
      : anatomy_(anatomy), at_(at), kind_told_(kind_told) {}

  Sublayer& sublayer() const;

  template <typename T>
  SublayerBuilder& attention(const T& projection, const detail::Parts& parts) {
    attention_ = true;
    return add(projection, parts);
  }
  template <typename T>
  SublayerBuilder& feed_forward(const T& projection, const detail::Parts& parts) {
    feed_forward_ = true;
    return add(projection, parts);
  }
  template <typename T>
  SublayerBuilder& add(const T& projection, const detail::Parts& parts);
  void settle_kind();
  int64_t equal_rows(const torch::Tensor& matrix,
                     int64_t parts,
                     const char* shape,
                     const char* call) const;
  void check_rows(const torch::Tensor& matrix, const detail::Parts& parts) const;

  AnatomyBuilder& anatomy_;
  size_t at_;  // index in the anatomy's sub-layers
  bool kind_told_;
  bool attention_ = false;
  bool feed_forward_ = false;
  std::vector<size_t> without_bias_;  // matrices, in order of description
  std::vector<size_t> last_;          // what was described last
};

}  // namespace evenkeel
