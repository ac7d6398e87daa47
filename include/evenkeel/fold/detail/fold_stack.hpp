// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/sublayer.hpp>
#include <evenkeel/fold/detail/channel_scale.hpp>
#include <evenkeel/fold/detail/fold_branch.hpp>
#include <evenkeel/fold/detail/fold_norm.hpp>
#include <evenkeel/fold/detail/plain_scheme.hpp>
#include <evenkeel/fold/fold_options.hpp>
#include <evenkeel/fold/fold_report.hpp>
#include <evenkeel/nn/layer.hpp>
#include <evenkeel/nn/sublayer.hpp>
#include <evenkeel/residual/any_norm.hpp>
#include <evenkeel/residual/residual.hpp>
#include <evenkeel/residual/scheme.hpp>
#include <evenkeel/residual/stream_kind.hpp>

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// Puts `module` in the place of the child `name` of `parent`.
inline void replace_child(torch::nn::Module& parent, const std::string& name, const AnyNorm& norm) {
  if (!norm.is_empty()) parent.replace_module(name, norm.ptr());
}

/// Folds one stack. x is the residual stream of the given stack and x' that of the folded one:
///
///     x = scale * x'
///
/// with a `scale` for each place between two sub-layers. At the stack's end it is 1; going back
/// from there, every sub-layer needs a certain scale of its input so that its shortcut has no gain:
///
///     norm(w x + b f(x))   w uniform: 1, and norm(x + b/w f(x)) with eps / w^2; otherwise 1 / w;
///                          with an eps of the options c / w, where eps / c^2 is that
///     w x + b f(norm(x))   that of its output, divided by w
///     w x + b f(x)         the same
///
/// A norm of the sum divides its weight and bias by the scale of its output. What remains before
/// the first sub-layer is a factor on the stack's input.
class StackFold {
 public:
  StackFold(const std::vector<nn::Layer>& layers, std::string prefix, const FoldOptions& options)
      : prefix_(std::move(prefix)), options_(options) {
    TORCH_CHECK(options.eps() >= 0.0,
                "fold: expected eps > 0, or 0 for none that is the same, but got ",
                options.eps());
    for (size_t i = 0; i < layers.size(); ++i) {
      for (const auto& sublayer : layers[i]->sublayers) {
        from_.push_back(&sublayer);
        names_.push_back(prefix_ + "layer_" + std::to_string(i) + "." + sublayer.name);
        check_plain(sublayer, names_.back());
      }
    }
  }

  /// Layers with the same branches in residuals without gains.
  static std::vector<nn::Layer> plain_layers(const std::vector<nn::Layer>& layers) {
    std::vector<nn::Layer> plain;
    for (const auto& layer : layers) {
      std::vector<nn::Sublayer> sublayers;
      for (const auto& from : layer->sublayers) {
        const auto& residual = *from.residual;
        sublayers.emplace_back(from.name,
                               from.kind,
                               from.branch.clone(),
                               Residual<>(plain_scheme(residual.norms()), residual.options));
      }
      plain.emplace_back(std::move(sublayers));
    }
    return plain;
  }

