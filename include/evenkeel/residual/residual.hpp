// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/position.hpp>
#include <evenkeel/kernels/residual_terms.hpp>
#include <evenkeel/residual/any_norm.hpp>
#include <evenkeel/residual/detail/gains.hpp>
#include <evenkeel/residual/detail/has_norms.hpp>
#include <evenkeel/residual/detail/join.hpp>
#include <evenkeel/residual/observer.hpp>
#include <evenkeel/residual/residual_options.hpp>
#include <evenkeel/residual/residual_stream.hpp>
#include <evenkeel/residual/scheme.hpp>
#include <evenkeel/residual/scheme_holder.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/cloneable.h>
#include <torch/types.h>

#include <memory>
#include <ostream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace evenkeel {

/// A residual connection as defined by a scheme:
///
///     y = sum_norm( shortcut * x + branch * dropout( branch_norm( f( input_norm(x) ) ) ) )
///
/// A block that uses it works with every scheme:
///
///     x = residual->apply_branch(x, [&](const auto& h) { return attention(h, mask); });
///
/// It runs as one kernel forward and one pass backward where `fused_residual()` has kernels. A norm
/// at the branch's input is fused too if a `ResidualStream` is passed.
///
/// Shapes: x, f(x) and y are (*, embed_dim). Registered names, each only if the scheme has it:
/// `omega` is the shortcut's gain and `branch_gain` the branch's; `branch_norm` is the branch's
/// norm; `norm` is the norm of the sum. The norm of the input is `input_norm` if there is a norm of
/// the sum too, and `norm` otherwise.
class ResidualImpl : public torch::nn::Cloneable<ResidualImpl>, public detail::HasNorms {
 public:
  ResidualImpl(const Scheme& scheme, ResidualOptions options_)
      : options(std::move(options_)),
        title_(scheme.title),
        norms_(scheme.norms(options.position())),
        shortcut_(scheme.shortcut(options.position())),
        branch_(scheme.branch(options.position())),
        norm_gain_(scheme.norm_gain(options.position())) {
    options.check("Residual");
    TORCH_CHECK(options.embed_dim() > 0,
                "Residual: expected embed_dim > 0, but got ",
                options.embed_dim());
    reset();
  }

  void reset() override {
    omega = detail::register_gain(*this, "omega", shortcut_, options.embed_dim());
    branch_gain = detail::register_gain(*this, "branch_gain", branch_, options.embed_dim());
    input_norm = register_norm(norms_.input, norms_.sum ? "input_norm" : "norm");
    branch_norm = register_norm(norms_.branch, "branch_norm");
    sum_norm = register_norm(norms_.sum, "norm");
  }

  /// Puts gains and norms back to their initial values.
  void reset_parameters() {
    detail::reset_gain(omega, shortcut_);
    detail::reset_gain(branch_gain, branch_);
    for (const auto* norm : {&input_norm, &branch_norm, &sum_norm}) {
      if (!norm->is_empty()) norm->reset_parameters();
    }
  }

  /// The branch's input: input_norm(x), or x if there is no such norm.
  torch::Tensor branch_input(const torch::Tensor& x) {
    return input_norm.is_empty() ? x : detail::normed(x, input_norm, norm_gain_);
  }

  /// y, for the branch's output `f_x` = f(branch_input(x)).
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& f_x) {
    return detail::join_and_notify(*this,
                                   options.position(),
                                   terms(x, f_x),
                                   f_x,
                                   sum_norm,
                                   norm_gain_);
  }

  /// y, for a branch that is any callable from tensor to tensor; it is called with branch_input(x).
  template <typename Branch>
  torch::Tensor apply_branch(const torch::Tensor& x, Branch&& branch) {
    return forward(x, std::forward<Branch>(branch)(branch_input(x)));
  }

  /// The same for one of several residuals in a row: with norms at the branch's input, y is
  /// computed in one kernel with the norm of the next sub-layer.
  template <typename Branch>
  ResidualStream apply_branch(ResidualStream stream, Branch&& branch) {
    const auto h = input_norm.is_empty() ? stream.sum() : stream.normed(input_norm, norm_gain_);
    const auto f_x = std::forward<Branch>(branch)(h);
    if (!sum_norm.is_empty() || Observer::any()) return forward(stream.sum(), f_x);
    return ResidualStream(terms(stream.sum(), f_x));
  }

  /// The norms that the scheme has at this position.
  std::vector<std::shared_ptr<torch::nn::Module>> norm_modules() const override {
    std::vector<std::shared_ptr<torch::nn::Module>> modules;
    for (const auto* norm : {&input_norm, &branch_norm, &sum_norm}) {
      if (!norm->is_empty()) modules.push_back(norm->ptr());
    }
    return modules;
  }

  const Norms& norms() const { return norms_; }  ///< The scheme's norm placement at this position.
  double norm_gain() const { return norm_gain_; }             ///< Factor on every norm's output.
  const std::string& scheme_title() const { return title_; }  ///< e.g. `Admin O(1)`

  /// Pretty prints the module, e.g. `evenkeel::Residual<Admin O(logn)>(num_res_layers=36, ...)`.
  void pretty_print(std::ostream& stream) const override {
    stream << "evenkeel::Residual<" << title_
           << ">(num_res_layers=" << options.position().num_res_layers
           << ", embed_dim=" << options.embed_dim() << ", norms=" << to_string(norms_)
           << ", dropout=" << options.dropout() << ")";
  }

  ResidualOptions options;    ///< The options with which this module was constructed.
  torch::Tensor omega;        ///< The shortcut's gain; undefined if it is 1.
  torch::Tensor branch_gain;  ///< The branch's gain; undefined if it is 1.
  AnyNorm input_norm;         ///< Each norm is empty if the scheme does not have it.
  AnyNorm branch_norm;
  AnyNorm sum_norm;

 private:
  AnyNorm register_norm(bool is_there, const char* name) {
    AnyNorm norm;
    if (is_there) norm = options.norm().make(options.embed_dim(), options.eps());
    if (!norm.is_empty()) register_module(name, norm.ptr());
    return norm;
  }

  ResidualTerms terms(const torch::Tensor& x, const torch::Tensor& f_x) const {
    const double dropout = is_training() ? options.dropout() : 0.0;
    const auto f = branch_norm.is_empty() ? f_x : detail::normed(f_x, branch_norm, norm_gain_);
    return {x, f, omega, branch_gain, /*bias=*/{}, dropout};
  }

  std::string title_;
  Norms norms_;
  Gain shortcut_;
  Gain branch_;
  double norm_gain_;
};

/// A holder of `ResidualImpl`; see `SchemeHolder`. `Residual<Admin, MyNorm>` uses a user-defined
/// norm.
template <typename S = Scheme, typename Norm = void>
class Residual : public SchemeHolder<ResidualImpl, ResidualOptions, S> {
  using Base = SchemeHolder<ResidualImpl, ResidualOptions, S>;

 public:
  using Base::Base;
  explicit Residual(const ResidualOptions& options) : Base(with_norm(options)) {}
  Residual(const Scheme& scheme, const ResidualOptions& options)
      : Base(scheme, with_norm(options)) {}

 private:
  static ResidualOptions with_norm(ResidualOptions options) {
    if constexpr (!std::is_void_v<Norm>) options.norm(NormType::of<Norm>());
    return options;
  }
};

}  // namespace evenkeel
