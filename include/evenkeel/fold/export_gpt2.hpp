// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/fold/detail/config_text.hpp>
#include <evenkeel/fold/detail/gpt2_names.hpp>
#include <evenkeel/fold/detail/load_renamed.hpp>
#include <evenkeel/fold/detail/name_table.hpp>
#include <evenkeel/fold/detail/new_folder.hpp>
#include <evenkeel/fold/detail/plain_model.hpp>
#include <evenkeel/fold/safetensors.hpp>
#include <evenkeel/nn/language_model.hpp>
#include <evenkeel/nn/positions.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/arg.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <string_view>

namespace evenkeel {

/// Options for `export_gpt2`, e.g. `Gpt2Options(/*eos_id=*/3).max_positions(512)`.
struct Gpt2Options {
  /// The token that ends a text.
  // NOLINTNEXTLINE(google-explicit-constructor): a bare id is the common case
  Gpt2Options(int64_t eos_id) : eos_id_(eos_id), bos_id_(eos_id) {}

  TORCH_ARG(int64_t, eos_id);
  /// The token that starts a text. Default: eos_id
  TORCH_ARG(int64_t, bos_id);
  /// Rows of the table of positions: no longer text is read or written. A model with learned
  /// positions has as many as it has. Default: 1024
  TORCH_ARG(int64_t, max_positions) = 1024;
  /// Files to add to the folder, contents by name, e.g. those of a tokenizer. Default: none
  using Files = std::map<std::string, std::string>;
  TORCH_ARG(Files, files);
};

namespace detail {

/// The state dict of GPT2LMHeadModel, whose matrices are transposed.
inline StateDict gpt2_state_dict(const nn::LanguageModelImpl& plain, int64_t max_positions) {
  const auto ours = packed_projections(state_dict(plain));
  StateDict state;
  const auto like = plain.embedding->weight.options();
  const auto dim = plain.options.embed_dim();
  const auto put = [&](const std::string& name, const torch::Tensor& tensor) {
    state[name] = tensor.detach().contiguous();
  };
  for (size_t i = 0; i < plain.decoder->layers.size(); ++i) {
    const auto from = "decoder.layer_" + std::to_string(i) + ".";
    for (const auto& [name, theirs, is_matrix] : kGpt2Names) {
      const auto found = ours.find(from + name);
      const auto to = "transformer.h." + std::to_string(i) + "." + theirs;
      if (found != ours.end()) {
        put(to, is_matrix ? found->second.t() : found->second);
      } else {  // a bias, behind its matrix
        const auto& matrix = state.at(to.substr(0, to.size() - 4) + "weight");
        put(to, at::zeros({matrix.size(1)}, like));
      }
    }
  }
  put("transformer.ln_f.weight", ours.at("decoder.norm.weight"));
  put("transformer.ln_f.bias", ours.at("decoder.norm.bias"));
  auto scale = at::ones({dim}, torch::kFloat64);
  if (plain.decoder->input_scale.defined()) {
    scale = plain.decoder->input_scale.detach().to(at::kCPU, torch::kFloat64);
  }
  const auto embedding = plain.embedding->weight.detach().to(at::kCPU, torch::kFloat64);
  const auto positions =
      plain.position_embedding.is_empty()
          ? nn::sinusoidal_positions(max_positions, dim).to(torch::kFloat64)
          : plain.position_embedding->weight.detach().to(at::kCPU, torch::kFloat64);
  const auto dtype = c10::typeMetaToScalarType(like.dtype());
  put("transformer.wte.weight",
      (embedding * scale * std::sqrt(static_cast<double>(dim))).to(dtype));
  put("transformer.wpe.weight", (positions * scale).to(dtype));
  put("lm_head.weight", plain.head.is_empty() ? plain.embedding->weight : plain.head->weight);
  return state;
}

}  // namespace detail

/// Writes a folder that Hugging Face's GPT2LMHeadModel reads, with the files of `options` beside
/// config.json, generation_config.json and model.safetensors:
///
///     export_gpt2(model, "story-model", Gpt2Options(eos_id));
///
///     model = AutoModelForCausalLM.from_pretrained("story-model")       # Python
///
/// The model is folded first (see `fold`). GPT-2's block is Pre-LN with LayerNorm, and attention
/// and a feed-forward of ReLU, GELU (by erf) or SiLU. Learned positions are its own,
/// sinusoidal ones become a table; embeddings are multiplied by sqrt(embed_dim), so that they are
/// not tied to the head there. Throws c10::Error, naming the place, before anything is written, for
/// any other block: Post-LN, SwiGLU, RMSNorm, fewer heads of keys than of queries. Llama, which has
/// the last three, has rotary positions, which `nn::LanguageModel` does not have.
template <typename S>
void export_gpt2(const nn::LanguageModel<S>& model,
                 const std::string& folder,
                 const Gpt2Options& options) {
  constexpr const char* kCaller = "export_gpt2";
  const auto plain = detail::fold_for_export(kCaller, model);
  const auto stack =
      detail::PlainStackReader(kCaller, "decoder.")
          .read(plain->decoder->layers, {SublayerKind::kSelfAttention, SublayerKind::kFeedForward});
  TORCH_CHECK(stack.pre_norm,
              kCaller,
              ": expected a Pre-LN model, as GPT-2 is, but got ",
              model->scheme().title,
              ", which folds into Post-LN");
  const auto size = plain->options.vocab_size();
  for (const auto id : {options.eos_id(), options.bos_id()}) {
    TORCH_CHECK(id >= 0 && id < size,
                kCaller,
                ": expected eos_id and bos_id in [0, ",
                size,
                "), but got ",
                id);
  }
  TORCH_CHECK(options.max_positions() > 0,
              kCaller,
              ": expected max_positions > 0, but got ",
              options.max_positions());
  const auto state = detail::gpt2_state_dict(*plain, options.max_positions());
  const auto number = [](int64_t value) { return std::to_string(value); };
  const auto& of_model = plain->options;
  const auto dtype = plain->embedding->weight.scalar_type();
  detail::JsonEntries config{
      {"activation_function", detail::json_string(detail::hf_name(stack.activation))},
      {"architectures", "[\"GPT2LMHeadModel\"]"},
      {"attn_pdrop", c10::str(of_model.attention_dropout())},
      {"bos_token_id", number(options.bos_id())},
      {"embd_pdrop", c10::str(of_model.dropout())},
      {"eos_token_id", number(options.eos_id())},
      {"layer_norm_epsilon", fmt::format("{}", stack.eps)},
      {"model_type", "\"gpt2\""},
      {"n_embd", number(of_model.embed_dim())},
      {"n_head", number(stack.num_heads)},
      {"n_inner", number(stack.dim_feedforward)},
      {"n_layer", number(of_model.num_layers())},
      {"n_positions", number(state.at("transformer.wpe.weight").size(0))},
      {"resid_pdrop", c10::str(of_model.dropout())},
      {"tie_word_embeddings", "false"},
      {"torch_dtype", detail::json_string(detail::hf_name(dtype))},
      {"vocab_size", number(size)}};
  detail::JsonEntries generation{{"bos_token_id", number(options.bos_id())},
                                 {"eos_token_id", number(options.eos_id())}};
  if (of_model.pad_id() >= 0) {
    config["pad_token_id"] = generation["pad_token_id"] = number(of_model.pad_id());
  }
  const SafetensorsMetadata metadata{{"format", "pt"}};
  safetensors_header(state, metadata);  // throws for a dtype that is not stored

  detail::NewFolder writer(kCaller, folder);
  for (const auto& [name, content] : options.files()) writer.write(name, content);
  writer.write("config.json", detail::json_object(config));
  writer.write("generation_config.json", detail::json_object(generation));
  writer.write("model.safetensors", [&](std::ostream& stream) {
    write_safetensors(state, metadata, [&](std::string_view bytes) {
      stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    });
  });
  writer.commit();
}

}  // namespace evenkeel
