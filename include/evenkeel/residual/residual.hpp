// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/position.hpp>
#include <evenkeel/kernels/residual_terms.hpp>
#include <evenkeel/residual/detail/gains.hpp>
#include <evenkeel/residual/detail/join.hpp>
#include <evenkeel/residual/detail/make_norm.hpp>
#include <evenkeel/residual/residual_stream.hpp>
#include <evenkeel/residual/scheme.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
#include <ostream>
#include <utility>

namespace evenkeel {

/// Options for `Residual`, e.g. `ResidualOptions(Position::of(36), 512).dropout(0.1)`.
struct ResidualOptions {
  ResidualOptions(const Position& position, int64_t embed_dim)
      : position_(position), embed_dim_(embed_dim) {}

  /// Which sub-layer of how many.
  TORCH_ARG(Position, position);
  /// Size of the last dimension of the input.
  TORCH_ARG(int64_t, embed_dim);
  /// Probability with which an element of the branch's output is dropped while training. Default: 0
  TORCH_ARG(double, dropout) = 0.0;
};

/// One residual connection as its scheme wants it:
///
///     y = outer_norm( shortcut * x + branch * dropout( f( inner_norm(x) ) ) )
///
/// A block is written once and takes the scheme as a template argument:
///
///     x = attention_residual->around(x, [&](const auto& h) { return attention(h, mask); });
///
/// It is one kernel forward and one pass backward where `fused_residual()` has kernels; with a norm
/// before the branch, for a `ResidualStream`.
///
/// Shapes: x, f(x) and y are (*, embed_dim). Registered names: `omega` is the shortcut's gain,
/// `branch_gain` the branch's, `norm` the norm; each only where the scheme has one.
template <typename Scheme, typename Norm = torch::nn::LayerNorm>
class ResidualImpl : public torch::nn::Cloneable<ResidualImpl<Scheme, Norm>> {
 public:
  explicit ResidualImpl(const ResidualOptions& options_) : options(options_) {
    TORCH_CHECK(options.embed_dim() > 0,
                "Residual: expected embed_dim > 0, but got ",
                options.embed_dim());
    TORCH_CHECK(options.dropout() >= 0.0 && options.dropout() < 1.0,
                "Residual: expected dropout in [0, 1), but got ",
                options.dropout());
    reset();
  }

  void reset() override {
    omega = detail::register_gain(*this,
                                  "omega",
                                  scheme::shortcut<Scheme>(options.position()),
                                  options.embed_dim());
    branch_gain = detail::register_gain(*this,
                                        "branch_gain",
                                        scheme::branch<Scheme>(options.position()),
                                        options.embed_dim());
    if constexpr (kNorm != NormPlacement::kNone) {
      norm = this->register_module("norm", detail::make_norm<Norm>(options.embed_dim()));
    }
  }

  /// What the branch reads: inner_norm(x), or x.
  torch::Tensor branch_input(const torch::Tensor& x) {
    if constexpr (kNorm == NormPlacement::kBeforeBranch) {
      return norm(x);
    } else {
      return x;
    }
  }

  /// y, for the branch's output `f_x` = f(branch_input(x)).
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& f_x) {
    if constexpr (kNorm == NormPlacement::kAfterSum) {
      return detail::join(terms(x, f_x), norm, /*want_sum=*/false).y;
    } else {
      return detail::join(terms(x, f_x));
    }
  }

  /// y around a branch that is any callable from tensor to tensor.
  template <typename Branch>
  torch::Tensor around(const torch::Tensor& x, Branch&& branch) {
    return forward(x, std::forward<Branch>(branch)(branch_input(x)));
  }

  /// The same for one of many residuals in a row: with a norm before the branch, y is made together
  /// with the norm that reads it.
  template <typename Branch>
  ResidualStream around(ResidualStream stream, Branch&& branch) {
    if constexpr (kNorm == NormPlacement::kBeforeBranch) {
      const auto h = stream.normed(norm);
      return ResidualStream(terms(stream.sum(), std::forward<Branch>(branch)(h)));
    } else {
      return around(stream.sum(), std::forward<Branch>(branch));
    }
  }

  /// Pretty prints the module, e.g. `evenkeel::Residual<Admin O(logn)>(num_res_layers=36, ...)`.
  void pretty_print(std::ostream& stream) const override {
    stream << "evenkeel::Residual<" << scheme::name<Scheme>()
           << ">(num_res_layers=" << options.position().num_res_layers
           << ", embed_dim=" << options.embed_dim() << ", norm=" << kNorm
           << ", dropout=" << options.dropout() << ")";
  }

  ResidualOptions options;    ///< The options with which this module was constructed.
  torch::Tensor omega;        ///< The shortcut's gain; undefined where it is 1.
  torch::Tensor branch_gain;  ///< The branch's gain; undefined where it is 1.
  Norm norm{nullptr};         ///< The norm; empty where there is none.

 private:
  static constexpr NormPlacement kNorm = scheme::norm_placement<Scheme>();

  ResidualTerms terms(const torch::Tensor& x, const torch::Tensor& f_x) const {
    const double dropout = this->is_training() ? options.dropout() : 0.0;
    return {x, f_x, omega, branch_gain, /*bias=*/{}, dropout};
  }
};

/// A `ModuleHolder` for `ResidualImpl`: copies of it share one module.
template <typename Scheme, typename Norm = torch::nn::LayerNorm>
class Residual : public torch::nn::ModuleHolder<ResidualImpl<Scheme, Norm>> {
 public:
  using torch::nn::ModuleHolder<ResidualImpl<Scheme, Norm>>::ModuleHolder;
  using Impl = ResidualImpl<Scheme, Norm>;
};

}  // namespace evenkeel
