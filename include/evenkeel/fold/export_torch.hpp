// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/fold/detail/config_text.hpp>
#include <evenkeel/fold/detail/load_renamed.hpp>
#include <evenkeel/fold/detail/new_folder.hpp>
#include <evenkeel/fold/state_dict.hpp>
#include <evenkeel/fold/torch_state_dict.hpp>
#include <evenkeel/nn/transformer.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <string_view>

namespace evenkeel {

/// Writes a folder for Python's `torch.nn.Transformer`: model.safetensors, which holds
/// `to_torch_state_dict(model)`; config.json, whose entries are the arguments of its constructor,
/// `torch.nn.Transformer(**config)`; and `files`, contents by name. Throws as
/// `to_torch_state_dict`, for an activation other than ReLU and GELU, and for a folder that exists.
/// The folder is written beside its place and renamed.
template <typename S>
void export_torch(const nn::Transformer<S>& model,
                  const std::string& folder,
                  const std::map<std::string, std::string>& files = {}) {
  constexpr const char* kCaller = "export_torch";
  const auto state = to_torch_state_dict(model);
  const auto& of_model = model->options;
  TORCH_CHECK(
      of_model.activation() == Activation::kReLU || of_model.activation() == Activation::kGELU,
      kCaller,
      ": expected the activation ReLU or GELU, as torch.nn.Transformer has them by name, but "
      "got ",
      to_string(of_model.activation()));
  const auto number = [](int64_t value) { return std::to_string(value); };
  const bool pre_norm = model->encoder->layers.front()->sublayers.front().residual->norms().input;
  const detail::JsonEntries config{
      {"activation", detail::json_string(detail::hf_name(of_model.activation()))},
      {"batch_first", "true"},
      {"d_model", number(of_model.embed_dim())},
      {"dim_feedforward", number(of_model.dim_feedforward())},
      {"dropout", c10::str(of_model.dropout())},
      {"layer_norm_eps", "1e-05"},
      {"nhead", number(of_model.num_heads())},
      {"norm_first", pre_norm ? "true" : "false"},
      {"num_decoder_layers", number(static_cast<int64_t>(model->decoder->layers.size()))},
      {"num_encoder_layers", number(static_cast<int64_t>(model->encoder->layers.size()))}};
  detail::NewFolder writer(kCaller, folder);
  for (const auto& [name, content] : files) writer.write(name, content);
  writer.write("config.json", detail::json_object(config));
  writer.write("model.safetensors", [&](std::ostream& stream) {
    SafetensorsMetadata metadata{{"format", "pt"}};
    const auto stored = detail::stored_once(state, metadata);
    write_safetensors(stored, metadata, [&](std::string_view bytes) {
      stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    });
  });
  writer.commit();
}

}  // namespace evenkeel
