// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/fold/detail/ctranslate2_file.hpp>
#include <evenkeel/fold/detail/ctranslate2_layers.hpp>
#include <evenkeel/fold/detail/json_text.hpp>
#include <evenkeel/fold/detail/new_folder.hpp>
#include <evenkeel/fold/fold.hpp>
#include <evenkeel/fold/fold_options.hpp>
#include <evenkeel/nn/positions.hpp>
#include <evenkeel/nn/transformer.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/arg.h>
#include <torch/types.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace evenkeel {

/// The texts of the token ids, from 0. CTranslate2 reads and writes these, not ids.
struct CTranslate2Tokens {
  /// One vocabulary for both sides.
  // NOLINTNEXTLINE(google-explicit-constructor): a list of tokens is the common case
  CTranslate2Tokens(std::vector<std::string> both) : source(std::move(both)), target(source) {}
  CTranslate2Tokens(std::vector<std::string> source_, std::vector<std::string> target_)
      : source(std::move(source_)), target(std::move(target_)) {}

  std::vector<std::string> source;
  std::vector<std::string> target;
  std::string unk = "<unk>";  ///< Replaces a token that is not in a vocabulary.
  std::string bos = "<s>";   ///< Starts the decoder's input, unless the model's starts with pad_id.
  std::string eos = "</s>";  ///< Ends source and translation.
};

/// Options for `export_ctranslate2`, e.g. `CTranslate2Options().max_length(512)`.
struct CTranslate2Options {
  using Files = std::map<std::string, std::string>;

  /// Rows of the table of positions. CTranslate2 does not translate longer texts. Default: 2048
  TORCH_ARG(int64_t, max_length) = 2048;
  /// Whether CTranslate2 adds `eos` to every source. Default: true
  TORCH_ARG(bool, add_source_eos) = true;
  /// Files to add to the folder, contents by name, such as a SentencePiece model. Default: none
  TORCH_ARG(Files, files);
};

namespace detail {

inline constexpr uint32_t kTransformerSpecRevision = 7;

inline void check_tokens(const char* side,
                         const std::vector<std::string>& tokens,
                         int64_t size,
                         const std::vector<std::string>& special) {
  TORCH_CHECK(static_cast<int64_t>(tokens.size()) == size,
              "export_ctranslate2: expected ",
              size,
              " tokens of the ",
              side,
              ", one for each row of its embedding, but got ",
              tokens.size());
  std::unordered_set<std::string> known;
  for (const auto& token : tokens) {
    TORCH_CHECK(known.insert(token).second,
                "export_ctranslate2: expected tokens of the ",
                side,
                " that differ, but got twice ",
                token);
  }
  for (const auto& token : special) {
    TORCH_CHECK(known.count(token) > 0,
                "export_ctranslate2: expected ",
                token,
                " among the tokens of the ",
                side,
                ", but it is not there");
  }
}

/// eps of the first norm of the encoder, or 0 if it has none.
inline double first_eps(const nn::TransformerImpl& model) {
  const auto& residual = *model.encoder->layers.front()->sublayers.front().residual;
  const auto& norm = residual.norms().sum ? residual.sum_norm : residual.input_norm;
  if (norm.is_empty()) return 0.0;
  if (const auto layer_norm = exactly<torch::nn::LayerNorm>(norm.ptr())) {
    return layer_norm->options.eps();
  }
  const auto rms_norm = exactly<RMSNorm>(norm.ptr());
  return rms_norm.is_empty() ? 0.0 : rms_norm->options.eps();
}

/// Adds embedding and positions of a stack, times its `input_scale`.
inline void add_inputs(CTranslate2File& file,
                       const std::string& stack,
                       const std::string& embedding,
                       const torch::Tensor& weight,
                       const torch::Tensor& positions,
                       const torch::Tensor& input_scale) {
  const auto scale = ChannelScale::of(input_scale);
  const auto scaled = [](const torch::Tensor& tensor, const ChannelScale& by) {
    if (by.is_one()) return tensor;  // the same memory is saved once
    auto copy = tensor.detach().clone();
    by.scale_columns(copy);
    return copy;
  };
  const double of_embedding = scale.is_uniform() ? scale.value() : 1.0;
  file.add(stack + "/" + embedding + "/weight",
           scaled(weight, scale.is_uniform() ? ChannelScale() : scale));
  file.add(stack + "/position_encodings/encodings", scaled(positions, scale));
  file.add_scalar(stack + "/scale_embeddings",
                  static_cast<float>(of_embedding * std::sqrt(weight.size(1))));
}

/// What the decoder's input begins with.
inline const std::string& start_token(const nn::TransformerImpl& model,
                                      const CTranslate2Tokens& tokens) {
  if (!model.options.starts_with_pad()) return tokens.bos;
  return tokens.target[static_cast<size_t>(model.options.pad_id())];
}

/// config.json.
inline std::string ctranslate2_config(const CTranslate2Tokens& tokens,
                                      const CTranslate2Options& options,
                                      const std::string& start,
                                      double eps) {
  const std::map<std::string, std::string> entries{
      {"add_source_bos", "false"},
      {"add_source_eos", options.add_source_eos() ? "true" : "false"},
      {"bos_token", json_string(tokens.bos)},
      {"decoder_start_token", json_string(start)},
      {"eos_token", json_string(tokens.eos)},
      {"layer_norm_epsilon", fmt::format("{}", eps)},
      {"multi_query_attention", "false"},
      {"unk_token", json_string(tokens.unk)}};
  std::string json;
  for (const auto& [name, value] : entries) {
    json += (json.empty() ? "{\n  " : ",\n  ") + json_string(name) + ": " + value;
  }
  return json + "\n}\n";
}

/// `export_ctranslate2` of a model that is folded already.
inline void export_folded(const nn::TransformerImpl& model,
                          const CTranslate2Tokens& tokens,
                          const std::string& folder,
                          const CTranslate2Options& options) {
  CTranslate2File file;
  CTranslate2Layers layers(file);
  layers.add("encoder", model.encoder->layers, model.encoder->end->norm);
  layers.add("decoder", model.decoder->layers, model.decoder->end->norm);
  const auto& source = model.src_embedding->weight;
  const auto& target = model.tgt_embedding->weight;
  const auto positions =
      nn::sinusoidal_positions(options.max_length(), source.size(1)).to(source.scalar_type());
  add_inputs(file, "encoder", "embeddings_0", source, positions, model.encoder->input_scale);
  add_inputs(file, "decoder", "embeddings", target, positions, model.decoder->input_scale);
  file.add("decoder/projection/weight", model.head.is_empty() ? target : model.head->weight);
  if (model.logits_bias.defined()) file.add("decoder/projection/bias", model.logits_bias);

  NewFolder written("export_ctranslate2", folder);
  const auto& start = start_token(model, tokens);
  written.write("config.json", ctranslate2_config(tokens, options, start, layers.eps()));
  if (tokens.source == tokens.target) {
    written.write("shared_vocabulary.json", json_array(tokens.source));
  } else {
    written.write("source_vocabulary.json", json_array(tokens.source));
    written.write("target_vocabulary.json", json_array(tokens.target));
  }
  written.write("model.bin", [&](std::ostream& stream) {
    file.write(stream, "TransformerSpec", kTransformerSpecRevision);
  });
  for (const auto& [name, content] : options.files()) written.write(name, content);
  written.commit();
}

}  // namespace detail

