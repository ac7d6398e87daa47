// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/position.hpp>
#include <evenkeel/kernels/residual_terms.hpp>
#include <evenkeel/residual/any_norm.hpp>
#include <evenkeel/residual/detail/gains.hpp>
#include <evenkeel/residual/detail/has_norms.hpp>
#include <evenkeel/residual/detail/join.hpp>
#include <evenkeel/residual/detail/register_norm.hpp>
#include <evenkeel/residual/observer.hpp>
#include <evenkeel/residual/residual_options.hpp>
#include <evenkeel/residual/residual_stream.hpp>
#include <evenkeel/residual/scheme.hpp>
#include <evenkeel/residual/scheme_holder.hpp>
#include <evenkeel/residual/stream_kind.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/nn/cloneable.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <array>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace evenkeel {

/// A residual connection as defined by a scheme:
///
///     x = stream_norm(x)
///     y = sum_norm( shortcut * x + branch * dropout( branch_norm( f( input_norm(x) ) ) ) )
///
/// A block that uses it works with every scheme:
///
///     ResidualStream stream = x;
///     stream = residual->apply_branch(stream, [&](const auto& h) { return attention(h, mask); });
///
/// A tensor instead of the stream does for every scheme without a second one, see `StreamKind`.
/// `StackEnd` ends a stack of blocks. It runs as one kernel forward and one pass backward where
/// `fused_residual()` has kernels. A norm at the branch's input is fused too if a `ResidualStream`
/// is passed.
///
/// Shapes: x, f(x) and y are (*, embed_dim). Registered names, each only if the scheme has it:
/// `omega` is the shortcut's gain and `branch_gain` the branch's; `stream_norm`, `second_norm`,
/// `input_norm` and `branch_norm` are the norms of these places; `norm` is the norm of the sum, or,
/// without one, that of the input, or else that of the stream.
class ResidualImpl : public torch::nn::Cloneable<ResidualImpl>, public detail::HasNorms {
 public:
  ResidualImpl(const Scheme& scheme, ResidualOptions options_)
      : options(std::move(options_)),
        title_(scheme.title),
        stream_(scheme.stream),
        norms_(scheme.norms(options.position())),
        shortcut_(scheme.shortcut(options.position())),
        branch_(scheme.branch(options.position())),
        norm_gain_(scheme.norm_gain(options.position())) {
    options.check("Residual");
    TORCH_CHECK(
        branch_.kind != Gain::Kind::kZero,
        "Residual: expected a branch whose gain is not Gain::zero(), which is a shortcut's");
    TORCH_CHECK(options.embed_dim() > 0,
                "Residual: expected embed_dim > 0, but got ",
                options.embed_dim());
    if (stream_ == StreamKind::kLayerInput) {
      const auto& position = options.position();
      first_in_layer_ = position.sublayer == 0;
      last_in_layer_ = position.sublayer + 1 == position.num_sublayers;
    }
    if (branch_.shared) owner_.residual = options.shares_gain_of();
    options.shares_gain_of(nullptr);
    reset();
  }

  void reset() override {
    omega = detail::register_gain(*this, "omega", shortcut_, options.embed_dim());
    if (owner_.residual == nullptr) {
      branch_gain = detail::register_gain(*this, "branch_gain", branch_, options.embed_dim());
    }
    const bool sum = norms_.sum;
    stream_norm = detail::register_norm(*this,
                                        options,
                                        norms_.stream,
                                        sum || norms_.input ? "stream_norm" : "norm");
    second_norm = detail::register_norm(*this, options, norms_.second, "second_norm");
    input_norm = detail::register_norm(*this, options, norms_.input, sum ? "input_norm" : "norm");
    branch_norm = detail::register_norm(*this, options, norms_.branch, "branch_norm");
    sum_norm = detail::register_norm(*this, options, sum, "norm");
  }

  /// Puts gains and norms back to their initial values.
  void reset_parameters() {
    detail::reset_gain(omega, shortcut_);
    detail::reset_gain(branch_gain, branch_);
    for (const auto* norm : norms_in_order()) {
      if (!norm->is_empty()) norm->reset_parameters();
    }
  }

  /// The branch's gain, which may be that of the first residual of the layer; undefined if it is 1.
  const torch::Tensor& gain_of_branch() const {
    return owner_.residual != nullptr ? owner_.residual->branch_gain : branch_gain;
  }

  /// The residual whose gain this one uses, and which has it as a parameter; null if it is its own.
  /// The clone of a residual uses that of the original.
  const std::shared_ptr<ResidualImpl>& gain_owner() const { return owner_.residual; }

  /// Uses the gain of another residual. Throws if this one has its own.
  void share_gain_of(const std::shared_ptr<ResidualImpl>& first) {
    TORCH_CHECK(owner_.residual != nullptr,
                "Residual<",
                title_,
                ">: expected a residual that was constructed with shares_gain_of, but this one has "
                "a gain of its own");
    owner_.residual = first;
  }

  /// Sets gains that follow the training step to their values for the update `step`, from 1.
  /// Returns whether there is one that still changes.
  bool set_training_step(int64_t step) {
    const torch::NoGradGuard no_grad;
    bool changes = false;
    const auto set = [&](torch::Tensor& tensor, const Gain& gain) {
      if (gain.kind != Gain::Kind::kRamp) return;
      tensor.fill_(gain.value_at(step));
      changes = changes || step < gain.ramp_steps;
    };
    set(omega, shortcut_);
    if (owner_.residual == nullptr) set(branch_gain, branch_);
    return changes;
  }

  /// The branch's input: input_norm(stream_norm(x)), or x if there are no such norms.
  torch::Tensor branch_input(const torch::Tensor& x) {
    return normed_if(normed_if(x, stream_norm), input_norm);
  }

