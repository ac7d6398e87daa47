// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/omega.hpp>
#include <evenkeel/kernels/residual_terms.hpp>
#include <evenkeel/residual/any_norm.hpp>
#include <evenkeel/residual/detail/gains.hpp>
#include <evenkeel/residual/detail/has_norms.hpp>
#include <evenkeel/residual/detail/join.hpp>
#include <evenkeel/residual/residual_options.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <memory>
#include <ostream>
#include <type_traits>
#include <utility>
#include <vector>

namespace evenkeel {

/// `AdminResidual<>` owns no branch: it takes the branch's output as a tensor.
struct NoBranch {};
/// `AdminResidual<Branch>` owns the norm that its options name, by default none: y = omega * x +
/// f(x).
struct NoNorm {};

namespace detail {

/// The part that every `AdminResidual` shares: omega, and the norm if there is one.
template <typename Derived, typename Norm>
class AdminResidualBase : public torch::nn::Cloneable<Derived>, public HasNorms {
 public:
  /// y, for a branch output computed elsewhere, such as attention with masks.
  torch::Tensor combine(const torch::Tensor& x, const torch::Tensor& f_x) {
    const double dropout = this->is_training() ? options.dropout() : 0.0;
    const ResidualTerms terms{x, f_x, omega, /*branch=*/{}, /*bias=*/{}, dropout};
    return join_and_notify(*this, options.position(), terms, f_x, norm, /*gain=*/1.0);
  }

  /// Pretty prints the module, e.g. `evenkeel::AdminResidual(num_res_layers=36, ...)`.
  void pretty_print(std::ostream& stream) const override {
    stream << "evenkeel::AdminResidual(num_res_layers=" << options.num_res_layers()
           << ", output_change_scale=" << options.output_change_scale()
           << ", as_parameter=" << std::boolalpha << options.as_parameter()
           << ", embed_dim=" << options.embed_dim() << ")";
  }

  /// The norm of the sum, if there is one.
  std::vector<std::shared_ptr<torch::nn::Module>> norm_modules() const override {
    if (norm.is_empty()) return {};
    return {norm.ptr()};
  }

  AdminResidualOptions options;  ///< The options with which this module was constructed.
  torch::Tensor omega;           ///< The shortcut's gain: a buffer, or a parameter when trained.
  /// The norm of the sum, empty if there is none. An `AnyNorm` unless `Norm` names its type.
  std::conditional_t<std::is_same_v<Norm, NoNorm>, AnyNorm, Norm> norm{nullptr};

 protected:
  static constexpr bool kNamesNorm = !std::is_same_v<Norm, NoNorm>;

  explicit AdminResidualBase(AdminResidualOptions options_) : options(std::move(options_)) {
    options.check("AdminResidual");
    TORCH_CHECK(!options.as_parameter() || options.embed_dim() > 0,
                "AdminResidual: as_parameter needs embed_dim > 0, but got ",
                options.embed_dim());
    TORCH_CHECK(!kNamesNorm || options.norm().is_none(),
                "AdminResidual: expected a norm as the template argument or in the options, but "
                "got both; the options' is ",
                options.norm().name());
    TORCH_CHECK(options.eps() == 0.0 || kNamesNorm || !options.norm().is_none(),
                "AdminResidual: expected a norm that takes the eps, but there is none; write "
                "AdminResidualOptions(...).norm(NormKind::kLayerNorm)");
  }

  /// Registers omega, then the norm, which is made from embed_dim unless one was given.
  void register_omega_and_norm() {
    omega = register_gain(*this, "omega", gain(), options.embed_dim());
    if (norm.is_empty()) make_norm();
    if (!norm.is_empty()) this->register_module("norm", norm.ptr());
  }

  /// Resets omega and the norm to their initial values.
  void reset_omega_and_norm() {
    reset_gain(omega, gain());
    if (!norm.is_empty()) AnyNorm(norm).reset_parameters();
  }

  /// For a member-wise copy, which still shares its norm with the original.
  void clone_norm() {
    if constexpr (kNamesNorm) {
      norm = detail::clone_of(norm);
    } else {
      norm = norm.clone();
    }
  }

 private:
  void make_norm() {
    if (!kNamesNorm && options.norm().is_none()) return;
    TORCH_CHECK(options.embed_dim() > 0,
                "AdminResidual: a norm needs embed_dim > 0, but got ",
                options.embed_dim());
    if constexpr (kNamesNorm) {
      norm = NormType::of<Norm>().make(options.embed_dim(), options.eps()).template as<Norm>();
    } else {
      norm = options.norm().make(options.embed_dim(), options.eps());
    }
  }

