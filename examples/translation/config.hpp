// SPDX-License-Identifier: MIT
#pragma once

#include "common/schedule_settings.hpp"
#include "common/settings.hpp"
#include "common/vocabulary_settings.hpp"

#include <evenkeel/residual/scheme.hpp>

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {

/// All settings of a training run. Saved as config.json and in each checkpoint.
struct Config : RunSettings, VocabularySettings, ScheduleSettings {
  std::string task;                       ///< One of `presets()`, whose settings are the defaults.
  std::vector<std::string> source;        ///< Training text, one sentence a line, plain or .gz.
  std::vector<std::string> target;        ///< Its translation, line by line.
  std::vector<std::string> valid_source;  ///< Held-out text for the validation loss and BLEU.
  std::vector<std::string> valid_target;  ///< Its translation.
  std::string vocabulary;                 ///< A SentencePiece model; empty: trained from the text.
  std::string source_vocabulary;          ///< One for the source alone; makes them separate.
  std::string target_vocabulary;          ///< One for the target alone; likewise.
  int64_t separate_vocabularies = 0;  ///< 1: one for each side, and embeddings that are not tied.

  std::string scheme = "admin";     ///< One of `schemes()`.
  std::string init;                 ///< One of `inits()`; empty: the scheme's.
  std::string admin_profile;        ///< Transformer-Clinic's file, for admin-profiled.
  int64_t branchnorm_steps = 4000;  ///< Updates in which branchnorm's gain grows to 1.
  int64_t encoder_layers = 6;       ///< Layers of the encoder.
  int64_t decoder_layers = 6;       ///< Layers of the decoder.
  int64_t embed_dim = 512;          ///< Width of the residual stream.
  int64_t num_heads = 8;            ///< Attention heads.
  int64_t dim_feedforward = 2048;   ///< Inner size of the feed-forward.
  std::string activation = "relu";  ///< relu, gelu, silu or swiglu.
  int64_t logits_bias = 0;          ///< 1: the logits have a bias, which is not trained.
  int64_t input_scale = 0;          ///< 1: factors on the input of each stack, not trained.
  double dropout = 0.1;             ///< On embeddings and on every branch.
  double attention_dropout = 0.0;   ///< On attention weights.
  double activation_dropout = 0.0;  ///< After the feed-forward's activation.
  double dropout_src = 0.0;         ///< Of whole embeddings of the source.
  double dropout_trg = 0.0;         ///< Of whole embeddings of the target.
  double encoder_layerdrop = 0.0;   ///< Of whole layers of the encoder.
  double decoder_layerdrop = 0.0;   ///< Of whole layers of the decoder.

  std::optional<double> lr;       ///< Highest learning rate; by default the scheme's.
  std::optional<int64_t> warmup;  ///< Updates of linear warm-up; by default the scheme's, 0 none.
  double beta1 = 0.9;             ///< Adam's.
  double beta2 = 0.98;            ///< Adam's.
  double eps = 1e-9;              ///< Adam's.
  double weight_decay = 0.0;      ///< Decoupled; not of norms, gains and biases.
  double clip_norm = 1.0;         ///< Gradients are clipped at this norm; 0 for no clipping.
  double label_smoothing = 0.1;   ///< Share of the target spread over the vocabulary.
  double rdrop = 0.0;             ///< Weight of R-Drop's divergence; 0: one pass, without it.
  int64_t batch_tokens = 4096;    ///< Rows times longest row of a batch, at most.
  std::optional<int64_t> batch_shapes;  ///< Most shapes of batches; see `BatchOptions`.
  int64_t max_length = 128;             ///< In pieces; longer pairs are skipped.

  int64_t valid_sentences = 500;  ///< Sentences translated for the validation BLEU; 0 for none.
  /// What validations measure the model by, the first decides; see `valid_metrics()`.
  std::vector<std::string> valid_metrics;
};

/// Calls `visit(name, field, help, may_change)` for every setting. `may_change` says that a resumed
/// run may take another value than the run had; of text and vocabulary, the content has to be the
/// same.
template <typename AnyConfig, typename Visit>
void for_each_setting(AnyConfig& c, Visit&& visit) {
  visit("task",
        c.task,
        "settings for tiny, multi30k, iwslt, base or big: see evenkeel-translate tasks",
        false);
  visit("source",
        c.source,
        "training text, one sentence a line, plain or .gz; -: standard input",
        true);
  visit("target", c.target, "its translation; none: it is in --source, behind a tab", true);
  visit("valid-source", c.valid_source, "held-out text for validation loss and BLEU", true);
  visit("valid-target", c.valid_target, "its translation; none: behind a tab", true);
  visit("vocabulary", c.vocabulary, "SentencePiece model; without, one is trained", true);
  visit("source-vocabulary", c.source_vocabulary, "one of the source alone", true);
  visit("target-vocabulary", c.target_vocabulary, "one of the target alone", true);
  visit("separate-vocabularies",
        c.separate_vocabularies,
        "1: one for each side, trained where none is named; embeddings are not tied",
        false);
  for_each_vocabulary_setting(c, visit);
  visit("scheme", c.scheme, "which residuals: see evenkeel-translate schemes", false);
  visit("init", c.init, "other initial weights: see evenkeel-translate inits", false);
  visit("admin-profile",
        c.admin_profile,
        "profile.ratio.init of admin-profiled; without, the first batch is profiled",
        true);
  visit("branchnorm-steps", c.branchnorm_steps, "updates in which its gain grows to 1", false);
  visit("encoder-layers", c.encoder_layers, "layers of the encoder", false);
  visit("decoder-layers", c.decoder_layers, "layers of the decoder", false);
  visit("embed-dim", c.embed_dim, "width of the residual stream", false);
  visit("num-heads", c.num_heads, "attention heads", false);
  visit("dim-feedforward", c.dim_feedforward, "inner size of the feed-forward", false);
  visit("activation", c.activation, "the feed-forward's: relu, gelu, silu or swiglu", false);
  visit("logits-bias", c.logits_bias, "1: the logits have a bias, as that of --init-from", false);
  visit("input-scale",
        c.input_scale,
        "1: stacks scale their input, as those of --init-from",
        false);
  visit("dropout", c.dropout, "on embeddings and every branch", false);
  visit("attention-dropout", c.attention_dropout, "on attention weights", false);
  visit("activation-dropout", c.activation_dropout, "after the feed-forward's activation", false);
  visit("dropout-src", c.dropout_src, "of whole word embeddings of the source", false);
  visit("dropout-trg", c.dropout_trg, "of whole word embeddings of the target", false);
  visit("encoder-layerdrop", c.encoder_layerdrop, "of whole layers, in training", false);
  visit("decoder-layerdrop", c.decoder_layerdrop, "of whole layers, in training", false);
  visit("lr", c.lr, "highest learning rate (default: 1e-3; tfixup 5e-4)", false);
  visit("warmup", c.warmup, "updates of linear warm-up (default: 4000; tfixup 0, none)", false);
  for_each_schedule_setting(c, visit);
  visit("beta1", c.beta1, "Adam's", false);
  visit("beta2", c.beta2, "Adam's", false);
  visit("eps", c.eps, "Adam's", false);
  visit("weight-decay", c.weight_decay, "decoupled; not of norms, gains and biases", false);
  visit("clip-norm", c.clip_norm, "gradients are clipped at this norm; 0: no clipping", false);
  visit("label-smoothing", c.label_smoothing, "share of the target spread over all pieces", false);
  visit("rdrop", c.rdrop, "R-Drop: weight of the divergence of two passes; 0: one pass", false);
  visit("batch-tokens", c.batch_tokens, "limit of sentences times longest sentence", false);
  visit("accumulate", c.accumulate, "batches per update", false);
  visit("batch-shapes",
        c.batch_shapes,
        "shapes to which batches are padded; 0: none (default: 32 on CUDA, 0 on the CPU)",
        false);
  visit("max-length", c.max_length, "in pieces; longer pairs are skipped", false);
  for_each_length_setting(c, visit);
  visit("valid-sentences", c.valid_sentences, "sentences for the validation BLEU; 0: none", true);
  visit("valid-metrics",
        c.valid_metrics,
        "bleu, chrf, ter, ce-mean-words (the loss), perplexity; the first decides which model is "
        "the best",
        true);
  for_each_run_setting(c, visit);
}

/// The names of the settings that describe a model.
std::vector<std::string> model_settings(const Config& config);

/// Every setting as JSON, under the names of the options.
nlohmann::json to_json(const Config& config);

/// `base` with the settings that `json` has. Throws ConfigError, which begins with `where`, for a
/// name or type that is wrong.
Config from_json(const nlohmann::json& json, Config base = {}, const std::string& where = "config");

/// The same from JSON text, such as that of a file. Damage is told by line and column, and a
/// setting must not be there twice.
Config config_from_text(const std::string& text, const std::string& where, Config base = {});

/// Calls from_json() for one setting as the command line has it: numbers are read exactly, to their
/// end, or refused.
void set_option(Config& config, const std::string& name, const std::vector<std::string>& words);

/// The scheme of a config, with the initial weights that it names. Throws ConfigError for an
/// unknown name.
Scheme configured_scheme(const Config& config);

/// The validation metrics of a config: BLEU by default, or the loss, ce-mean-words, where nothing
/// is translated.
std::vector<std::string> valid_metrics(const Config& config);

/// Returns `config` with the defaults of its scheme filled in. Throws ConfigError for invalid
/// values, before anything is read or written.
Config resolved(Config config);

}  // namespace evenkeel::examples::translation
