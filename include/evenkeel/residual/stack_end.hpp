// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/any_norm.hpp>
#include <evenkeel/residual/detail/has_norms.hpp>
#include <evenkeel/residual/detail/register_norm.hpp>
#include <evenkeel/residual/residual.hpp>
#include <evenkeel/residual/residual_options.hpp>
#include <evenkeel/residual/residual_stream.hpp>
#include <evenkeel/residual/stream_kind.hpp>

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <memory>
#include <ostream>
#include <vector>

namespace evenkeel {

/// The end of a stack of residual sub-layers, as the scheme has it:
///
///     y = x                                                    the sum is normalised
///     y = norm(x)                                              the branch's input is: Pre-LN
///     y = x + norm(second)                                     StreamKind::kDual
///     y = norm( first_norm(x) + second_norm(second) )          StreamKind::kSiamese
///
/// It is constructed from the last residual of the stack:
///
///     ResidualStream stream = x;
///     for (auto& block : blocks) stream = block->forward(stream);
///     return end(stream);                                      // StackEnd end(*last_residual)
///
/// Shapes: x and y are (*, embed_dim). Registered names: `norm`, `first_norm`, `second_norm`, each
/// only if there is one.
class StackEndImpl : public torch::nn::Cloneable<StackEndImpl>, public detail::HasNorms {
 public:
  explicit StackEndImpl(const ResidualImpl& last) : StackEndImpl(last, last.options.norm()) {}
  /// With norms of another type than the last residual's.
  StackEndImpl(const ResidualImpl& last, const NormType& norm_type)
      : options_(last.options), stream_(last.stream_kind()), norms_(last.norms()) {
    options_.norm(norm_type);
    reset();
  }

  void reset() override {
    const bool two = stream_ == StreamKind::kDual || stream_ == StreamKind::kSiamese;
    norm = detail::register_norm(*this, options_, two || norms_.need_final_norm(), "norm");
    first_norm =
        detail::register_norm(*this, options_, stream_ == StreamKind::kSiamese, "first_norm");
    second_norm =
        detail::register_norm(*this, options_, stream_ == StreamKind::kSiamese, "second_norm");
  }

  /// Resets the norms, as far as they have `reset_parameters()`.
  void reset_parameters() {
    for (const auto* each : {&norm, &first_norm, &second_norm}) {
      if (!each->is_empty()) each->reset_parameters();
    }
  }

  torch::Tensor forward(ResidualStream stream) {
    switch (stream_) {
      case StreamKind::kPlain:
      case StreamKind::kLayerInput:
        break;
      case StreamKind::kDual:
        return stream.sum() + normed(stream.second(), norm);
      case StreamKind::kSiamese:
        return normed(normed(stream.sum(), first_norm) + normed(stream.second(), second_norm),
                      norm);
    }
    return norm.is_empty() ? stream.sum() : stream.normed(norm);
  }

  std::vector<std::shared_ptr<torch::nn::Module>> norm_modules() const override {
    return children();
  }

  /// Returns whether y is x.
  bool is_identity() const {
    return norm.is_empty() && stream_ != StreamKind::kDual && stream_ != StreamKind::kSiamese;
  }

  /// Pretty prints the module, e.g. `evenkeel::StackEnd(stream=plain)`.
  void pretty_print(std::ostream& stream) const override {
    stream << "evenkeel::StackEnd(stream=" << to_string(stream_) << ")";
  }

  AnyNorm norm;  ///< Each is empty if there is none.
  AnyNorm first_norm;
  AnyNorm second_norm;

 private:
  static torch::Tensor normed(const torch::Tensor& x, const AnyNorm& norm) {
    return norm.is_empty() ? x : norm(x);
  }

  ResidualOptions options_;
  StreamKind stream_;
  Norms norms_;
};

/// A `ModuleHolder` for `StackEndImpl`: copies of it share one module.
TORCH_MODULE(StackEnd);

}  // namespace evenkeel
