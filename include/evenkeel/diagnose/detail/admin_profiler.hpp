// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/diagnose/admin_profile.hpp>
#include <evenkeel/diagnose/detail/restore_guard.hpp>
#include <evenkeel/residual/observer.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// The variance of all elements, in float32 or wider.
inline double variance_of(const torch::Tensor& tensor) {
  const bool is_double = tensor.scalar_type() == torch::kFloat64;
  const auto values = tensor.detach().to(is_double ? torch::kFloat64 : torch::kFloat32);
  return values.var(/*unbiased=*/false).item<double>();
}

/// Var[dropout(f)] over masks: a mask keeps E[f] and divides E[f^2] by 1 - p.
inline double dropped_variance(const torch::Tensor& f, double dropout) {
  const auto mean = f.detach().mean(torch::kFloat64).item<double>();
  return (variance_of(f) + mean * mean * dropout) / (1.0 - dropout);
}

/// The registered omega of a residual; undefined if it has none.
inline torch::Tensor omega_of(const torch::nn::Module& residual) {
  for (const auto& tensors :
       {residual.named_parameters(/*recurse=*/false), residual.named_buffers(/*recurse=*/false)}) {
    if (const auto* omega = tensors.find("omega")) return *omega;
  }
  return {};
}

/// The registered names of the modules of a model.
inline std::unordered_map<const torch::nn::Module*, std::string> names_in(
    const torch::nn::Module& model) {
  std::unordered_map<const torch::nn::Module*, std::string> names;
  for (const auto& item : model.named_modules(/*name_prefix=*/"", /*include_self=*/false)) {
    names.emplace(item.value().get(), item.key());
  }
  return names;
}

/// The registered name of a module, or its type if it is none of these.
inline std::string name_in(const std::unordered_map<const torch::nn::Module*, std::string>& names,
                           const torch::nn::Module& module) {
  const auto found = names.find(&module);
  return found != names.end() ? found->second : module.name();
}

/// Sets the omegas of a model during one forward pass, each just before its residual reads it.
class AdminProfiler {
 public:
  /// Measures omegas, or takes them from `given`. `caller` is the prefix of errors.
  AdminProfiler(const char* caller, const torch::nn::Module& model, const AdminProfile* given)
      : caller_(caller), model_(model), given_(given) {}

  void operator()(const BranchEvent& event) {
    const auto omega = omega_of(event.residual);
    TORCH_CHECK(omega.defined(),
                caller_,
                ": expected residuals with an omega, as AdminResidual and Residual of "
                "an Admin scheme have, but ",
                name_in(names_in(model_), event.residual),
                " has none");
    for (const auto& [tensor, value] : omegas_) {
      TORCH_CHECK(!tensor.is_same(omega),
                  caller_,
                  ": expected every residual to run once, but ",
                  name_in(names_in(model_), event.residual),
                  " ran twice");
    }
    auto& stack = stack_of(event.position);
    const auto i = stack.ran++;
    if (i >= stack.num_res_layers) return;  // finish() says how many ran
    const double value = given_ != nullptr ? given_omega(stack, i) : stack.next;
    omega.fill_(value);
    omegas_.emplace_back(omega, value);
    stack.omegas.push_back(value);
    if (given_ != nullptr) return;
    const double of_shortcut = value * value * variance_of(event.input);
    const double of_branch = dropped_variance(event.branch, event.dropout);
    TORCH_CHECK(std::isfinite(of_shortcut) && std::isfinite(of_branch),
                caller_,
                ": expected finite variances, but got ",
                of_shortcut,
                " of the shortcut and ",
                of_branch,
                " of the branch of ",
                name_in(names_in(model_), event.residual));
    stack.next = std::sqrt(of_shortcut + of_branch);
  }

  /// After the forward pass. Throws if a stack did not run as a whole.
  AdminProfile finish() const {
    TORCH_CHECK(!stacks_.empty(),
                caller_,
                ": expected residual sub-layers, AdminResidual or Residual, but none "
                "ran in the forward pass of ",
                model_.name());
    TORCH_CHECK(stacks_.size() <= 2,
                caller_,
                ": expected one or two stacks, encoder and decoder, but got ",
                stacks_.size());
    for (const auto& stack : stacks_) {
      TORCH_CHECK(stack.ran == stack.num_res_layers,
                  caller_,
                  ": expected ",
                  stack.num_res_layers,
                  " residual sub-layers in a stack, the num_res_layers of each of them, but ",
                  stack.ran,
                  " ran",
                  stack.ran == 2 * stack.num_res_layers ? kTwoStacks : "");
    }
    AdminProfile profile;
    profile.encoder = stacks_.front().omegas;
    if (stacks_.size() == 2) profile.decoder = stacks_.back().omegas;
    return profile;
  }

  /// Writes the omegas, which were restored with the rest of the model.
  void set_omegas() const {
    const torch::NoGradGuard no_grad;
    for (const auto& [omega, value] : omegas_) omega.fill_(value);
  }

 private:
  struct RunningStack {
    Stack stack;
    int64_t num_res_layers;
    int64_t ran;  ///< Sub-layers so far.
    double next;  ///< The omega of the next sub-layer.
    std::vector<double> omegas;
  };

  RunningStack& stack_of(const Position& position) {
    const auto found = std::find_if(stacks_.begin(), stacks_.end(), [&](const RunningStack& stack) {
      return stack.stack == position.stack && stack.num_res_layers == position.num_res_layers;
    });
    if (found != stacks_.end()) return *found;
    stacks_.push_back({position.stack, position.num_res_layers, 0, 1.0, {}});
    return stacks_.back();
  }

  double given_omega(const RunningStack& stack, int64_t index) const {
    Position position = Position::of(stack.num_res_layers);
    position.stack = &stack == &stacks_.front() ? Stack::kEncoder : Stack::kDecoder;
    position.index = index;
    return given_->omega(position);
  }

  static constexpr auto kTwoStacks =
      "; if they are an encoder and a decoder with equally many sub-layers, give positions to "
      "their "
      "residuals, Position::encoder(num_layers, layer, sublayer) and Position::decoder(...)";

  const char* caller_;
  const torch::nn::Module& model_;
  const AdminProfile* given_;
  std::vector<RunningStack> stacks_;
  std::vector<std::pair<torch::Tensor, double>> omegas_;
};

inline AdminProfile run_profiler(const char* caller,
                                 torch::nn::Module& model,
                                 const std::function<void()>& forward,
                                 const AdminProfile* given) {
  AdminProfiler profiler(caller, model, given);
  RestoreGuard guard(model, caller);
  model.train();
  {
    const torch::NoGradGuard no_grad;
    const Observer watch(nullptr, nullptr, std::ref(profiler));
    forward();
  }
  auto profile = profiler.finish();
  guard.restore();
  profiler.set_omegas();
  return profile;
}

}  // namespace evenkeel::detail
