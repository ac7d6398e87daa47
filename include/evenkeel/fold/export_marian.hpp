// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/version.hpp>
#include <evenkeel/fold/detail/json_text.hpp>
#include <evenkeel/fold/detail/load_renamed.hpp>
#include <evenkeel/fold/detail/marian_config.hpp>
#include <evenkeel/fold/detail/name_table.hpp>
#include <evenkeel/fold/detail/new_folder.hpp>
#include <evenkeel/fold/marian_options.hpp>
#include <evenkeel/fold/safetensors.hpp>
#include <evenkeel/nn/positions.hpp>
#include <evenkeel/nn/transformer.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>

namespace evenkeel {

namespace detail {

/// Adds embedding and table of positions of a stack, times its `input_scale`.
inline void add_inputs(StateDict& state,
                       const std::string& stack,
                       const torch::Tensor& embedding,
                       const torch::Tensor& input_scale,
                       int64_t max_positions) {
  auto positions = nn::sinusoidal_positions(max_positions, embedding.size(1)).to(torch::kFloat64);
  positions = positions.to(embedding.device());
  if (input_scale.defined()) {
    positions = positions * input_scale.detach();
    state[stack + ".embed_tokens.weight"] = embedding.detach() * input_scale.detach();
  }
  state[stack + ".embed_positions.weight"] = positions.to(embedding.scalar_type());
}

/// The state dict of MarianMTModel, and of PegasusForConditionalGeneration.
inline StateDict marian_state_dict(const nn::TransformerImpl& plain, int64_t max_positions) {
  StateDict state;
  for (const auto& [name, tensor] : split_projections(state_dict(plain))) {
    const auto theirs = fairseq_names().theirs(name);
    state.emplace(theirs.empty() ? name : theirs, tensor.detach());
  }
  const auto dim = plain.options.embed_dim();
  const bool scaled = state.erase("encoder.input_scale") > 0;
  state.erase("decoder.input_scale");
  const auto& head = plain.head.is_empty() ? plain.tgt_embedding->weight : plain.head->weight;
  add_inputs(state,
             "encoder",
             plain.src_embedding->weight,
             plain.encoder->input_scale,
             max_positions);
  add_inputs(state,
             "decoder",
             plain.tgt_embedding->weight,
             plain.decoder->input_scale,
             max_positions);
  const bool tied = plain.options.tie_embeddings() && !scaled;
  state.erase("decoder.output_projection.weight");
  if (!tied) state["lm_head.weight"] = head.detach();
  state.erase("logits_bias");
  state = with_channels(state, to_split_positions(dim));
  StateDict named;
  for (const auto& [name, tensor] : state) {
    named[name == "lm_head.weight" ? name : "model." + name] = tensor;
  }
  if (tied) {
    auto shared = named.extract("model.encoder.embed_tokens.weight");
    shared.key() = "model.shared.weight";
    named.insert(std::move(shared));
  }
  // Hugging Face's models have a bias of every attention and feed-forward.
  const auto add_biases = [&](const std::string& stack, size_t layers, int64_t inner) {
    for (size_t i = 0; i < layers; ++i) {
      const auto layer = "model." + stack + ".layers." + std::to_string(i) + ".";
      for (const char* attention : {"self_attn.", "encoder_attn."}) {
        for (const char* matrix : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
          const auto name = layer + attention + matrix;
          if (named.count(name + ".weight") == 0) continue;
          named.emplace(name + ".bias", at::zeros({dim}, head.options()).detach());
        }
      }
      named.emplace(layer + "fc1.bias", at::zeros({inner}, head.options()).detach());
      named.emplace(layer + "fc2.bias", at::zeros({dim}, head.options()).detach());
    }
  };
  add_biases("encoder", plain.encoder->layers.size(), plain.options.dim_feedforward());
  add_biases("decoder", plain.decoder->layers.size(), plain.options.dim_feedforward());
  named["final_logits_bias"] =
      (plain.logits_bias.defined()
           ? plain.logits_bias.detach()
           : at::zeros({plain.options.vocab_size()}, head.options()).detach())
          .unsqueeze(0);
  return named;
}

}  // namespace detail

/// Writes a folder that Hugging Face's transformers reads as a translation model:
///
///     export_marian(model, MarianVocabulary(pieces, sentencepiece_model), "model-en-de");
///
///     model = AutoModelForSeq2SeqLM.from_pretrained("model-en-de")       # Python
///     tokenizer = MarianTokenizer.from_pretrained("model-en-de")
///
/// The model is folded first, see `fold`, with norms of eps 1e-5. A Post-LN one becomes
/// MarianMTModel, the class of the OPUS-MT models; a Pre-LN one with tied embeddings becomes
/// PegasusForConditionalGeneration, which has the same layers and positions in Pre-LN. Files:
/// config.json, generation_config.json, model.safetensors, source.spm, target.spm, vocab.json (and
/// target_vocab.json), tokenizer_config.json.
///
/// Marian's sinusoidal positions are all sines, then all cosines, where ours are pairs of them: the
/// channels of all weights are reordered, which changes no output. A folded model with an
/// `input_scale` has it in its embeddings and in a table of positions, which `save_pretrained` of
/// transformers leaves out; load such a folder for translation, and fine-tune it here.
///
/// Throws c10::Error, naming the place, before anything is written, for a model that neither class
/// computes, a vocabulary that does not fit, and a folder that exists. The folder is written beside
/// its place and renamed.
template <typename S>
void export_marian(const nn::Transformer<S>& model,
                   const MarianVocabulary& vocabulary,
                   const std::string& folder,
                   const MarianOptions& options = {}) {
  constexpr const char* kCaller = "export_marian";
  const auto plain = detail::fold_for_export(kCaller, model);
  const detail::PlainStacks stacks(kCaller, *plain);
  const auto config = detail::marian_config(kCaller, *plain, stacks, vocabulary, options);
  const auto state = detail::marian_state_dict(*plain, options.max_positions());
  const SafetensorsMetadata metadata{{"format", "pt"}};  // without it, transformers refuses a file
  safetensors_header(state, metadata);                   // throws for a dtype that is not stored

  detail::NewFolder writer(kCaller, folder);
  for (const auto& [name, content] : config) writer.write(name, content);
  writer.write("model.safetensors", [&](std::ostream& stream) {
    write_safetensors(state, metadata, [&](std::string_view bytes) {
      stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    });
  });
  writer.commit();
}

}  // namespace evenkeel
