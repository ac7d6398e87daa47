// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/torch_nn.hpp>
#include <evenkeel/core/detail/rng_state.hpp>
#include <evenkeel/fold/detail/channel_scale.hpp>
#include <evenkeel/fold/detail/fold_anatomy.hpp>
#include <evenkeel/fold/detail/fold_stack.hpp>
#include <evenkeel/fold/detail/plain_scheme.hpp>
#include <evenkeel/fold/fold_options.hpp>
#include <evenkeel/fold/fold_report.hpp>
#include <evenkeel/nn/decoder.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/nn/language_model.hpp>
#include <evenkeel/nn/transformer.hpp>
#include <evenkeel/residual/any_norm.hpp>
#include <evenkeel/residual/scheme.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <string>
#include <utility>
#include <vector>

namespace evenkeel {

namespace detail {

/// What `fold` has to tell of all stacks of a model.
struct FoldWords {
  std::vector<FoldReportRow> rows;
  std::vector<std::string> notes;
  bool eps_changed = false;

  /// `title`: the scheme's.
  void write(FoldReport* report, const std::string& title) {
    if (report == nullptr) return;
    if (rows.empty()) notes.push_back("nothing to fold: " + title + " has no gains");
    if (eps_changed) {
      notes.emplace_back("eps is an option of a norm, and not part of a state dict");
    }
    *report = FoldReport(std::move(rows), std::move(notes));
  }
};

/// Registers the factor on a stack's input, or sets it.
template <typename StackImpl>
void set_input_scale(StackImpl& stack, const ChannelScale& scale, const torch::Tensor& like) {
  const auto values = scale.values().expand({stack.options.embed_dim()});
  auto tensor = values.to(like.device(), like.scalar_type()).clone();
  stack.options.input_scale(true);
  if (stack.input_scale.defined()) {
    stack.input_scale.set_data(tensor);
  } else {
    stack.input_scale = stack.register_buffer("input_scale", std::move(tensor));
  }
}

/// The folded stack. `prefix`: what precedes the names of its modules in the model.
template <typename Holder>
Holder fold_stack(const typename Holder::Impl& from,
                  const Scheme& scheme,
                  const std::string& prefix,
                  const FoldOptions& options,
                  FoldWords& words) {
  StackFold fold(from.layers, prefix, options);
  Holder to(scheme, from.options, StackFold::plain_layers(from.layers));
  to->end->norm = from.end->norm.clone();
  replace_child(*to->end, "norm", to->end->norm);
  replace_child(*to, "norm", to->end->norm);
  const auto of_input = ChannelScale::of(from.input_scale) * fold.fold_into(to->layers);
  if (from.options.input_scale() || !of_input.is_one()) {
    set_input_scale(*to, of_input, from.parameters().front());
  }
  if (!of_input.is_one()) {
    words.notes.push_back(prefix + "input_scale: no norm precedes the first sub-layer");
  }
  words.rows.insert(words.rows.end(), fold.rows().begin(), fold.rows().end());
  words.eps_changed = words.eps_changed || fold.eps_changed();
  to->train(from.is_training());
  return to;
}

/// Copies an embedding or a head, which has only a weight.
template <typename Holder>
void copy_weight(const Holder& from, Holder& to) {
  if (!from.is_empty()) to->weight.set_data(from->weight.detach().clone());
}

inline const std::string& title_of(const std::vector<nn::Layer>& layers) {
  return layers.front()->sublayers.front().residual->scheme_title();
}

/// Fold of a stack that is a model of its own.
template <typename Holder>
Holder fold_alone(const typename Holder::Impl& from,
                  bool is_encoder,
                  FoldReport* report,
                  const FoldOptions& options) {
  const KeepRandomState keep;
  FoldWords words;
  const auto norms = norms_of(from.layers);
  const std::vector<Norms> none;
  auto to = fold_stack<Holder>(from,
                               plain_scheme(is_encoder ? norms : none, is_encoder ? none : norms),
                               "",
                               options,
                               words);
  words.write(report, title_of(from.layers));
  return to;
}

}  // namespace detail

/// Returns the plain Transformer, Post-LN, Pre-LN or without norms, that computes the same as
/// `model`: its gains become part of its weights, as the report says.
///
///     auto plain = evenkeel::fold(model);
///
/// What is folded follows from the norms and gains of each residual, so a scheme of your own folds
/// too; see docs/fold.md. The new model has the dtype, device and mode of `model`, shares no tensor
/// with it, and can be trained on. Values are computed in float64 and rounded once to the dtype of
/// the weights. Random numbers are not consumed. Throws c10::Error, naming the place, if the
/// scheme has what a plain Transformer has not (a second stream, another norm), if a shortcut's
/// gain is 0, or if a gain belongs to a branch or a norm of an unknown type.
///
/// A gain of the shortcut that differs between channels goes to the norm before it. No norm
/// precedes the first sub-layer, so the folded stack multiplies its input by `input_scale`, see
/// `LayerOptions`; embeddings stay tied.
///
/// `FoldOptions().eps(1e-5)` gives all norms of sums one eps, which a gain of the shortcut would
/// otherwise change: not every program has one for each norm.
///
/// Papers: Liu et al. 2020 (Admin), https://arxiv.org/abs/2004.08249, where omega is folded into
/// other parameters; microsoft/admin-torch, whose README describes it.
template <typename S>
nn::Encoder<> fold(const nn::Encoder<S>& model,
                   FoldReport* report = nullptr,
                   const FoldOptions& options = {}) {
  TORCH_CHECK(!model.is_empty(), "fold: expected a model, but got an empty holder");
  return detail::fold_alone<nn::Encoder<>>(*model, /*is_encoder=*/true, report, options);
}

template <typename S>
nn::Decoder<> fold(const nn::Decoder<S>& model,
                   FoldReport* report = nullptr,
                   const FoldOptions& options = {}) {
  TORCH_CHECK(!model.is_empty(), "fold: expected a model, but got an empty holder");
  return detail::fold_alone<nn::Decoder<>>(*model, /*is_encoder=*/false, report, options);
}

template <typename S>
nn::Transformer<> fold(const nn::Transformer<S>& model,
                       FoldReport* report = nullptr,
                       const FoldOptions& options = {}) {
  TORCH_CHECK(!model.is_empty(), "fold: expected a model, but got an empty holder");
  const detail::KeepRandomState keep;
  detail::FoldWords words;
  const auto& from = *model;
  const auto scheme = detail::plain_scheme(detail::norms_of(from.encoder->layers),
                                           detail::norms_of(from.decoder->layers));
  auto encoder =
      detail::fold_stack<nn::Encoder<>>(*from.encoder, scheme, "encoder.", options, words);
  auto decoder =
      detail::fold_stack<nn::Decoder<>>(*from.decoder, scheme, "decoder.", options, words);
  auto of_model = from.options;
  if (encoder->options.input_scale() || decoder->options.input_scale()) {
    of_model.input_scale(true);
    const auto& like = from.src_embedding->weight;
    if (!encoder->input_scale.defined()) detail::set_input_scale(*encoder, 1.0, like);
    if (!decoder->input_scale.defined()) detail::set_input_scale(*decoder, 1.0, like);
  }
  nn::Transformer<> to(scheme, of_model, encoder, decoder);
  const auto& weight = from.src_embedding->weight;
  to->positions->to(weight.device(), weight.scalar_type());
  detail::copy_weight(from.src_embedding, to->src_embedding);
  if (!of_model.tie_embeddings()) detail::copy_weight(from.tgt_embedding, to->tgt_embedding);
  detail::copy_weight(from.head, to->head);
  if (from.logits_bias.defined()) to->logits_bias.set_data(from.logits_bias.clone());
  to->train(from.is_training());
  words.write(report, from.scheme().title);
  return to;
}

template <typename S>
nn::LanguageModel<> fold(const nn::LanguageModel<S>& model,
                         FoldReport* report = nullptr,
                         const FoldOptions& options = {}) {
  TORCH_CHECK(!model.is_empty(), "fold: expected a model, but got an empty holder");
  const detail::KeepRandomState keep;
  detail::FoldWords words;
  const auto& from = *model;
  const auto scheme = detail::plain_scheme({}, detail::norms_of(from.decoder->layers));
  auto decoder =
      detail::fold_stack<nn::Decoder<>>(*from.decoder, scheme, "decoder.", options, words);
  auto of_model = from.options;
  of_model.input_scale(decoder->options.input_scale());
  nn::LanguageModel<> to(scheme, of_model, decoder);
  const auto& weight = from.embedding->weight;
  if (!to->positions.is_empty()) to->positions->to(weight.device(), weight.scalar_type());
  detail::copy_weight(from.position_embedding, to->position_embedding);
  detail::copy_weight(from.embedding, to->embedding);
  detail::copy_weight(from.head, to->head);
  to->train(from.is_training());
  words.write(report, from.scheme().title);
  return to;
}

/// The same for a model of your own, by its anatomy: a copy that computes the same, in which all
/// gains of shortcuts and branches are 1, so that they can be left out.
///
///     auto folded = evenkeel::fold(my_model);                    // MyModel has an AnatomyOf
///     auto stack = evenkeel::fold<MyModel, MyBlock>(my_model);   // or its blocks have
///
/// Each sub-layer is taken to be sum_norm(shortcut * x + branch * f(input_norm(x))), with the gains
/// and norms that its AnatomyOf gives it: `.gain(omega, GainSlot::kShortcut)` and
/// `.norm(norm, NormSlot::kSum)`. What is missing there is an error that says what to write; see
/// docs/fold.md. A shortcut with a value for each channel stays where no norm precedes it, in the
/// first sub-layer of a stack. Norms get another eps, which is one of their options, as above.
template <typename Model, typename... Blocks>
Model fold(const Model& model, FoldReport* report = nullptr, const FoldOptions& options = {}) {
  static_assert(torch::detail::is_module_holder<Model>::value,
                "fold: pass a module holder, made by TORCH_MODULE, not its Impl class");
  TORCH_CHECK(!model.is_empty(), "fold: expected a model, but got an empty holder");
  const detail::KeepRandomState keep;
  auto copy = detail::clone_of(model);
  copy->train(model->is_training());
  const auto anatomy = anatomy_of<Blocks...>(copy);
  auto told = detail::AnatomyFold(*copy, anatomy, options).fold();
  if (report != nullptr) *report = std::move(told);
  return copy;
}

}  // namespace evenkeel
