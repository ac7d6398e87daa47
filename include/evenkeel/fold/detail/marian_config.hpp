// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/fold/detail/config_text.hpp>
#include <evenkeel/fold/detail/json_text.hpp>
#include <evenkeel/fold/detail/load_renamed.hpp>
#include <evenkeel/fold/marian_options.hpp>
#include <evenkeel/nn/transformer.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// The ids of the pieces of one side, checked.
class MarianPieces {
 public:
  MarianPieces(const char* caller,
               const char* side,
               const std::vector<std::string>& pieces,
               int64_t size)
      : caller_(caller), side_(side), pieces_(pieces) {
    TORCH_CHECK(static_cast<int64_t>(pieces.size()) == size,
                caller,
                ": expected ",
                size,
                " pieces of the ",
                side,
                ", one for each row of its embedding, but got ",
                pieces.size());
    std::unordered_set<std::string> known;
    for (const auto& piece : pieces) {
      TORCH_CHECK(known.insert(piece).second,
                  caller,
                  ": expected pieces of the ",
                  side,
                  " that differ, but got twice ",
                  piece);
    }
  }

  int64_t id(const std::string& piece) const {
    const auto found = std::find(pieces_.begin(), pieces_.end(), piece);
    TORCH_CHECK(found != pieces_.end(),
                caller_,
                ": expected ",
                piece,
                " among the pieces of the ",
                side_,
                ", but it is not there");
    return found - pieces_.begin();
  }

  /// vocab.json.
  std::string json() const {
    std::string json = "{";
    for (size_t i = 0; i < pieces_.size(); ++i) {
      json += (i == 0 ? "\n  " : ",\n  ") + json_string(pieces_[i]) + ": " + std::to_string(i);
    }
    return json + "\n}\n";
  }

 private:
  const char* caller_;
  const char* side_;
  const std::vector<std::string>& pieces_;
};

/// All files of a Marian folder but the weights, contents by name.
inline std::map<std::string, std::string> marian_config(const char* caller,
                                                        const nn::TransformerImpl& plain,
                                                        const PlainStacks& stacks,
                                                        const MarianVocabulary& vocabulary,
                                                        const MarianOptions& options) {
  const auto& of_model = plain.options;
  const auto src_size = plain.src_embedding->weight.size(0);
  const bool scaled = of_model.input_scale();
  const bool tied = of_model.tie_embeddings() && !scaled;
  for (const auto* stack : {&stacks.encoder, &stacks.decoder}) {
    TORCH_CHECK(std::abs(stack->eps - kPlainEps) <= 1e-3 * kPlainEps,
                caller,
                ": expected norms with eps 1e-05, the only one that Marian has, but got ",
                stack->eps);
  }
  TORCH_CHECK(
      !stacks.pre_norm || tied,
      caller,
      ": expected tied embeddings of a Pre-LN model, as PegasusForConditionalGeneration has "
      "them, but it has ",
      scaled ? "a scale of its input" : "one matrix each");
  const MarianPieces source(caller, "source", vocabulary.source, src_size);
  const MarianPieces target(caller, "target", vocabulary.target, of_model.vocab_size());
  const bool separate = vocabulary.source != vocabulary.target;
  TORCH_CHECK(!tied || !separate,
              caller,
              ": expected one vocabulary for both sides, as the model has tied embeddings");
  const auto pad = of_model.pad_id();
  const auto& pad_piece = vocabulary.target[static_cast<size_t>(pad)];
  const auto eos = target.id(options.eos());
  target.id(options.unk());
  TORCH_CHECK(source.id(pad_piece) == pad && source.id(options.eos()) == eos,
              caller,
              ": expected ",
              pad_piece,
              " and ",
              options.eos(),
              " to have the same ids in source and target");
  source.id(options.unk());
  TORCH_CHECK(options.max_positions() > 0 && options.max_length() > 0,
              caller,
              ": expected max_positions and max_length > 0, but got ",
              options.max_positions(),
              " and ",
              options.max_length());

  const auto number = [](int64_t value) { return std::to_string(value); };
  const auto word = [](bool value) { return std::string(value ? "true" : "false"); };
  JsonEntries generation{{"decoder_start_token_id", number(target.id(options.start()))},
                         {"eos_token_id", number(eos)},
                         {"max_length", number(options.max_length())},
                         {"num_beams", "1"},
                         {"pad_token_id", number(pad)}};
  std::string suppressed;
  for (const auto& piece : options.suppress()) {
    suppressed += (suppressed.empty() ? "[" : ", ") + number(target.id(piece));
  }
  if (!suppressed.empty()) generation["suppress_tokens"] = suppressed + "]";
  JsonEntries config{
      {"activation_dropout", c10::str(of_model.activation_dropout())},
      {"activation_function", json_string(hf_name(stacks.encoder.activation))},
      {"architectures",
       stacks.pre_norm ? "[\"PegasusForConditionalGeneration\"]" : "[\"MarianMTModel\"]"},
      {"attention_dropout", c10::str(of_model.attention_dropout())},
      {"d_model", number(of_model.embed_dim())},
      {"decoder_attention_heads", number(stacks.decoder.num_heads)},
      {"decoder_ffn_dim", number(stacks.decoder.dim_feedforward)},
      {"decoder_layers", number(static_cast<int64_t>(plain.decoder->layers.size()))},
      {"decoder_start_token_id", number(target.id(options.start()))},
      {"dropout", c10::str(of_model.dropout())},
      {"encoder_attention_heads", number(stacks.encoder.num_heads)},
      {"encoder_ffn_dim", number(stacks.encoder.dim_feedforward)},
      {"encoder_layers", number(static_cast<int64_t>(plain.encoder->layers.size()))},
      {"eos_token_id", number(eos)},
      {"forced_eos_token_id", "null"},
      {"is_encoder_decoder", "true"},
      {"max_position_embeddings", number(options.max_positions())},
      {"model_type", stacks.pre_norm ? "\"pegasus\"" : "\"marian\""},
      {"pad_token_id", number(pad)},
      {"scale_embedding", "true"},
      {"tie_word_embeddings", word(tied)},
      {"torch_dtype", json_string(hf_name(plain.src_embedding->weight.scalar_type()))},
      {"vocab_size", number(src_size)}};
  if (!stacks.pre_norm) {
    config["decoder_vocab_size"] = number(of_model.vocab_size());
    config["share_encoder_decoder_embeddings"] = word(tied);
  }
  const JsonEntries tokenizer{{"eos_token", json_string(options.eos())},
                              {"model_max_length", number(options.max_length())},
                              {"pad_token", json_string(pad_piece)},
                              {"separate_vocabs", word(separate)},
                              {"tokenizer_class", "\"MarianTokenizer\""},
                              {"unk_token", json_string(options.unk())}};

  auto files = options.files();
  files["config.json"] = json_object(config);
  files["generation_config.json"] = json_object(generation);
  files["tokenizer_config.json"] = json_object(tokenizer);
  files["vocab.json"] = source.json();
  if (separate) files["target_vocab.json"] = target.json();
  files["source.spm"] = vocabulary.source_sentencepiece;
  files["target.spm"] = vocabulary.target_sentencepiece;
  return files;
}

}  // namespace evenkeel::detail
