// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy.hpp>
#include <evenkeel/anatomy/sublayer.hpp>
#include <evenkeel/core/enums.hpp>
#include <evenkeel/fold/detail/channel_scale.hpp>
#include <evenkeel/fold/detail/fold_norm.hpp>
#include <evenkeel/fold/detail/own_part.hpp>
#include <evenkeel/fold/fold_options.hpp>
#include <evenkeel/fold/fold_report.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstddef>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// Folds a copy of a user's own model, by what its anatomy tells: each sub-layer is taken to be
///
///     y = sum_norm( shortcut * x + branch * f( input_norm(x) ) )
///
/// with the matrices that read x and those that write f. All gains of shortcut and branch become 1,
/// by the algebra of `StackFold`. Of a stack's first sub-layer, whose input is not scaled, the
/// shortcut keeps what no norm takes.
class AnatomyFold {
 public:
  AnatomyFold(torch::nn::Module& model, const Anatomy& anatomy, const FoldOptions& options)
      : anatomy_(anatomy), options_(options) {
    TORCH_CHECK(options.eps() >= 0.0,
                "fold: expected eps > 0, or 0 for none that is the same, but got ",
                options.eps());
    check_residuals(model);
    check_gains(model, anatomy);
    find_described_norms(model);
    for (const auto& sublayer : anatomy.sublayers) parts_.push_back(own_part(sublayer));
  }

  FoldReport fold() {
    for (const auto stack : {Stack::kEncoder, Stack::kDecoder}) plan(stack);
    check_plan();
    for (auto& part : parts_) {
      apply(part);
      tell(part);
    }
    if (rows_.empty()) notes_.emplace_back("nothing to fold: its sub-layers have no gains");
    if (eps_changed_) {
      notes_.emplace_back("eps is an option of a norm, and not part of a state dict");
    }
    return FoldReport(std::move(rows_), std::move(notes_));
  }

 private:
  void find_described_norms(const torch::nn::Module& model) {
    for (const auto& item : model.named_modules()) {
      for (const auto& sublayer : anatomy_.sublayers) {
        for (const auto& norm : sublayer.norms) {
          if (norm.module == item.value()) described_norms_.insert(item.key());
        }
      }
    }
  }

  // Goes back from the stack's end, where the stream has its scale, to its beginning; see
  // `StackFold`.
  void plan(Stack stack) {
    ChannelScale out;
    for (auto part = parts_.rbegin(); part != parts_.rend(); ++part) {
      if (part->sublayer->stack != stack) continue;
      const bool first = part->sublayer->index == 0;
      auto of_sum = out;  // shortcut * x + branch * f(x) = of_sum * (x' + ...)
      if (part->sum_norm != nullptr) {
        of_sum = scale_of_sum(*part);
        part->norm_input = of_sum.value();
        part->norm_output = ChannelScale(1.0) / out;
      }
      part->rows = part->branch / of_sum;
      if (first) part->kept = part->shortcut / of_sum;
      const auto in = first ? ChannelScale() : of_sum / part->shortcut;
      if (part->input_norm != nullptr) {
        TORCH_CHECK(in.is_uniform(),
                    "fold: expected one value for all channels of the shortcut's gain, as the norm "
                    "of ",
                    part->name,
                    " reads all channels of the stream, but its values are from ",
                    in.smallest(),
                    " to ",
                    in.largest());
        part->norm_input = in.value();
      } else {
        part->columns = in;
      }
      out = in;
    }
  }

  ChannelScale scale_of_sum(const OwnPart& part) const {
    if (options_.eps() > 0.0 && part.sum_norm->module != nullptr) {
      return FoldedNorm(part.sum_norm->module, part.name).factor_for(options_.eps());
    }
    return part.shortcut.is_uniform() ? part.shortcut : ChannelScale();
  }

  bool changes(const OwnPart& part) const {
    return !part.shortcut.is_one() || !part.branch.is_one() || !part.rows.is_one() ||
           !part.columns.is_one() || !part.norm_output.is_one() || part.norm_input != 1.0;
  }

  // Throws where the anatomy does not tell enough for what is to change.
  void check_plan() const {
    for (const auto& part : parts_) {
      if (!changes(part)) continue;
      const auto& sublayer = *part.sublayer;
      TORCH_CHECK(!sublayer.writes.empty() || part.rows.is_one(),
                  "fold: expected to know the matrix of ",
                  part.name,
                  " that writes to the stream; in AnatomyOf, give it .output(matrix)");
      TORCH_CHECK(!sublayer.reads.empty() || part.columns.is_one(),
                  "fold: expected to know the matrices of ",
                  part.name,
                  " that read the stream; in AnatomyOf, give it .query(matrix), .input(matrix) or "
                  "the like");
      check_biases(part);
      check_norms(part);
      for (const auto* matrices : {&sublayer.reads, &sublayer.writes}) {
        const auto& factor = matrices == &sublayer.reads ? part.columns : part.rows;
        for (const auto matrix : *matrices) {
          const auto& parameter = anatomy_.parameters[matrix];
          TORCH_CHECK(factor.is_one() || parameter.tied_names.empty(),
                      "fold: expected ",
                      parameter.name,
                      " to be of ",
                      part.name,
                      " alone, whose gain it takes, but it is tied to ",
                      parameter.tied_names.front());
        }
      }
      check_kept(part);
    }
  }

  // A bias without a matrix may be what is added to the stream.
  void check_biases(const OwnPart& part) const {
    for (const auto& parameter : anatomy_.parameters) {
      const bool loose = parameter.role == Role::kBias && parameter.matrix < 0 &&
                         anatomy_.sublayer_of(parameter) == part.sublayer;
      TORCH_CHECK(!loose || part.rows.is_one(),
                  "fold: expected to know the matrix of the bias ",
                  parameter.name,
                  "; in AnatomyOf, give it behind that as .bias(tensor)");
    }
  }

