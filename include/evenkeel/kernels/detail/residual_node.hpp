// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/differentiable_residual.hpp>
#include <evenkeel/kernels/detail/gradients_by_operators.hpp>
#include <evenkeel/kernels/detail/platform.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/detail/run_kernel.hpp>

#include <ATen/ATen.h>
#include <ATen/SavedTensorHooks.h>
#include <c10/util/Exception.h>
#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/edge.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/csrc/autograd/variable.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <sstream>
#include <type_traits>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// A node of autograd's graph: LibTorch holds them by std::shared_ptr, newer ones by intrusive_ptr.
template <typename T>
auto make_node() {
  if constexpr (std::is_base_of_v<c10::intrusive_ptr_target, T>) {
    return c10::make_intrusive<T>();
  } else {
    return std::shared_ptr<T>(new T, [](auto* node) { deleteNode(node); });
  }
}

/// The fused residual as autograd sees it. Its outputs are the sum and then the norm, as far as
/// wanted. A node of its own rather than a torch::autograd::Function: that costs the host less.
class ResidualNode : public torch::autograd::Node {
  using Tensors = torch::autograd::variable_list;

 public:
  /// Runs the forward kernel that was found. Where a gradient may be wanted, the node is left in
  /// the graph.
  static JoinedResidual run(ResidualCall call) {
    bool differentiated = false;
    const auto inputs = call.inputs();
    for (const auto* input : inputs) {
      differentiated = differentiated || (input->defined() && input->requires_grad());
    }
    differentiated = differentiated && at::GradMode::is_enabled();
    at::Tensor for_backward;
    JoinedResidual outputs;
    {
      const at::NoGradGuard no_grad;
      outputs = run_forward(call, differentiated ? &for_backward : nullptr);
    }
    if (!differentiated) return outputs;
    const auto node = make_node<ResidualNode>();
    torch::autograd::edge_list edges(kInputs);
    node->for_backward_ = std::move(for_backward);
    node->hooked_ = !at::SavedTensorDefaultHooks::get_tls_state().stack.empty();
    node->sizes_ = call.terms.x.sizes();
    node->device_ = call.terms.x.device();
    for (size_t i = 0; i < kInputs; ++i) {
      if (!inputs[i]->defined()) continue;
      edges[i] = torch::autograd::impl::gradient_edge(*inputs[i]);
      node->inputs_[i] = torch::autograd::SavedVariable(*inputs[i], /*is_output=*/false);
      *inputs[i] = at::Tensor();
    }
    node->call_ = std::move(call);
    node->set_next_edges(std::move(edges));
    for (const auto* output : {&outputs.sum, &outputs.y}) {
      if (!output->defined()) continue;
      const auto number = node->add_input_metadata(*output);
      torch::autograd::impl::set_gradient_edge(*output, {node, number});
    }
    return outputs;
  }

  Tensors apply(Tensors&& gradients) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Tensors results(kInputs);
    const bool has_sum = call_.form.has_sum != 0U;
    const at::Tensor dsum = has_sum ? gradients.front() : at::Tensor();
    const at::Tensor dy = call_.form.has_norm() ? gradients.back() : at::Tensor();
    ResidualCall call = unpack();
    if (!dsum.defined() && !dy.defined()) return results;
    auto& form = call.form;
    for (size_t i = 0; i < kInputs; ++i) {
      if (task_should_compute_output(i)) form.want(static_cast<int>(i));
    }
    const bool needs_operators = at::GradMode::is_enabled() || is_subclass(dy) || is_subclass(dsum);
    const ResidualForm of_forward = form;
    if (needs_operators || !by_kernel(call, dy, dsum, results)) {
      form = of_forward;
      through_operators(call, gradients, results);
    }
    return results;
  }

  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto& input : inputs_) input.reset_data();
    for_backward_.reset();
  }

 private:
  static bool is_subclass(const at::Tensor& tensor) {
    return tensor.defined() && at::isTensorSubclassLike(tensor);
  }

  /// Throws what is wrong with what a hook gave back.
  [[noreturn]] EVENKEEL_COLD void refuse(const at::Tensor& tensor, at::IntArrayRef sizes) const {
    std::ostringstream text;
    text << "fused_residual: expected a saved tensor of shape " << sizes << " on " << device_
         << ", but its hook gave back " << tensor.sizes() << " on " << tensor.device();
    TORCH_CHECK(false, text.str());
  }

  /// The call as it was. What hooks for saved tensors give back may have another layout or type.
  ResidualCall unpack() const {
    ResidualCall call = call_;
    const auto inputs = call.inputs();
    const std::array<uint64_t, kInputs> types{call.form.x,
                                              call.form.f_x,
                                              call.form.shortcut,
                                              call.form.branch,
                                              call.form.bias,
                                              call.form.norm_parameters,
                                              call.form.norm_parameters};
    for (int i = 0; i < kInputs; ++i) {
      const auto at = static_cast<size_t>(i);
      const auto tensor = inputs_[at].unpack();
      if (!tensor.defined()) continue;
      const int64_t count = i > kFX ? call.form.count(i) : 0;
      const at::IntArrayRef sizes = i > kFX ? at::IntArrayRef(count) : at::IntArrayRef(sizes_);
      if (tensor.sizes() != sizes || tensor.device() != device_) refuse(tensor, sizes);
      *inputs[at] = kernel_ready(tensor, type_of_code(types[at]));
    }
    return call;
  }

  /// Returns whether there is a kernel for that; if not, a warning has said why.
  bool by_kernel(ResidualCall& call,
                 const at::Tensor& dy,
                 const at::Tensor& dsum,
                 Tensors& results) const {
    auto& form = call.form;
    form.backward = 1;
    form.has_sum = 0;
    form.has_dy = dy.defined();
    form.has_dsum = dsum.defined();
    if (!dy.defined()) {
      form.do_not_want(kNormWeight);
      form.do_not_want(kNormBias);
    }
    const bool shared = form.one_gradient() && form.wants(kX) && form.wants(kFX);
    if (shared) form.do_not_want(kFX);
    if (!find_kernel(call)) return false;
    auto computed = run_backward(call,
                                 kernel_ready(dy, type_of_code(form.y)),
                                 kernel_ready(dsum, type_of_code(form.sum)),
                                 for_backward_,
                                 !hooked_);
    for (size_t i = 0; i < kInputs; ++i) results[i] = std::move(computed[i]);
    if (shared) results[kFX] = results[kX];
    return true;
  }

  /// The same gradients by operators that can be differentiated again.
  EVENKEEL_COLD void through_operators(ResidualCall& call,
                                       const Tensors& gradients,
                                       Tensors& results) const {
    at::Tensor factors;
    if (call.form.drops != 0U) {
      const at::NoGradGuard no_grad;
      factors = dropout_factors(call, for_backward_);
    }
    gradients_by_operators(
        call.inputs(),
        [&](size_t i) { return call.form.wants(static_cast<int>(i)); },
        [&] { return differentiable_residual(call, factors); },
        gradients,
        results);
  }

  ResidualCall call_;  ///< Without its tensors.
  std::array<torch::autograd::SavedVariable, kInputs> inputs_;
  at::Tensor for_backward_;  ///< See kSavedRandom. It is the kernels' own, and shown to no hook.
  at::DimVector sizes_;      ///< Of x and f_x.
  at::Device device_ = at::kCPU;
  bool hooked_ = false;  ///< Do hooks bring the inputs back, which may write them just before?
};

}  // namespace evenkeel::detail
