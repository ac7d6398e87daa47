// SPDX-License-Identifier: MIT
#pragma once

#include "common/schedule_settings.hpp"
#include "common/settings.hpp"
#include "common/vocabulary_settings.hpp"

#include <evenkeel/nn/language_model.hpp>
#include <evenkeel/residual/scheme.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::examples::language_model {

/// All settings of a training run. Saved as config.json and in each checkpoint.
struct Config : RunSettings, VocabularySettings, ScheduleSettings {
  Config() {
    valid_every = 250;
    lr_scheduler = "linear";
  }

  std::vector<std::string> text;        ///< Training text, plain or .gz.
  std::vector<std::string> valid_text;  ///< Held-out text.
  std::string documents = "file";       ///< What a document is: file, paragraph or line.
  std::string tokens = "bytes";         ///< bytes, or pieces of a SentencePiece vocabulary.
  std::string vocabulary;               ///< A SentencePiece model; empty: trained from the text.

  std::string scheme = "pre";            ///< One of `schemes()`.
  std::string init;                      ///< One of `inits()`; empty: the scheme's.
  std::string admin_profile;             ///< Transformer-Clinic's file, for admin-profiled.
  std::string block = "default";         ///< One of `nn::blocks()`.
  int64_t num_layers = 6;                ///< Layers.
  int64_t embed_dim = 256;               ///< Width of the residual stream.
  int64_t num_heads = 8;                 ///< Attention heads.
  int64_t dim_feedforward = 1024;        ///< Inner size of the feed-forward.
  std::string activation = "gelu";       ///< relu, gelu, silu or swiglu.
  std::string norm = "layernorm";        ///< layernorm, rmsnorm, dyt, scalenorm or none.
  int64_t bias = 1;                      ///< Whether matrices have biases.
  std::string positions = "sinusoidal";  ///< sinusoidal, or learned: one for each of a sequence.
  double dropout = 0.0;                  ///< On embeddings and on every branch.
  double decoder_layerdrop = 0.0;        ///< Of whole layers.

  int64_t sequence_length = 128;  ///< Tokens that a sequence predicts.
  int64_t batch_size = 32;        ///< Sequences of a batch.
  double lr = 1e-3;               ///< Highest learning rate.
  double warmup_share = 0.05;     ///< Share of the updates in which the rate rises to it.
  double beta1 = 0.9;             ///< Adam's.
  double beta2 = 0.999;           ///< Adam's.
  double eps = 1e-8;              ///< Adam's.
  double weight_decay = 0.1;      ///< Decoupled; not of norms, gains and biases.
  double clip_norm = 1.0;         ///< Gradients are clipped at this norm; 0 for no clipping.

  int64_t valid_sequences = 256;  ///< Sequences of the validation loss, at most.
  int64_t samples = 1;            ///< Texts that are written at each validation.
  int64_t sample_tokens = 64;     ///< Tokens of such a text.
};

/// Calls `visit(name, field, help, may_change)` for every setting; see `for_each_run_setting`.
template <typename AnyConfig, typename Visit>
void for_each_setting(AnyConfig& c, Visit&& visit) {
  visit("text", c.text, "training text, plain or .gz", true);
  visit("valid-text", c.valid_text, "held-out text", true);
  visit("documents", c.documents, "what a document is: file, paragraph or line", false);
  visit("tokens", c.tokens, "bytes, or pieces of a SentencePiece vocabulary", false);
  visit("vocabulary", c.vocabulary, "SentencePiece model; without, one is trained", true);
  for_each_vocabulary_setting(c, visit);
  visit("scheme", c.scheme, "which residuals: see evenkeel-lm schemes", false);
  visit("init", c.init, "other initial weights: see evenkeel-lm inits", false);
  visit("admin-profile",
        c.admin_profile,
        "profile.ratio.init of admin-profiled; without, the first batch is profiled",
        true);
  visit("block", c.block, "what a layer is: see evenkeel-lm blocks", false);
  visit("num-layers", c.num_layers, "layers", false);
  visit("embed-dim", c.embed_dim, "width of the residual stream", false);
  visit("num-heads", c.num_heads, "attention heads", false);
  visit("dim-feedforward", c.dim_feedforward, "inner size of the feed-forward", false);
  visit("activation", c.activation, "the feed-forward's: relu, gelu, silu or swiglu", false);
  visit("norm", c.norm, "layernorm, rmsnorm, dyt, scalenorm or none", false);
  visit("bias", c.bias, "1: matrices have biases; 0: they have none", false);
  visit("positions", c.positions, "sinusoidal, or learned, as many as --sequence-length", false);
  visit("dropout", c.dropout, "on embeddings and every branch", false);
  visit("decoder-layerdrop", c.decoder_layerdrop, "of whole layers, in training", false);
  visit("sequence-length", c.sequence_length, "tokens that a sequence predicts", false);
  visit("batch-size", c.batch_size, "sequences of a batch", false);
  visit("accumulate", c.accumulate, "batches per update", false);
  visit("lr", c.lr, "highest learning rate", false);
  visit("warmup-share", c.warmup_share, "of the updates, in which the rate rises to it", false);
  for_each_schedule_setting(c, visit);
  visit("beta1", c.beta1, "Adam's", false);
  visit("beta2", c.beta2, "Adam's", false);
  visit("eps", c.eps, "Adam's", false);
  visit("weight-decay", c.weight_decay, "decoupled; not of norms, gains and biases", false);
  visit("clip-norm", c.clip_norm, "gradients are clipped at this norm; 0: no clipping", false);
  for_each_length_setting(c, visit);
  visit("valid-sequences", c.valid_sequences, "of the validation loss, at most", true);
  visit("samples", c.samples, "texts that are written at each validation", true);
  visit("sample-tokens", c.sample_tokens, "tokens of such a text", true);
  for_each_run_setting(c, visit);
}

/// The names of the settings that describe a model.
std::vector<std::string> model_settings(const Config& config);

/// `config`: there are no tasks for which there are settings.
inline Config with_preset(const Config& config, const Config& /*said*/) {
  return config;
}

/// The scheme of a config, with the initial weights that it names. Throws ConfigError for an
/// unknown name.
Scheme configured_scheme(const Config& config);

/// The model of a config. Throws ConfigError for an unknown norm or activation.
nn::LanguageModelOptions model_options(const Config& config, int64_t vocab_size);

/// Returns `config` with defaults filled in. Throws ConfigError for invalid values, before anything
/// is read or written.
Config resolved(Config config);

/// The updates in which the learning rate rises, of a resolved config.
int64_t warmup_updates(const Config& config);

/// The learning rate of an update, from 1.
double learning_rate(const Config& config, int64_t update);

}  // namespace evenkeel::examples::language_model
