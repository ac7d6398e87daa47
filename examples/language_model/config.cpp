// SPDX-License-Identifier: MIT
#include "config.hpp"

#include "common/activations.hpp"

#include <evenkeel/init/inits.hpp>
#include <evenkeel/nn/blocks.hpp>
#include <evenkeel/nn/language_model.hpp>

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>

namespace evenkeel::examples::language_model {

Scheme configured_scheme(const Config& config) {
  auto scheme = scheme_of_option("scheme", config.scheme);
  if (config.init.empty()) return scheme;
  return with_init(std::move(scheme),
                   found_for_option("init", [&] { return find_init(config.init); }));
}

std::vector<std::string> model_settings(const Config& config) {
  std::vector<std::string> names{"tokens",
                                 "scheme",
                                 "block",
                                 "num-layers",
                                 "embed-dim",
                                 "num-heads",
                                 "dim-feedforward",
                                 "activation",
                                 "norm",
                                 "bias",
                                 "positions"};
  if (config.positions == "learned") names.emplace_back("sequence-length");
  return names;
}

int64_t warmup_updates(const Config& config) {
  return static_cast<int64_t>(
      std::ceil(config.warmup_share * static_cast<double>(config.decay_steps)));
}

namespace {

// Whether there is such a block, and whether it goes with the scheme: the smallest model says.
void check_block(const Config& config) {
  const auto scheme = configured_scheme(config);
  auto options = model_options(config, /*vocab_size=*/1);
  options.embed_dim(2).num_heads(1).dim_feedforward(1);
  found_for_option("block", [&] {
    nn::find_block(config.block);
    return nn::LanguageModel<>(scheme, options);
  });
}

}  // namespace

nn::LanguageModelOptions model_options(const Config& config, int64_t vocab_size) {
  const auto norm = value_by_name<NormKind>("norm",
                                            config.norm,
                                            {{"layernorm", NormKind::kLayerNorm},
                                             {"rmsnorm", NormKind::kRmsNorm},
                                             {"dyt", NormKind::kDyT},
                                             {"scalenorm", NormKind::kScaleNorm},
                                             {"none", NormKind::kNone}});
  return nn::LanguageModelOptions()
      .block(config.block)
      .num_layers(config.num_layers)
      .embed_dim(config.embed_dim)
      .num_heads(config.num_heads)
      .dim_feedforward(config.dim_feedforward)
      .activation(activation_of_option(config.activation))
      .norm(norm)
      .bias(config.bias != 0)
      .learned_positions(config.positions == "learned" ? config.sequence_length : 0)
      .dropout(config.dropout)
      .layerdrop(config.decoder_layerdrop)
      .vocab_size(vocab_size);
}

Config resolved(Config c) {
  expect(c.admin_profile.empty() || configured_scheme(c).profiled,
         "admin-profile",
         "--scheme admin-profiled",
         c.scheme);
  constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
  constexpr int64_t kMillion = 1'000'000;
  expect(!c.text.empty(), "text", "a file of training text", value_of(c.text));
  expect_names("text", c.text);
  expect_names("valid-text", c.valid_text);
  expect(c.documents == "file" || c.documents == "paragraph" || c.documents == "line",
         "documents",
         "file, paragraph or line",
         c.documents);
  expect(c.tokens == "bytes" || c.tokens == "pieces", "tokens", "bytes or pieces", c.tokens);
  expect(c.tokens == "pieces" || c.vocabulary.empty(),
         "vocabulary",
         "--tokens pieces",
         value_of(c.tokens));
  check_vocabulary_settings(c);
  expect_within(1, 10'000, "num-layers", c.num_layers);
  expect_within(1, kMillion, "num-heads", c.num_heads);
  expect_within(1, 10 * kMillion, "dim-feedforward", c.dim_feedforward);
  expect_width(c.embed_dim, c.num_heads);
  expect_within(0, 1, "bias", c.bias);
  expect_within(1, 100'000, "sequence-length", c.sequence_length);
  expect(c.positions == "sinusoidal" || c.positions == "learned",
         "positions",
         "sinusoidal or learned",
         c.positions);
  check_block(c);
  expect_within(1, kMillion, "batch-size", c.batch_size);
  for (const auto& [name, share] : {std::pair{"dropout", c.dropout},
                                    {"decoder-layerdrop", c.decoder_layerdrop},
                                    {"warmup-share", c.warmup_share}}) {
    expect_share(name, share);
  }
  check_adam_settings(c);
  expect_positive("lr", c.lr);
  expect_within(1, kAny, "valid-sequences", c.valid_sequences);
  expect_within(0, 100, "samples", c.samples);
  expect_within(1, 100'000, "sample-tokens", c.sample_tokens);
  set_max_steps(c, 2000);
  check_run_settings(c, !c.valid_text.empty());
  if (c.decay_steps == 0) c.decay_steps = *c.max_steps;  // what --warmup-share is a share of
  expect(c.decay_steps > 0 || c.warmup_share == 0.0,
         "decay-steps",
         "updates for --warmup-share to be a share of, since --max-steps has no limit",
         c.decay_steps);
  resolve_schedule_settings(c, warmup_updates(c), *c.max_steps, !c.valid_text.empty());
  return c;
}

double learning_rate(const Config& config, int64_t update) {
  return examples::learning_rate(config, update, config.lr, warmup_updates(config));
}

}  // namespace evenkeel::examples::language_model
