// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/detail/rng_state.hpp>
#include <evenkeel/diagnose/detail/flat_copies.hpp>
#include <evenkeel/diagnose/detail/saved_tensor.hpp>

#include <ATen/ops/_foreach_copy.h>
#include <c10/core/Device.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <torch/cuda.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// Runs steps in turn, also after one of them throws; `rethrow()` throws the first error.
class EveryStep {
 public:
  template <typename F>
  void operator()(F&& step) {
    try {
      step();
    } catch (...) {
      if (!error_) error_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::exception_ptr error_;
};

/// Saves a model and restores it bit for bit: parameters and buffers with their storage, shape,
/// gradient and version, LibTorch's default generators, and the train or eval mode of every module.
/// In between, code may write in place, resize, call `set_data`, free memory, and run a backward
/// pass or an optimizer:
///
///     RestoreGuard guard(model, "output_change");
///     ...                      // gradients are undefined here; the old ones are set aside
///     guard.restore();         // throws if something cannot be restored
///
/// If `restore()` was not called, as when an exception passes, the destructor restores and turns an
/// error into a warning. Registered tensors are restored, not members: after `linear->weight = x`
/// the member stays x. Takes the memory of a second copy of all parameters and buffers.
class RestoreGuard {
 public:
  /// `caller` is the prefix of messages. Throws for a tensor that is not strided, such as a sparse
  /// one, before anything has changed.
  RestoreGuard(torch::nn::Module& model, std::string caller)
      : caller_(std::move(caller)), root_(model) {
    std::unordered_set<const void*> seen;  // one tensor may be registered twice
    for (const auto& tensors : {model.named_parameters(), model.named_buffers()}) {
      for (const auto& item : tensors) {
        if (!seen.insert(item.value().unsafeGetTensorImpl()).second) continue;
        TORCH_CHECK(item.value().layout() == torch::kStrided,
                    caller_,
                    ": expected strided parameters and buffers, which can be restored, but ",
                    item.key(),
                    " is ",
                    item.value().layout());
        tensors_.emplace_back(item.key(), item.value());
      }
    }
    copy_values();
    std::vector<c10::Device> devices{c10::kCPU};
    const auto count = static_cast<c10::DeviceIndex>(torch::cuda::device_count());
    for (c10::DeviceIndex i = 0; i < count; ++i) devices.emplace_back(c10::kCUDA, i);
    for (const auto& saved : tensors_) devices.push_back(saved.tensor.device());
    rng_.emplace(devices);
    root_training_ = model.is_training();
    for (auto& module : model.modules(/*include_self=*/false)) {
      modes_.emplace_back(module, module->is_training());
    }
    for (const auto& saved : tensors_) saved.set_gradient_aside();
  }

  RestoreGuard(const RestoreGuard&) = delete;
  RestoreGuard& operator=(const RestoreGuard&) = delete;

  ~RestoreGuard() {
    if (restored_) return;
    try {
      restore();
    } catch (const c10::Error& error) {
      warn(error.what_without_backtrace());
    } catch (const std::exception& error) {
      warn(error.what());
    } catch (...) {
      warn("an unknown error");
    }
  }

  /// Restores everything, as far as possible, and throws the first error. The destructor does
  /// nothing after it.
  void restore() {
    restored_ = true;
    EveryStep attempt;
    attempt([&] { restore_tensors(/*with_gradients=*/true); });
    attempt([&] { restore_generators(); });
    // train() recurses; parents stand before their children, so each child has the last word.
    attempt([&] { set_mode(root_, root_training_); });
    for (const auto& mode : modes_) attempt([&] { set_mode(*mode.first, mode.second); });
    attempt.rethrow();
  }

  /// Restores parameters and buffers, for the next trial; their gradients become undefined.
  void restore_tensors() { restore_tensors(/*with_gradients=*/false); }

  void restore_generators() { rng_->restore(); }

  /// Returns whether a parameter or buffer has changed since it was saved or restored. Does not see
  /// writes through `elements_of()` or a raw pointer.
  bool touched() const {
    return std::any_of(tensors_.begin(), tensors_.end(), [](const SavedTensor& saved) {
      return saved.touched();
    });
  }

 private:
  void copy_values() {
    const c10::InferenceMode inference;  // writes to tensors of either mode
    std::vector<torch::Tensor> elements;
    for (const auto& saved : tensors_) elements.push_back(saved.elements);
    copies_ = flat_copies(elements);
    for (const auto& group : copies_) at::_foreach_copy_(group.copies, group.tensors);
  }

  void restore_tensors(bool with_gradients) {
    const c10::InferenceMode inference;  // writes to tensors of either mode
    EveryStep attempt;
    for (const auto& saved : tensors_) attempt([&] { saved.restore_memory(); });
    for (const auto& group : copies_) attempt([&] { copy_back(group); });
    for (const auto& saved : tensors_) attempt([&] { saved.restore_autograd(with_gradients); });
    attempt.rethrow();
  }

  static void copy_back(const FlatCopies& group) {
    std::vector<torch::Tensor> tensors, copies;
    for (size_t i = 0; i < group.tensors.size(); ++i) {
      if (!has_memory(group.tensors[i])) continue;  // restore_memory() threw
      tensors.push_back(group.tensors[i]);
      copies.push_back(group.copies[i]);
    }
    if (!tensors.empty()) at::_foreach_copy_(tensors, copies);
  }

  static void set_mode(torch::nn::Module& module, bool training) {
    if (module.is_training() != training) module.train(training);
  }

  void warn(const char* error) const noexcept {
    try {
      TORCH_WARN(caller_, ": part of the model could not be restored: ", error);
    } catch (...) {  // a warning handler may throw, a destructor must not
    }
  }

  std::string caller_;
  torch::nn::Module& root_;
  bool root_training_ = false;
  std::vector<SavedTensor> tensors_;
  std::vector<FlatCopies> copies_;
  std::optional<RngState> rng_;
  std::vector<std::pair<std::shared_ptr<torch::nn::Module>, bool>> modes_;
  bool restored_ = false;
};

}  // namespace evenkeel::detail
