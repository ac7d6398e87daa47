// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/core/ivalue.h>
#include <ATen/record_function.h>
#include <c10/util/ArrayRef.h>
#include <torch/types.h>

#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// Gives access to `RecordFunction::inputs_`. Its accessor asserts, in a build without NDEBUG, a
/// flag that a LibTorch built with NDEBUG never sets.
struct InputsOfFunction {
  using Member = c10::ArrayRef<const c10::IValue> at::RecordFunction::*;
  friend Member member_of(InputsOfFunction);
};
template <typename Access, typename Access::Member kMember>
struct OpenMember {
  friend typename Access::Member member_of(Access /*access*/) { return kMember; }
};
template struct OpenMember<InputsOfFunction, &at::RecordFunction::inputs_>;

/// One operator of a forward pass that has run.
struct OperatorEvent {
  std::string_view name;                     ///< e.g. `aten::layer_norm`
  const std::vector<torch::Tensor>& inputs;  ///< Its tensors, in order; undefined for others.
  const torch::Tensor& output;               ///< With its autograd graph.
};

/// Calls back after every product with a matrix, LayerNorm, ReLU and softmax that runs in this
/// thread while it lives, but not after those that one of them is made of: LibTorch's modules have
/// no hooks in C++, but every operator reports itself to a profiler. So it is seen what torch::nn's
/// layers and a user's blocks compute, without a change of theirs.
class OperatorWatch {
 public:
  using OnOperator = std::function<void(const OperatorEvent&)>;

  explicit OperatorWatch(OnOperator on_operator)
      : on_operator_(std::move(on_operator)), outer_(innermost()) {
    innermost() = this;
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&begin, &end)
                                             .needsInputs(true)
                                             .needsOutputs(true)
                                             .scopes({at::RecordScope::FUNCTION}));
  }
  ~OperatorWatch() {
    at::removeCallback(handle_);
    innermost() = outer_;
  }
  OperatorWatch(const OperatorWatch&) = delete;
  OperatorWatch& operator=(const OperatorWatch&) = delete;

 private:
  struct Call : at::ObserverContext {
    std::vector<torch::Tensor> inputs;
  };

  static bool is_watched(std::string_view name) {
    return name == "aten::linear" || name == "aten::matmul" || name == "aten::addmm" ||
           name == "aten::layer_norm" || name == "aten::relu" || name == "aten::softmax";
  }

  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function) {
    auto* watch = innermost();
    if (watch == nullptr || !is_watched(function.name())) return nullptr;
    auto call = std::make_unique<Call>();
    if (watch->running_++ > 0) return call;  // a part of another
    for (const auto& input : function.*member_of(InputsOfFunction())) {
      call->inputs.push_back(input.isTensor() ? input.toTensor() : torch::Tensor());
    }
    return call;
  }

  static void end(const at::RecordFunction& function, at::ObserverContext* context) {
    const auto* call = static_cast<const Call*>(context);
    auto* watch = innermost();
    if (call == nullptr || watch == nullptr || --watch->running_ > 0) return;
    const auto& outputs = function.outputs();
    if (outputs.empty() || !outputs[0].isTensor()) return;  // it has thrown
    watch->on_operator_({function.name(), call->inputs, outputs[0].toTensor()});
  }

  static OperatorWatch*& innermost() {
    thread_local OperatorWatch* watch = nullptr;
    return watch;
  }

  OnOperator on_operator_;
  OperatorWatch* outer_;
  int running_ = 0;  // watched operators, each a part of the one before
  at::CallbackHandle handle_ = 0;
};

}  // namespace evenkeel::detail
