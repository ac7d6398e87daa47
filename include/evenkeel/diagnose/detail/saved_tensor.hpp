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

/// A parameter or buffer with everything about it except its values: storage, shape, strides,
/// dtype, gradient, `requires_grad` and version. The values are copied by `RestoreGuard`.
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
  torch::Tensor tensor;    ///< The registered tensor.
  torch::Tensor elements;  ///< Its elements when it was saved, see `elements_of()`.

  /// Makes the gradient undefined until `restore_autograd()`, so that a backward pass in between
  /// does not accumulate into it.
  void set_gradient_aside() const {
    if (impl().grad().defined()) impl().mutable_grad() = torch::Tensor();
  }

  /// Returns whether the tensor was written to by an operator, resized, given other memory or a
  /// gradient. Always true for an inference tensor, which has no version counter.
  bool touched() const {
    return !has_memory(elements) || !views_its_storage() || impl().grad().defined() ||
           impl().requires_grad() != requires_grad_ || !counter().enabled() ||
           counter().current_version() != version_;
  }

  /// Allocates the storage again if it was freed, and makes the tensor view it as before. The
  /// values are still to be copied.
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
    if (!views_its_storage()) tensor.set_data(original_);
  }

  /// Restores `requires_grad`, the version and, if asked, the gradient; otherwise the gradient is
  /// undefined. Call it once the values are back: a graph that saved the tensor goes by the
  /// version.
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

  bool views_its_storage() const {
    return tensor.is_alias_of(original_) && tensor.scalar_type() == original_.scalar_type() &&
           tensor.storage_offset() == original_.storage_offset() &&
           tensor.sizes() == original_.sizes() && tensor.strides() == original_.strides();
  }

  torch::Tensor original_;  // shares the storage, not the version counter
  size_t bytes_;
  torch::Tensor gradient_;
  bool requires_grad_;
  int64_t version_;
};

}  // namespace evenkeel::detail
