// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/torch_nn.hpp>
#include <evenkeel/core/error.hpp>
#include <evenkeel/init/apply_init.hpp>
#include <evenkeel/init/detail/scaled_draw.hpp>
#include <evenkeel/residual/scheme.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel {

/// Options for `SchemeInit`, e.g. `InitOptions().encoder_layers(18).decoder_layers(18)`. For a
/// model with a single stack, set one of the two: `InitOptions().decoder_layers(24)`.
struct InitOptions {
  /// Layers of the encoder. Default: 0, none
  TORCH_ARG(int64_t, encoder_layers) = 0;
  /// Layers of the decoder. Default: 0, none
  TORCH_ARG(int64_t, decoder_layers) = 0;
  /// Re-initialise the weights of every layer, as in the papers. If false, the existing weights are
  /// scaled: a packed in_proj_weight must then have been initialised as one Xavier-uniform matrix
  /// (as torch::nn does), separate projections as one each. Default: true
  TORCH_ARG(bool, redraw) = true;
  /// Initialise a model that has norms by a scheme that has none, such as T-Fixup; the report then
  /// has a note. If false, that is an error. Default: false
  TORCH_ARG(bool, allow_norms) = false;
};

/// Initialises the weights of a model of your own as a scheme has it, and reports how:
///
///     SchemeInit<Admin, MyModel, MyBlock> begin(InitOptions().decoder_layers(24));
///     std::cout << begin(model);
///
/// `S` is the scheme if it is known at compile time; otherwise pass it as a value:
/// `SchemeInit<Scheme, MyModel, MyBlock>(find_scheme("tfixup"), options)`. `Model` has an
/// `AnatomyOf<Model>`, or is built of torch::nn's layers, or holds blocks of the types `Blocks...`.
/// Norms and gains are not changed: `Residual` and `AdminResidual` initialise their own.
template <typename S, typename Model, typename... Blocks>
class SchemeInit {
 public:
  explicit SchemeInit(const InitOptions& options_) : SchemeInit(scheme_of<S>(), options_) {}

  SchemeInit(Scheme scheme, const InitOptions& options_)
      : options(options_), scheme_(std::move(scheme)) {
    TORCH_CHECK(options.encoder_layers() >= 0 && options.decoder_layers() >= 0 &&
                    options.encoder_layers() + options.decoder_layers() > 0,
                name(),
                ": expected encoder_layers or decoder_layers > 0, but got ",
                options.encoder_layers(),
                " and ",
                options.decoder_layers());
  }

  /// Initialises `model` and reports how. Throws, and changes nothing, if a parameter has no role,
  /// the depths of the model differ from the options, or the model has norms that the scheme does
  /// without and the options do not allow them.
  InitReport operator()(Model& model) const {
    const auto stack = options.encoder_layers() > 0 ? Stack::kEncoder : Stack::kDecoder;
    const auto anatomy = anatomy_of<Blocks...>(model, stack);
    TORCH_CHECK(anatomy.encoder_layers == options.encoder_layers() &&
                    anatomy.decoder_layers == options.decoder_layers(),
                name(),
                ": expected ",
                options.encoder_layers(),
                " encoder and ",
                options.decoder_layers(),
                " decoder layers, as the options say, but ",
                detail::contained(model).name(),
                " has ",
                anatomy.encoder_layers,
                " and ",
                anatomy.decoder_layers);
    auto notes = notes_on_norms(anatomy, detail::contained(model).name());
    auto report = options.redraw() ? apply_init(anatomy, scheme_.draw)
                                   : apply_init(anatomy, detail::scaled_draw(scheme_));
    return InitReport(std::move(report).rows(), std::move(notes));
  }

  const Scheme& scheme() const { return scheme_; }  ///< The scheme whose initialisation this is.

  InitOptions options;  ///< The options with which this init was constructed.

 private:
  std::string name() const { return "SchemeInit<" + scheme_.title + ">"; }

  /// A note on the model's norms if the scheme has none at any position; throws if they are not
  /// allowed.
  std::vector<std::string> notes_on_norms(const Anatomy& anatomy, const std::string& model) const {
    const auto& all = anatomy.sublayers;
    const bool without = std::none_of(all.begin(), all.end(), [&](const Sublayer& sublayer) {
      return scheme_.norms(anatomy.position(sublayer)).any();
    });
    if (!without || anatomy.norms.empty()) return {};
    const auto names = detail::first_of(anatomy.norms);
    TORCH_CHECK(options.allow_norms(),
                name(),
                ": expected a model without norms, as the scheme has none, but ",
                model,
                " has ",
                names,
                ". Remove them; or initialise the model all the same, with "
                "InitOptions().allow_norms(true)");
    return {fmt::format(
        "{} has no norms, but the model has {}. They rescale what they read, so the gains above do "
        "not act as published, and the model may need warm-up.",
        scheme_.title,
        names)};
  }

  Scheme scheme_;
};

}  // namespace evenkeel