/// Writes a folder that CTranslate2 translates from, with the same outputs:
///
///     evenkeel::export_ctranslate2(model, tokens, "ct2");
///     # Python: ctranslate2.Translator("ct2").translate_batch([["\u2581a", "\u2581dog"]])
///
/// A model with gains is folded, so every scheme that becomes Post-LN or Pre-LN is exported; with
/// LayerNorm or RMSNorm, ReLU, GELU, SiLU or SwiGLU, any number of key and value heads, tied and
/// untied embeddings. Weights have the dtype of the model, float64 is saved as float32; CTranslate2
/// itself quantises when it loads them. Throws c10::Error that names the place and what CTranslate2
/// does not have, if `tokens` are not those of the model, or if `folder` exists. The folder is
/// written as a whole or not at all.
///
/// Which options of CTranslate2 give the same translations is in docs/serve.md. Format: binary
/// version 6, specification TransformerSpec revision 7, as ctranslate2 4.8.5 writes it; OpenNMT,
/// https://github.com/OpenNMT/CTranslate2.
template <typename S>
void export_ctranslate2(const nn::Transformer<S>& model,
                        const CTranslate2Tokens& tokens,
                        const std::string& folder,
                        const CTranslate2Options& options = {}) {
  TORCH_CHECK(!model.is_empty(), "export_ctranslate2: expected a model, but got an empty holder");
  TORCH_CHECK(options.max_length() > 0,
              "export_ctranslate2: expected max_length > 0, but got ",
              options.max_length());
  std::vector<std::string> special{tokens.unk, tokens.eos};
  detail::check_tokens("source", tokens.source, model->src_embedding->weight.size(0), special);
  if (!model->options.starts_with_pad()) special.push_back(tokens.bos);
  detail::check_tokens("target", tokens.target, model->tgt_embedding->weight.size(0), special);
  // One eps for all norms, as CTranslate2 has it.
  const auto plain = fold(model, nullptr, FoldOptions().eps(detail::first_eps(*model)));
  detail::export_folded(*plain, tokens, folder, options);
}

}  // namespace evenkeel
