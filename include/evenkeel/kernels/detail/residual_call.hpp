// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/kernels/detail/platform.hpp>
#include <evenkeel/kernels/detail/residual_args.hpp>
#include <evenkeel/kernels/detail/residual_form.hpp>
#include <evenkeel/kernels/residual_terms.hpp>

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/TensorSubclassLikeUtils.h>
#include <ATen/autocast_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/DispatchKeySet.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>

namespace evenkeel::detail {

namespace cpu {
struct Kernels;
}
namespace cuda {
class Kernel;
}

/// What a residual gives: the norm of the sum, and the sum where it is wanted or there is no norm.
struct JoinedResidual {
  at::Tensor sum;
  at::Tensor y;
};

/// One residual that kernels compute. Its tensors are `kernel_ready`.
struct ResidualCall {
  ResidualTerms terms;
  ResidualNorm norm;
  ResidualForm form;
  const cpu::Kernels* cpu = nullptr;   ///< What computes it: this,
  const cuda::Kernel* cuda = nullptr;  ///< or this.

  /// In the order of `Input`.
  std::array<at::Tensor*, kInputs> inputs() {
    return {&terms.x,
            &terms.f_x,
            &terms.shortcut,
            &terms.branch,
            &terms.bias,
            &norm.weight,
            &norm.bias};
  }
  int64_t rows() const { return terms.x.numel() / static_cast<int64_t>(form.dim); }
};

/// A gradient for each `Input`, undefined where it is not wanted.
using ResidualGradients = std::array<at::Tensor, kInputs>;

/// Memory for a tensor on the device of `beside`, which is the current one, without the ways
/// through LibTorch's dispatcher that at::empty takes.
EVENKEEL_NEVER_INLINE inline at::Tensor new_tensor(const at::Tensor& beside,
                                                   at::IntArrayRef sizes,
                                                   at::ScalarType type) {
  const bool is_cuda = beside.is_cuda();
  auto* const allocator =
      is_cuda ? at::detail::getCUDAHooks().getCUDADeviceAllocator() : c10::GetCPUAllocator();
  const c10::DispatchKeySet keys(is_cuda ? c10::DispatchKey::CUDA : c10::DispatchKey::CPU);
  return at::Tensor(at::detail::empty_generic(sizes, allocator, keys, type, {}));
}

/// Backward needs, beside the inputs, the seed and offset of the dropout (of 64 bits each), and
/// then the statistics of the rows. Forward keeps them in a tensor of float32.
constexpr int64_t kSavedRandom = 4;
constexpr int64_t kSavedStats = 3;  ///< floats of a row at most: those of the CPU

/// The kernels' number for a type; -1 for a type that they do not know.
inline int type_code(at::ScalarType type) {
  return type == at::kFloat ? 0 : type == at::kBFloat16 ? 1 : type == at::kHalf ? 2 : -1;
}

inline at::ScalarType type_of_code(uint64_t code) {
  return code == 0U ? at::kFloat : code == 1U ? at::kBFloat16 : at::kHalf;
}

/// The same numbers of that type, strided, as they are in memory.
inline at::Tensor as_numbers(const at::Tensor& tensor, at::ScalarType type) {
  auto ready = tensor;
  if (ready._is_zerotensor()) ready = at::zeros(ready.sizes(), ready.options());
  if (ready.layout() != at::kStrided) ready = ready.to_dense();
  if (ready.scalar_type() != type) ready = ready.to(type);
  if (ready.is_neg()) ready = ready.resolve_neg();
  return ready;
}

/// The same numbers as kernels read them: of that type, contiguous, aligned for 16-byte loads.
inline at::Tensor kernel_ready(const at::Tensor& tensor, at::ScalarType type) {
  if (!tensor.defined()) return tensor;
  auto ready = as_numbers(tensor, type);
  if (!ready.is_contiguous()) ready = ready.contiguous();
  const bool is_aligned = reinterpret_cast<uintptr_t>(ready.const_data_ptr()) % 16 == 0;
  return is_aligned ? ready : ready.clone();
}

/// Whether kernels can read the tensor: not where it is a subclass, or has a gradient of forward
/// mode, which operators know.
inline bool kernels_know(const at::Tensor& tensor, at::Device device) {
  return type_code(tensor.scalar_type()) >= 0 && tensor.device() == device &&
         !at::isTensorSubclassLike(tensor) && tensor.layout() == at::kStrided &&
         !tensor._fw_grad(/*level=*/0).defined();
}

/// Of 65536, how many of the 16-bit draws drop an element.
inline uint32_t dropout_threshold(double dropout) {
  return static_cast<uint32_t>(std::clamp<int64_t>(std::llround(dropout * 65536.0), 0, 65535));
}

/// The call of a kernel, if there are kernels for such a residual.
inline std::optional<ResidualCall> kernel_call(const ResidualTerms& terms,
                                               const ResidualNorm& norm,
                                               bool want_sum) {
  constexpr int64_t kMostColumns = 16384;
  const auto& x = terms.x;
  const bool has_norm = norm.kind != NormKind::kNone;
  if (has_norm && norm.kind != NormKind::kLayerNorm && norm.kind != NormKind::kRmsNorm) {
    return std::nullopt;
  }
  if (!terms.has_shortcut) return std::nullopt;
  if (!(x.is_cuda() || x.is_cpu()) || x.dim() == 0 || x.sizes() != terms.f_x.sizes()) {
    return std::nullopt;
  }
  const int64_t dim = x.size(-1);
  if (x.numel() == 0 || dim > kMostColumns) return std::nullopt;
  if (!has_norm && !terms.shortcut.defined() && !terms.branch.defined() && !terms.bias.defined() &&
      terms.dropout == 0.0) {
    return std::nullopt;  // x + f_x is one kernel already
  }

  ResidualCall call{terms, norm, {}};
  if (!has_norm) call.norm = {};
  auto& form = call.form;
  std::array<uint64_t, kInputs> types{};
  const auto inputs = call.inputs();
  for (int i = 0; i < kInputs; ++i) {
    auto& tensor = *inputs[i];
    if (!tensor.defined()) continue;
    if (!kernels_know(tensor, x.device())) return std::nullopt;
    if (i > kFX) {
      const bool may_be_one_number = i == kShortcut || i == kBranch;
      if (tensor.dim() != 1) return std::nullopt;
      if (tensor.numel() != dim && !(may_be_one_number && tensor.numel() == 1)) return std::nullopt;
    }
    types[i] = static_cast<uint64_t>(type_code(tensor.scalar_type()));
    tensor = kernel_ready(tensor, tensor.scalar_type());
  }
  // A norm's weight and bias share one type, as they do in every norm that is a module.
  if (call.norm.weight.defined() && call.norm.bias.defined() &&
      types[kNormWeight] != types[kNormBias]) {
    return std::nullopt;
  }
  const auto count = [](const at::Tensor& gain) -> uint64_t {
    return !gain.defined() ? 0 : gain.numel() == 1 ? 1 : 2;
  };
  form.dim = static_cast<uint64_t>(dim);
  form.x = types[kX];
  form.f_x = types[kFX];
  form.shortcut = types[kShortcut];
  form.branch = types[kBranch];
  form.bias = types[kBias];
  form.norm_parameters = std::max(types[kNormWeight], types[kNormBias]);
  form.norm = norm.kind == NormKind::kLayerNorm ? 1 : norm.kind == NormKind::kRmsNorm ? 2 : 0;
  form.shortcut_count = count(terms.shortcut);
  form.branch_count = count(terms.branch);
  form.has_bias = terms.bias.defined();
  form.has_norm_weight = call.norm.weight.defined();
  form.has_norm_bias = call.norm.bias.defined();
  form.drops = dropout_threshold(terms.dropout) > 0;
  form.has_sum = want_sum || !has_norm;
  form.sum =
      static_cast<uint64_t>(type_code(c10::promoteTypes(x.scalar_type(), terms.f_x.scalar_type())));
  // Autocast has LayerNorm on its list of what runs in float32, on CUDA.
  const bool widened = x.is_cuda() && norm.kind == NormKind::kLayerNorm &&
                       at::autocast::is_autocast_enabled(at::kCUDA);
  form.y = widened ? 0U : form.sum;
  form.device = static_cast<uint64_t>(x.is_cuda() ? x.get_device() : 0);
  return call;
}

/// What both directions and both devices pass to a kernel of that call. `saved` may be undefined.
EVENKEEL_NEVER_INLINE inline ResidualArgs args_of(const ResidualCall& call,
                                                  const at::Tensor& saved) {
  const auto address = [](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.const_data_ptr() : nullptr;
  };
  ResidualArgs args{};
  args.x = address(call.terms.x);
  args.f_x = address(call.terms.f_x);
  args.shortcut = address(call.terms.shortcut);
  args.branch = address(call.terms.branch);
  args.bias = address(call.terms.bias);
  args.norm_weight = address(call.norm.weight);
  args.norm_bias = address(call.norm.bias);
  if (saved.defined()) {
    auto* const numbers = static_cast<float*>(saved.mutable_data_ptr());
    args.random = reinterpret_cast<unsigned long long*>(numbers);
    args.stats = numbers + kSavedRandom;
  }
  args.rows = call.rows();
  args.eps = static_cast<float>(call.norm.eps);
  args.threshold = dropout_threshold(call.terms.dropout);
  args.scale = 65536.0F / static_cast<float>(65536 - args.threshold);
  return args;
}

}  // namespace evenkeel::detail
