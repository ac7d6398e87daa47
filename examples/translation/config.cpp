// SPDX-License-Identifier: MIT
#include "config.hpp"

#include "common/activations.hpp"
#include "common/device.hpp"
#include "presets.hpp"
#include "text_metrics.hpp"

#include <evenkeel/init/inits.hpp>
#include <evenkeel/residual/branch_norm.hpp>

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

namespace evenkeel::examples::translation {

using nlohmann::json;

Scheme configured_scheme(const Config& config) {
  auto scheme = scheme_of_option("scheme", config.scheme);
  if (config.scheme == BranchNorm::kName) scheme = branch_norm(config.branchnorm_steps);
  if (config.init.empty()) return scheme;
  return with_init(std::move(scheme),
                   found_for_option("init", [&] { return find_init(config.init); }));
}

std::vector<std::string> model_settings(const Config& /*config*/) {
  return {"separate-vocabularies",
          "scheme",
          "encoder-layers",
          "decoder-layers",
          "embed-dim",
          "num-heads",
          "dim-feedforward",
          "activation",
          "logits-bias",
          "input-scale"};
}

json to_json(const Config& config) {
  return settings_to_json(config);
}

Config from_json(const json& settings, Config base, const std::string& where) {
  return settings_from_json(settings, std::move(base), where);
}

Config config_from_text(const std::string& text, const std::string& where, Config base) {
  return from_json(settings_object(text, where), std::move(base), where);
}

void set_option(Config& config, const std::string& name, const std::vector<std::string>& words) {
  set_setting(config, name, words);
}

std::vector<std::string> valid_metrics(const Config& config) {
  if (!config.valid_metrics.empty()) return config.valid_metrics;
  return {config.valid_sentences > 0 ? "bleu" : "ce-mean-words"};
}

namespace {

void check_valid_metrics(const Config& c) {
  std::set<std::string> seen;
  for (const auto& metric : c.valid_metrics) {
    const bool translates = find_text_metric(metric) != nullptr;
    expect(translates || metric == "ce-mean-words" || metric == "perplexity",
           "valid-metrics",
           "bleu, chrf, ter, ce-mean-words or perplexity",
           value_of(metric));
    expect(!translates || c.valid_sentences > 0,
           "valid-metrics",
           "no " + metric + " at --valid-sentences 0",
           value_of(c.valid_metrics));
    expect(seen.insert(metric).second,
           "valid-metrics",
           "each metric once",
           value_of(c.valid_metrics));
  }
}

}  // namespace

Config resolved(Config c) {
  expect(c.branchnorm_steps >= 1, "branchnorm-steps", "at least 1", c.branchnorm_steps);
  const auto scheme = configured_scheme(c);
  expect(c.admin_profile.empty() || scheme.profiled,
         "admin-profile",
         "--scheme admin-profiled",
         c.scheme);
  const bool warmup = scheme.warmup;
  const auto* preset = c.task.empty() ? nullptr : &find_preset(c.task);
  if (!c.lr) c.lr = !warmup ? 5e-4 : preset != nullptr ? preset->lr : 1e-3;
  if (!c.warmup) c.warmup = !warmup ? 0 : preset != nullptr ? preset->warmup : 4000;

  if (!c.batch_shapes) c.batch_shapes = device_of(c.device).is_cuda() ? 32 : 0;

  constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
  constexpr int64_t kMillion = 1'000'000;
  check_vocabulary_settings(c);
  if (!c.source_vocabulary.empty() || !c.target_vocabulary.empty()) c.separate_vocabularies = 1;
  expect_within(0, 1, "separate-vocabularies", c.separate_vocabularies);
  expect(c.separate_vocabularies == 0 || c.vocabulary.empty(),
         "vocabulary",
         "none beside separate vocabularies",
         c.vocabulary);
  expect_within(1, 10'000, "encoder-layers", c.encoder_layers);
  expect_within(1, 10'000, "decoder-layers", c.decoder_layers);
  expect_within(1, kMillion, "num-heads", c.num_heads);
  expect_within(1, 10 * kMillion, "dim-feedforward", c.dim_feedforward);
  activation_of_option(c.activation);
  expect_within(0, 1, "logits-bias", c.logits_bias);
  expect_within(0, 1, "input-scale", c.input_scale);
  expect_within(1, 1000 * kMillion, "batch-tokens", c.batch_tokens);
  expect_within(0, 1000, "batch-shapes", *c.batch_shapes);
  expect_within(2, 100'000, "max-length", c.max_length);
  expect_within(0, kAny, "valid-sentences", c.valid_sentences);
  expect_width(c.embed_dim, c.num_heads);
  expect_positive("lr", *c.lr);
  for (const auto& [name, share] : {std::pair{"dropout", c.dropout},
                                    {"attention-dropout", c.attention_dropout},
                                    {"activation-dropout", c.activation_dropout},
                                    {"dropout-src", c.dropout_src},
                                    {"dropout-trg", c.dropout_trg},
                                    {"encoder-layerdrop", c.encoder_layerdrop},
                                    {"decoder-layerdrop", c.decoder_layerdrop},
                                    {"label-smoothing", c.label_smoothing}}) {
    expect_share(name, share);
  }
  expect_not_negative("rdrop", c.rdrop);
  check_adam_settings(c);
  expect(!c.source.empty(), "source", "a file of training text", value_of(c.source));
  expect(c.target.empty() || c.source.size() == c.target.size(),
         "target",
         "as many files as --source, or none",
         value_of(c.target));
  expect(c.valid_target.empty() || c.valid_source.size() == c.valid_target.size(),
         "valid-target",
         "as many files as --valid-source, or none",
         value_of(c.valid_target));
  for (const auto& [name, files] : {std::pair{"source", c.source},
                                    {"target", c.target},
                                    {"valid-source", c.valid_source},
                                    {"valid-target", c.valid_target}}) {
    expect_names(name, files);
  }
  check_valid_metrics(c);
  set_max_steps(c, 10'000);
  check_run_settings(c, !c.valid_source.empty());
  resolve_schedule_settings(c, *c.warmup, *c.max_steps, !c.valid_source.empty());
  return c;
}

}  // namespace evenkeel::examples::translation