  /// y, for the branch's output `f_x` = f(branch_input(x)). Throws if the scheme has two streams.
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& f_x) {
    check_one_stream();
    return join(normed_if(x, stream_norm), f_x);
  }

  /// y, for a branch that is any callable from tensor to tensor; it is called with branch_input(x).
  /// Throws if the scheme has two streams.
  template <typename Branch>
  torch::Tensor apply_branch(const torch::Tensor& x, Branch&& branch) {
    check_one_stream();
    const auto n = normed_if(x, stream_norm);
    return join(n, std::forward<Branch>(branch)(normed_if(n, input_norm)));
  }

  /// The same for one of several residuals in a row: with norms at the branch's input, y is
  /// computed in one kernel with the norm of the next sub-layer.
  template <typename Branch>
  ResidualStream apply_branch(ResidualStream stream, Branch&& branch) {
    if (stream_ != StreamKind::kPlain) {
      const auto both = enter(std::move(stream));
      return leave(both, std::forward<Branch>(branch)(both.h));
    }
    if (!stream_norm.is_empty()) stream = stream.normed(stream_norm, norm_gain_);
    const auto h = input_norm.is_empty() ? stream.sum() : stream.normed(input_norm, norm_gain_);
    const auto f_x = std::forward<Branch>(branch)(h);
    if (!sum_norm.is_empty() || Observer::any()) return join(stream.sum(), f_x);
    return ResidualStream(terms(stream.sum(), f_x));
  }

  /// The norms that the scheme has at this position.
  std::vector<std::shared_ptr<torch::nn::Module>> norm_modules() const override {
    std::vector<std::shared_ptr<torch::nn::Module>> modules;
    for (const auto* norm : norms_in_order()) {
      if (!norm->is_empty()) modules.push_back(norm->ptr());
    }
    return modules;
  }

  const Norms& norms() const { return norms_; }  ///< The scheme's norm placement at this position.
  bool has_shortcut() const { return shortcut_.kind != Gain::Kind::kZero; }
  double norm_gain() const { return norm_gain_; }             ///< Factor on every norm's output.
  StreamKind stream_kind() const { return stream_; }          ///< The scheme's.
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
  torch::Tensor branch_gain;  ///< The branch's gain; undefined if it is 1 or another residual's.
  AnyNorm stream_norm;        ///< Each norm is empty if the scheme does not have it.
  AnyNorm second_norm;
  AnyNorm input_norm;
  AnyNorm branch_norm;
  AnyNorm sum_norm;

 private:
  // Cloneable assigns the clone of a child to the child that `reset` has made, which knows better
  // whose gain it uses.
  struct Owner {
    Owner() = default;
    Owner(const Owner&) = default;
    Owner& operator=(const Owner& other) {
      if (this != &other && residual == nullptr) residual = other.residual;
      return *this;
    }
    std::shared_ptr<ResidualImpl> residual;
  };

  /// Both streams, and the branch's input.
  struct TwoStreams {
    torch::Tensor x;
    torch::Tensor second;
    torch::Tensor h;
  };

  std::array<const AnyNorm*, 5> norms_in_order() const {
    return {&stream_norm, &second_norm, &input_norm, &branch_norm, &sum_norm};
  }

  void check_one_stream() const {
    TORCH_CHECK(stream_ == StreamKind::kPlain,
                "Residual<",
                title_,
                ">: expected a ResidualStream, as the scheme has two streams, but got a tensor; "
                "write ResidualStream stream = x; stream = residual->apply_branch(stream, branch); "
                "and end the stack with StackEnd");
  }

  torch::Tensor normed_if(const torch::Tensor& x, const AnyNorm& norm) const {
    return norm.is_empty() ? x : detail::normed(x, norm, norm_gain_);
  }

  torch::Tensor join(const torch::Tensor& x, const torch::Tensor& f_x) {
    return detail::join_and_notify(*this,
                                   options.position(),
                                   terms(x, f_x),
                                   f_x,
                                   sum_norm,
                                   norm_gain_);
  }

  TwoStreams enter(ResidualStream stream) {
    TwoStreams both{stream.sum(), stream.second(), {}};
    if (first_in_layer_) both.second = both.x;
    both.x = normed_if(both.x, stream_norm);
    const auto h =
        stream_ == StreamKind::kSiamese ? both.x + normed_if(both.second, second_norm) : both.x;
    both.h = normed_if(h, input_norm);
    return both;
  }

  ResidualStream leave(const TwoStreams& both, const torch::Tensor& f_x) {
    if (stream_ == StreamKind::kLayerInput) {
      return {join(last_in_layer_ ? both.x + both.second : both.x, f_x), both.second};
    }
    auto in_both = terms(both.x, f_x);  // one dropout mask for both streams
    if (in_both.dropout > 0.0) in_both.f_x = torch::dropout(in_both.f_x, in_both.dropout, true);
    in_both.dropout = 0.0;
    auto y = detail::join_and_notify(*this, options.position(), in_both, f_x, sum_norm, norm_gain_);
    return {std::move(y), both.second + in_both.f_x};
  }

  ResidualTerms terms(const torch::Tensor& x, const torch::Tensor& f_x) const {
    const double dropout = is_training() ? options.dropout() : 0.0;
    const auto normed = normed_if(f_x, branch_norm);
    return {x, normed, omega, gain_of_branch(), /*bias=*/{}, dropout, has_shortcut()};
  }

  std::string title_;
  StreamKind stream_;
  Norms norms_;
  Gain shortcut_;
  Gain branch_;
  double norm_gain_;
  Owner owner_;
  bool first_in_layer_ = false;
  bool last_in_layer_ = false;
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
