// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>

namespace evenkeel::nn {

/// Sinusoidal positions of `length` tokens, starting at position `first`; float32 of shape (length,
/// embed_dim):
///
///     p[t, 2i] = sin(t / 10000^(2i / embed_dim)),  p[t, 2i + 1] = cos(t / 10000^(2i / embed_dim))
///
/// Paper: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
inline torch::Tensor sinusoidal_positions(int64_t length, int64_t embed_dim, int64_t first = 0) {
  TORCH_CHECK(length >= 0 && embed_dim > 0 && embed_dim % 2 == 0,
              "sinusoidal_positions: expected length >= 0 and an even embed_dim, but got ",
              length,
              " and ",
              embed_dim);
  const auto t = torch::arange(first, first + length, torch::kFloat64).unsqueeze(1);
  const auto i = torch::arange(0, embed_dim, 2, torch::kFloat64);
  const auto angle = t * torch::exp(i * (-std::log(10000.0) / static_cast<double>(embed_dim)));
  return torch::stack({angle.sin(), angle.cos()}, 2).view({length, embed_dim}).to(torch::kFloat32);
}

/// Options for `SinusoidalPositions`, e.g. `SinusoidalPositionsOptions(512).max_length(4096)`.
struct SinusoidalPositionsOptions {
  // NOLINTNEXTLINE(google-explicit-constructor): a bare size is the common case
  SinusoidalPositionsOptions(int64_t embed_dim) : embed_dim_(embed_dim) {}

  /// Width of the residual stream, an even number.
  TORCH_ARG(int64_t, embed_dim);
  /// Number of positions in the table; later ones are computed on the CPU on every use. Default:
  /// 1024
  TORCH_ARG(int64_t, max_length) = 1024;
};

/// A module with a table of `sinusoidal_positions`. It follows the model's `to()`, but is not saved
/// in checkpoints, because it is a function of the options. `forward` changes nothing, so threads
/// may share a module.
class SinusoidalPositionsImpl : public torch::nn::Cloneable<SinusoidalPositionsImpl> {
 public:
  explicit SinusoidalPositionsImpl(const SinusoidalPositionsOptions& options_) : options(options_) {
    TORCH_CHECK(options.embed_dim() > 0 && options.embed_dim() % 2 == 0,
                "SinusoidalPositions: expected an even embed_dim > 0, but got ",
                options.embed_dim());
    TORCH_CHECK(options.max_length() >= 0,
                "SinusoidalPositions: expected max_length >= 0, but got ",
                options.max_length());
    make_table(torch::kCPU, torch::kFloat32);
  }

  /// Registers nothing; a clone shares the table with the original, because it is never modified.
  void reset() override {}

  /// The positions of tokens `first` to `end` - 1, (end - first, embed_dim), with the dtype and
  /// device of `tensor_options`: those of the embeddings that they are added to.
  torch::Tensor forward(int64_t first,
                        int64_t end,
                        const torch::TensorOptions& tensor_options) const {
    TORCH_CHECK(0 <= first && first <= end,
                "SinusoidalPositions: expected 0 <= first <= end, but got ",
                first,
                " and ",
                end);
    const auto rows = end <= table_.size(0)
                          ? table_.slice(0, first, end)
                          : sinusoidal_positions(end - first, options.embed_dim(), first);
    return rows.to(tensor_options.device(), c10::typeMetaToScalarType(tensor_options.dtype()));
  }

  void to(torch::Device device, torch::Dtype dtype, bool /*non_blocking*/ = false) override {
    make_table(device, dtype);
  }
  void to(torch::Dtype dtype, bool /*non_blocking*/ = false) override {
    make_table(table_.device(), dtype);
  }
  void to(torch::Device device, bool /*non_blocking*/ = false) override {
    make_table(device, table_.scalar_type());
  }

  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<torch::Device>& device = std::nullopt) const override {
    auto copy = Cloneable::clone(device);
    if (device) copy->to(*device);
    return copy;
  }

  /// False, so that checkpoints have no entry for it, not even an empty one.
  bool is_serializable() const override { return false; }

  /// Pretty prints the module: `evenkeel::nn::SinusoidalPositions(embed_dim=512, max_length=1024)`.
  void pretty_print(std::ostream& stream) const override {
    stream << "evenkeel::nn::SinusoidalPositions(embed_dim=" << options.embed_dim()
           << ", max_length=" << options.max_length() << ")";
  }

  SinusoidalPositionsOptions options;  ///< The options with which this module was constructed.

 private:
  // Recomputed instead of converted, so that a module that was in half precision is exact again in
  // float32.
  void make_table(torch::Device device, torch::Dtype dtype) {
    if (table_.defined() && table_.device() == device &&
        (table_.scalar_type() == dtype || !c10::isFloatingType(dtype))) {
      return;
    }
    const auto floating = c10::isFloatingType(dtype) ? dtype : table_.scalar_type();
    table_ = sinusoidal_positions(options.max_length(), options.embed_dim()).to(device, floating);
  }

  torch::Tensor table_;  // (max_length, embed_dim); replaced by to(), never modified
};

/// A `ModuleHolder` for `SinusoidalPositionsImpl`: copies of it share one module.
TORCH_MODULE(SinusoidalPositions);

}  // namespace evenkeel::nn
