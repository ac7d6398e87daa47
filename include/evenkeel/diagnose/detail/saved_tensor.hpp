// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/diagnose/detail/elements.hpp>

#include <c10/core/Allocator.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Storage.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace evenkeel::detail {

/// A parameter or buffer and all that was known of it but its values: memory, shape, strides,
/// dtype, gradient, whether it requires one, and version. `RestoreGuard` copies the values.
class SavedTensor {
 public:
  SavedTensor(std::string name_, const torch::Tensor& tensor_)
      : name(std::move(name_)),
        tensor(tensor_),
        elements(elements_of(tensor_)),
        original_(tensor_.variable_data()),
        bytes_(original_.storage().nbytes()),
        gradient_(impl().grad()),
        requires_grad_(impl().requires_grad()),
        version_(counter().enabled() ? counter().current_version() : 0) {}

  std::string name;
  torch::Tensor tensor;    ///< As it is registered.
  torch::Tensor elements;  ///< Its memory when it was saved, see `elements_of()`.

  /// Takes the gradient away until `restore_autograd()`, so that a backward pass accumulates into
  /// one of its own.
  void set_gradient_aside() const {
    if (impl().grad().defined()) impl().mutable_grad() = torch::Tensor();
  }

  /// Whether anyone wrote to the tensor through an operator, resized it, gave it other memory, or
  /// left a gradient. Tensors of InferenceMode count no versions: for them the answer is yes.
  bool touched() const {
    return !has_memory(elements) || !shows_its_memory() || impl().grad().defined() ||
           impl().requires_grad() != requires_grad_ || !counter().enabled() ||
           counter().current_version() != version_;
  }

  /// Allocates memory again where it was freed, and makes the tensor show it as it did.
  void restore_memory() const {
    if (!has_memory(elements)) {
      const c10::DeviceGuard on_device(original_.device());
      auto* storage = original_.storage().unsafeGetStorageImpl();
      auto* allocator = storage->allocator() != nullptr
                            ? storage->allocator()
                            : c10::GetAllocator(original_.device().type());
      storage->set_data_ptr_noswap(allocator->allocate(bytes_));
      storage->set_nbytes(bytes_);
    }
    if (!shows_its_memory()) tensor.set_data(original_);
  }

  /// Gradient, `requires_grad` and version, once the values are back: an equal version tells a
  /// graph that has saved the tensor that it may use it.
  void restore_autograd(bool with_gradient) const {
    if (impl().requires_grad() != requires_grad_) impl().set_requires_grad(requires_grad_);
    if (impl().grad().defined() || gradient_.defined()) {
      impl().mutable_grad() = with_gradient ? gradient_ : torch::Tensor();
    }
    if (counter().enabled()) counter().set_version(version_);
  }

 private:
  c10::TensorImpl& impl() const { return *tensor.unsafeGetTensorImpl(); }
  c10::VariableVersion counter() const { return impl().version_counter(); }

  bool shows_its_memory() const {
    return tensor.is_alias_of(original_) && tensor.scalar_type() == original_.scalar_type() &&
           tensor.storage_offset() == original_.storage_offset() &&
           tensor.sizes() == original_.sizes() && tensor.strides() == original_.strides();
  }

  torch::Tensor original_;  // shares memory, not versions
  size_t bytes_;
  torch::Tensor gradient_;
  bool requires_grad_;
  int64_t version_;
};

}  // namespace evenkeel::detail