  Gain gain() const {
    const double value = omega_init(options.num_res_layers(), options.output_change_scale());
    return options.as_parameter() ? Gain::trained(value, GainShape::kPerChannel)
                                  : Gain::fixed(value);
  }
};

}  // namespace detail

/// A residual branch whose shortcut is scaled so that a deep stack starts out stable:
///
///     y = norm(omega * x + dropout(f(x)))
///
/// The norm is the one that the options name, as in
/// `AdminResidualOptions(36).embed_dim(512).norm(NormKind::kLayerNorm)`, or one of the type `Norm`;
/// by default there is none. It runs in one kernel with sum and dropout; a norm that the caller
/// applies to the result, `norm(residual(x, f_x))`, does not.
///
/// Shapes: x and y are (*, embed_dim); omega is (1), or (embed_dim) when trained. omega is applied
/// in the dtype of x: the output for a bfloat16 input is bfloat16.
/// Registered names: `omega`, `branch`, `norm`; `omega` has the name and shape of
/// microsoft/admin-torch's `OmegaResidual`.
/// Paper: Liu et al. 2020, https://arxiv.org/abs/2004.08249. omega starts at `omega_init()`, as in
/// admin-torch; the paper's profiling pass is not needed.
template <typename Branch = NoBranch, typename Norm = NoNorm>
class AdminResidualImpl : public detail::AdminResidualBase<AdminResidualImpl<Branch, Norm>, Norm> {
  using Base = detail::AdminResidualBase<AdminResidualImpl<Branch, Norm>, Norm>;

 public:
  static_assert(torch::detail::is_module_holder<Branch>::value,
                "AdminResidual<Branch>: pass a module holder, such as torch::nn::Linear (made by "
                "TORCH_MODULE), not its Impl class");

  /// Registers `branch_` as a child; the caller's handle still points to the same module.
  AdminResidualImpl(Branch branch_, const AdminResidualOptions& options_)
      : Base(options_), branch(std::move(branch_)) {
    register_all();
  }

  /// With a norm constructed by the caller.
  AdminResidualImpl(Branch branch_, Norm norm_, const AdminResidualOptions& options_)
      : Base(options_), branch(std::move(branch_)) {
    this->norm = std::move(norm_);
    register_all();
  }

  /// Called by clone() on a member-wise copy, which still shares its children with the original.
  void reset() override {
    branch = detail::clone_of(branch);
    this->clone_norm();
    register_all();
  }

  /// Resets omega to its initial value, and norm and branch if they have `reset_parameters()`.
  void reset_parameters() {
    this->reset_omega_and_norm();
    detail::reset_parameters_of(*branch);
  }

  /// y, for a branch that takes x alone.
  torch::Tensor forward(const torch::Tensor& x) { return this->combine(x, branch->forward(x)); }

  Branch branch;  ///< f

 private:
  void register_all() {
    this->register_omega_and_norm();
    this->register_module("branch", branch);
  }
};

/// Without a branch: y = norm(omega * x + dropout(f_x)) for an f_x computed elsewhere.
template <typename Norm>
class AdminResidualImpl<NoBranch, Norm>
    : public detail::AdminResidualBase<AdminResidualImpl<NoBranch, Norm>, Norm> {
  using Base = detail::AdminResidualBase<AdminResidualImpl<NoBranch, Norm>, Norm>;

 public:
  explicit AdminResidualImpl(const AdminResidualOptions& options_) : Base(options_) {
    this->register_omega_and_norm();
  }

  void reset() override {
    this->clone_norm();
    this->register_omega_and_norm();
  }

  /// Resets omega and norm to their initial values.
  void reset_parameters() { this->reset_omega_and_norm(); }

  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& f_x) {
    return this->combine(x, f_x);
  }
};

/// A `ModuleHolder` for `AdminResidualImpl`: copies of it share one module.
template <typename Branch = NoBranch, typename Norm = NoNorm>
class AdminResidual : public torch::nn::ModuleHolder<AdminResidualImpl<Branch, Norm>> {
 public:
  using torch::nn::ModuleHolder<AdminResidualImpl<Branch, Norm>>::ModuleHolder;
  using Impl = AdminResidualImpl<Branch, Norm>;
};

}  // namespace evenkeel