  void check_norms(const OwnPart& part) const {
    for (const auto& norm : part.sublayer->norms) {
      TORCH_CHECK(norm.slot.has_value(),
                  "fold: expected to know the place of the norms of ",
                  part.name,
                  "; in AnatomyOf, give it .norm(module, NormSlot::kSum) or NormSlot::kInput");
      TORCH_CHECK(norm.module != nullptr,
                  "fold: expected the norm of ",
                  part.name,
                  " as a module, whose weight takes a gain, but its AnatomyOf has a tensor");
      const auto slot = *norm.slot;
      TORCH_CHECK(
          slot != NormSlot::kStream && slot != NormSlot::kSecond && slot != NormSlot::kBranch,
          "fold: ",
          part.name,
          " cannot be folded, as it has a norm at: ",
          to_string(slot));
    }
    TORCH_CHECK(part.sum_norm == nullptr || part.input_norm == nullptr,
                "fold: ",
                part.name,
                " cannot be folded, as it has norms at its input and at its sum");
    if (part.sum_norm != nullptr || part.input_norm != nullptr) return;
    for (const auto& name : anatomy_.norms) {
      TORCH_CHECK(!stands_in(name, *part.sublayer) || described_norms_.count(name) != 0,
                  "fold: expected to know where the norm ",
                  name,
                  " stands, which may be that of ",
                  part.name,
                  "; in AnatomyOf, give its sub-layer .norm(module, NormSlot::kSum) or "
                  "NormSlot::kInput");
    }
  }

  // Whether the registered name of a norm begins as all names of the sub-layer's layer do.
  bool stands_in(const std::string& norm, const Sublayer& sublayer) const {
    std::string common;
    bool any = false;
    for (const auto& parameter : anatomy_.parameters) {
      const auto* other = anatomy_.sublayer_of(parameter);
      if (other == nullptr || other->stack != sublayer.stack || other->layer != sublayer.layer) {
        continue;
      }
      if (!std::exchange(any, true)) common = parameter.name;
      const auto end =
          std::mismatch(common.begin(), common.end(), parameter.name.begin(), parameter.name.end())
              .first;
      common.erase(end, common.end());
    }
    common.erase(common.find_last_of('.') + 1);
    return norm.rfind(common, 0) == 0;
  }

  void check_kept(const OwnPart& part) const {
    if (part.kept.is_one()) return;
    TORCH_CHECK(
        !part.shortcuts.empty() && (part.kept.is_uniform() ||
                                    part.shortcuts.front().numel() == part.kept.values().numel()),
        "fold: expected a gain of the shortcut of ",
        part.name,
        part.kept.is_uniform() ? "" : ", one value for each channel,",
        " which keeps what no norm before it takes; its values are from ",
        part.kept.smallest(),
        " to ",
        part.kept.largest());
    for (const auto& other : parts_) {
      const bool shared = &other != &part && !other.shortcuts.empty() &&
                          other.shortcuts.front().is_same(part.shortcuts.front());
      TORCH_CHECK(!shared,
                  "fold: expected ",
                  part.name,
                  " to have a gain of the shortcut of its own, as it keeps one, but it is that of ",
                  other.name);
    }
  }

  void apply(OwnPart& part) {
    const auto& sublayer = *part.sublayer;
    for (const auto matrix : sublayer.writes) {
      const auto& parameter = anatomy_.parameters[matrix];
      part.rows.scale_rows(parameter.rows());
      if (parameter.bias >= 0) {
        part.rows.scale_rows(anatomy_.parameters[static_cast<size_t>(parameter.bias)].rows());
      }
    }
    for (const auto matrix : sublayer.reads) {
      part.columns.scale_columns(anatomy_.parameters[matrix].rows());
    }
    for (const auto* norm : {part.sum_norm, part.input_norm}) {
      if (norm == nullptr) continue;
      FoldedNorm folded(norm->module, part.name + "'s norm");
      folded.scale_output(part.norm_output);
      const bool has_eps = folded.scale_input(part.norm_input).has_value();
      eps_changed_ = eps_changed_ || (has_eps && part.norm_input != 1.0);
    }
    const torch::NoGradGuard no_grad;
    for (const auto* gains : {&part.shortcuts, &part.branches}) {
      for (const auto& gain : *gains) gain.detach().fill_(1.0);
    }
    if (!part.kept.is_one()) {
      const auto& gain = part.shortcuts.front();
      gain.detach().copy_(part.kept.values().expand({gain.numel()}).view(gain.sizes()));
    }
  }

  void tell(const OwnPart& part) {
    const auto add = [&](GainSlot slot, const ChannelScale& gain, const char* moved_to) {
      if (gain.is_one()) return;
      rows_.push_back({part.name, slot, gain.smallest(), gain.largest(), moved_to});
    };
    const bool kept = !part.kept.is_one();
    add(GainSlot::kBranch, part.branch, "what writes to the stream");
    add(GainSlot::kShortcut,
        part.shortcut,
        kept                       ? "stays, as no norm precedes the stack's first sub-layer"
        : part.norm_input != 1.0   ? "what writes to the stream, divided; its norm"
        : part.sum_norm != nullptr ? "the norm before it; its input matrices, divided"
                                   : "what writes to the stream before it");
  }

  const Anatomy& anatomy_;
  FoldOptions options_;
  std::set<std::string> described_norms_;  // by registered name
  std::vector<OwnPart> parts_;
  std::vector<FoldReportRow> rows_;
  std::vector<std::string> notes_;
  bool eps_changed_ = false;
};

}  // namespace evenkeel::detail