  /// Writes the folded weights into layers that `plain_layers` made. Returns the factor on the
  /// stack's input.
  ChannelScale fold_into(std::vector<nn::Layer>& layers) {
    ChannelScale scale;
    auto i = from_.size();
    for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
      auto& sublayers = (*layer)->sublayers;
      for (auto to = sublayers.rbegin(); to != sublayers.rend(); ++to) {
        --i;
        copy_modules(*from_[i], *to, **layer);
        scale = fold_sublayer(i, *to, **layer, scale);
      }
    }
    std::reverse(rows_.begin(), rows_.end());
    return ChannelScale(1.0) / scale;
  }

  /// Of the last `fold_into`, in forward order.
  const std::vector<FoldReportRow>& rows() const { return rows_; }
  /// Whether the eps of a norm has changed.
  bool eps_changed() const { return eps_changed_; }

 private:
  static void check_plain(const nn::Sublayer& sublayer, const std::string& name) {
    const auto& residual = *sublayer.residual;
    TORCH_CHECK(residual.stream_kind() == StreamKind::kPlain,
                "fold: ",
                residual.scheme_title(),
                " cannot be folded, as a plain Transformer has one residual stream, but ",
                name,
                " has a second one, of the kind: ",
                to_string(residual.stream_kind()));
    const auto& norms = residual.norms();
    TORCH_CHECK(norms == Norms::none() || norms == Norms::at_input() || norms == Norms::at_sum(),
                "fold: ",
                residual.scheme_title(),
                " cannot be folded, as a sub-layer of a plain Transformer has a norm at its input, "
                "or at its sum, or none, but ",
                name,
                " has norms at: ",
                to_string(norms));
    check_plain_branch(sublayer.branch, name);
  }

  static void copy_modules(const nn::Sublayer& from, nn::Sublayer& to, nn::LayerImpl& layer) {
    to.branch = from.branch.clone();  // the stack's constructor has drawn weights into the first
    layer.replace_module(to.name, to.branch.ptr());
    to.residual->input_norm = from.residual->input_norm.clone();
    to.residual->sum_norm = from.residual->sum_norm.clone();
    replace_child(*to.residual, "norm", to.residual->input_norm);
    replace_child(*to.residual, "norm", to.residual->sum_norm);
  }

  // Returns the scale of the sub-layer's input, for that of its output.
  ChannelScale fold_sublayer(size_t i,
                             nn::Sublayer& to,
                             nn::LayerImpl& layer,
                             const ChannelScale& out) {
    const auto& residual = *from_[i]->residual;
    const auto& norms = residual.norms();
    const auto shortcut = checked("shortcut", residual.omega, names_[i]);
    const auto branch = checked("branch", residual.gain_of_branch(), names_[i]);
    TORCH_CHECK(residual.has_shortcut() && !shortcut.has_zero(),
                "fold: expected gains of the shortcut other than 0, which the branch is divided "
                "by, but got 0 at ",
                names_[i]);
    const ChannelScale norm_gain(residual.norm_gain());
    ChannelScale in = out / shortcut;
    ChannelScale rows = branch / out;
    ChannelScale columns = in;
    std::string eps;
    if (norms.sum) {
      FoldedNorm norm(to.residual->sum_norm, names_[i] + "_residual.norm");
      const ChannelScale of_sum = options_.eps() > 0.0    ? norm.factor_for(options_.eps())
                                  : shortcut.is_uniform() ? shortcut
                                                          : ChannelScale();
      in = columns = of_sum / shortcut;
      rows = branch / of_sum;
      norm.scale_output(norm_gain / out);
      eps = scale_input(norm, of_sum.value());
    } else if (norms.input) {
      FoldedNorm norm(to.residual->input_norm, names_[i] + "_residual.norm");
      TORCH_CHECK(in.is_uniform(),
                  "fold: expected one value for all channels of the shortcut's gain, as the norm "
                  "of ",
                  names_[i],
                  " reads all channels of the stream, but its values are from ",
                  in.smallest(),
                  " to ",
                  in.largest());
      eps = scale_input(norm, in.value());
      columns = norm.takes(norm_gain) ? ChannelScale() : norm_gain;
      if (norm.takes(norm_gain)) norm.scale_output(norm_gain);
    }
    const auto heads = fold_branch(to.branch, to.kind, rows, columns, names_[i]);
    layer.replace_module(to.name, to.branch.ptr());
    report(i, {shortcut, branch, norm_gain, heads}, eps);
    return in;
  }

  struct Gains {
    ChannelScale shortcut, branch, norm, heads;
  };

  // From last to first, as the sub-layers come.
  void report(size_t i, const Gains& gains, const std::string& of_norm) {
    const auto add = [&](GainSlot slot, const ChannelScale& gain, std::string moved_to) {
      if (gain.is_one()) return;
      rows_.push_back({names_[i], slot, gain.smallest(), gain.largest(), std::move(moved_to)});
    };
    add(GainSlot::kHeads, gains.heads, "columns of its output matrix");
    add(GainSlot::kNorm, gains.norm, "its norm's weight and bias, or the matrices that read it");
    add(GainSlot::kBranch, gains.branch, "rows of its output matrix, bias");
    add(GainSlot::kShortcut, gains.shortcut, place_of_shortcut(i, gains.shortcut) + of_norm);
  }

  std::string place_of_shortcut(size_t i, const ChannelScale& gain) const {
    if (from_[i]->residual->norms().sum && gain.is_uniform() && options_.eps() == 0.0) {
      return "output matrix and bias, divided";
    }
    const auto before = i == 0 ? prefix_ + "input_scale"
                        : from_[i - 1]->residual->norms().sum
                            ? names_[i - 1] + "_residual.norm"
                            : "the output matrices before it, and " + prefix_ + "input_scale";
    return before + "; its input matrices, divided";
  }

  std::string scale_input(FoldedNorm& norm, double factor) {
    const auto eps = norm.scale_input(factor);
    if (factor == 1.0) return "";
    eps_changed_ = eps_changed_ || eps.has_value();
    return eps ? fmt::format("; its norm's eps is {:.3g}", *eps) : "; its norm's alpha";
  }

  static ChannelScale checked(const char* what,
                              const torch::Tensor& gain,
                              const std::string& name) {
    auto scale = ChannelScale::of(gain);
    TORCH_CHECK(scale.is_finite(),
                "fold: expected finite gains of the ",
                what,
                ", but got NaN or infinity at ",
                name);
    return scale;
  }

  std::string prefix_;
  FoldOptions options_;
  std::vector<const nn::Sublayer*> from_;
  std::vector<std::string> names_;
  std::vector<FoldReportRow> rows_;
  bool eps_changed_ = false;
};

}  // namespace evenkeel::detail
