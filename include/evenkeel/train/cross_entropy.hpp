// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/cross_entropy_kernel.hpp>
#include <evenkeel/kernels/detail/cross_entropy_args.hpp>
#include <evenkeel/kernels/detail/gradients_by_operators.hpp>
#include <evenkeel/kernels/detail/residual_call.hpp>
#include <evenkeel/kernels/fused_residual_switch.hpp>

#include <ATen/ATen.h>
#include <ATen/TensorSubclassLikeUtils.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace evenkeel::train {

namespace detail {

inline torch::Tensor cross_entropy_by_operators(const torch::Tensor& logits,
                                                const torch::Tensor& targets,
                                                double label_smoothing,
                                                int64_t ignore_index) {
  const auto wide = logits.scalar_type() == torch::kFloat64 ? logits : logits.to(torch::kFloat32);
  return at::cross_entropy_loss(wide,
                                targets,
                                /*weight=*/{},
                                at::Reduction::Sum,
                                ignore_index,
                                label_smoothing);
}

class CrossEntropy : public torch::autograd::Function<CrossEntropy> {
  using Context = torch::autograd::AutogradContext;
  using Tensors = torch::autograd::variable_list;
  using Args = evenkeel::detail::CrossEntropyArgs;
  using Kernel = evenkeel::detail::cuda::CrossEntropyKernel;

 public:
  static torch::Tensor forward(Context* context,
                               const torch::Tensor& logits,
                               const torch::Tensor& targets,
                               double label_smoothing,
                               int64_t ignore_index) {
    const auto of_rows = logits.options().dtype(torch::kFloat32).requires_grad(false);
    const auto losses = torch::empty({logits.size(0)}, of_rows);
    const auto log_sums = torch::empty({logits.size(0)}, of_rows);
    auto args = args_of(logits, targets, label_smoothing, ignore_index);
    args.losses = losses.mutable_data_ptr<float>();
    args.log_sums = log_sums.mutable_data_ptr<float>();
    launch(/*backward=*/false, logits, args);
    context->save_for_backward({logits, targets, log_sums});
    context->saved_data["label_smoothing"] = label_smoothing;
    context->saved_data["ignore_index"] = ignore_index;
    return losses.sum();
  }

  static Tensors backward(Context* context, Tensors gradients) {
    const auto saved = context->get_saved_variables();
    auto logits = saved[0];
    const auto& targets = saved[1];
    const double label_smoothing = context->saved_data["label_smoothing"].toDouble();
    const int64_t ignore_index = context->saved_data["ignore_index"].toInt();
    Tensors results(4);
    const auto& dloss = gradients[0];
    if (!dloss.defined()) return results;
    if (at::GradMode::is_enabled() || at::isTensorSubclassLike(dloss)) {
      const std::array<at::Tensor*, 1> inputs{&logits};
      const auto compute = [&]() -> Tensors {
        return {cross_entropy_by_operators(logits, targets, label_smoothing, ignore_index)};
      };
      evenkeel::detail::gradients_by_operators(
          inputs,
          [](size_t) { return true; },
          compute,
          gradients,
          results);
      return results;
    }
    const auto dloss_ready = dloss.to(torch::kFloat32).contiguous();
    results[0] = torch::empty_like(logits);
    auto args = args_of(logits, targets, label_smoothing, ignore_index);
    args.log_sums = saved[2].mutable_data_ptr<float>();
    args.dloss = dloss_ready.const_data_ptr<float>();
    args.dlogits = results[0].mutable_data_ptr();
    launch(/*backward=*/true, logits, args);
    return results;
  }

  static const Kernel* kernel_of(const torch::Tensor& logits) {
    return Kernel::find(static_cast<uint64_t>(evenkeel::detail::type_code(logits.scalar_type())),
                        logits.get_device());
  }

 private:
  static Args args_of(const torch::Tensor& logits,
                      const torch::Tensor& targets,
                      double label_smoothing,
                      int64_t ignore_index) {
    Args args{};
    args.logits = logits.const_data_ptr();
    args.targets = reinterpret_cast<const long long*>(targets.const_data_ptr<int64_t>());
    args.columns = logits.size(1);
    args.ignored = ignore_index;
    args.smoothing = static_cast<float>(label_smoothing);
    return args;
  }

  static void launch(bool backward, const torch::Tensor& logits, Args& args) {
    const evenkeel::detail::cuda::OnDevice on_device(logits.device());
    const auto& kernel = *kernel_of(logits);
    kernel.driver().make_context_current(logits.get_device());
    kernel.launch(backward, kernel.driver().current_stream(logits.device()), args, logits.size(0));
  }
};

}  // namespace detail

/// The cross-entropy of logits (N, C) and targets, int64 (N), summed over the rows whose target is
/// not `ignore_index`: float32, or float64 for logits of it. A share `label_smoothing` of each
/// target is spread over all C columns. As torch::nn::functional::cross_entropy, but computed in
/// float32 for logits of half types too; on a GPU, theirs are read where they are, and never
/// written out in float32. Paper: Szegedy et al. 2015, https://arxiv.org/abs/1512.00567 (label
/// smoothing). Throws c10::Error for other shapes and a label_smoothing outside [0, 1].
inline torch::Tensor cross_entropy_sum(const torch::Tensor& logits,
                                       const torch::Tensor& targets,
                                       double label_smoothing = 0.0,
                                       int64_t ignore_index = -100) {
  TORCH_CHECK(logits.dim() == 2 && targets.dim() == 1 && logits.size(0) == targets.size(0) &&
                  targets.scalar_type() == torch::kInt64,
              "cross_entropy_sum: expected logits of shape [rows, columns] and int64 targets of "
              "shape [rows], but got ",
              logits.sizes(),
              " and ",
              targets.scalar_type(),
              " of shape ",
              targets.sizes());
  TORCH_CHECK(label_smoothing >= 0.0 && label_smoothing <= 1.0,
              "cross_entropy_sum: expected label_smoothing in [0, 1], but got ",
              label_smoothing);
  using Kernel = evenkeel::detail::cuda::CrossEntropyKernel;
  const auto type = logits.scalar_type();
  const bool own =
      logits.is_cuda() && (type == torch::kBFloat16 || type == torch::kHalf) &&
      logits.numel() > 0 && logits.size(1) % Kernel::kVector == 0 && logits.is_contiguous() &&
      reinterpret_cast<uintptr_t>(logits.const_data_ptr()) % 16 == 0 &&
      targets.device() == logits.device() && targets.is_contiguous() &&
      evenkeel::detail::kernels_know(logits, logits.device()) &&
      evenkeel::fused_residual_enabled() && detail::CrossEntropy::kernel_of(logits) != nullptr;
  return own ? detail::CrossEntropy::apply(logits, targets, label_smoothing, ignore_index)
             : detail::cross_entropy_by_operators(logits, targets, label_smoothing, ignore_index);
}

}  // namespace evenkeel::train
