// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/fold/detail/json.hpp>
#include <evenkeel/fold/detail/load_renamed.hpp>
#include <evenkeel/fold/detail/name_table.hpp>
#include <evenkeel/fold/safetensors.hpp>
#include <evenkeel/nn/positions.hpp>
#include <evenkeel/nn/transformer.hpp>
#include <evenkeel/residual/post_norm.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/scheme.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

namespace evenkeel {

namespace detail {

/// config.json of a Marian folder. Throws c10::ValueError; errors begin with the file's name.
class MarianConfig {
 public:
  explicit MarianConfig(std::string file) : file_(std::move(file)) {
    std::ifstream stream(file_, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    TORCH_CHECK_VALUE(stream.is_open() && !stream.bad(), file_, ": cannot be read");
    read([&] {
      json_ = parse_json(text);
      json_.object();
    });
    read([&] { type_ = json_.at("model_type").string(); });
    TORCH_CHECK_VALUE(type_ == "marian" || type_ == "pegasus",
                      file_,
                      ": expected model_type marian or pegasus, but got ",
                      type_);
  }

  bool pre_norm() const { return type_ == "pegasus"; }
  int64_t size(const char* name) const {
    int64_t value = 0;
    read([&] { value = json_.at(name).count(); });
    TORCH_CHECK_VALUE(value > 0, file_, ": expected ", name, " > 0, but got 0");
    return value;
  }
  int64_t id(const char* name) const {
    int64_t value = 0;
    read([&] { value = json_.at(name).count(); });
    return value;
  }
  int64_t size_or(const char* name, int64_t otherwise) const {
    return is_there(name) ? size(name) : otherwise;
  }
  bool flag(const char* name, bool otherwise) const {
    read([&] {
      if (is_there(name)) otherwise = json_.at(name).boolean();
    });
    return otherwise;
  }
  double number(const char* name, double otherwise) const {
    read([&] {
      if (is_there(name)) otherwise = json_.at(name).number();
    });
    return otherwise;
  }
  /// A size that encoder and decoder have to share, e.g. `attention_heads`.
  int64_t same_size(const std::string& name) const {
    const auto encoder = size(("encoder_" + name).c_str());
    const auto decoder = size(("decoder_" + name).c_str());
    TORCH_CHECK_VALUE(encoder == decoder,
                      file_,
                      ": expected the same encoder_",
                      name,
                      " and decoder_",
                      name,
                      ", but got ",
                      encoder,
                      " and ",
                      decoder);
    return encoder;
  }
  Activation activation() const {
    std::string name;
    read([&] { name = json_.at("activation_function").string(); });
    if (name == "relu") return Activation::kReLU;
    if (name == "gelu") return Activation::kGELU;
    if (name == "swish" || name == "silu") return Activation::kSiLU;
    TORCH_CHECK_VALUE(false,
                      file_,
                      ": expected activation_function relu, gelu, swish or silu, but got ",
                      name);
    return Activation::kReLU;
  }
  /// Throws if a flag that transformers does not read says that the model is another.
  void check_is_off(const char* name) const {
    TORCH_CHECK_VALUE(!flag(name, false), file_, ": expected ", name, " false, but got true");
  }

 private:
  bool is_there(const char* name) const {
    const auto* value = json_.find(name);
    return value != nullptr && value->kind != Json::Kind::kNull;
  }
  template <typename F>
  void read(F&& f) const {
    try {
      f();
    } catch (const JsonError& error) {
      TORCH_CHECK_VALUE(false, file_, ": ", error.what());
    }
  }

  std::string file_;
  std::string type_;
  Json json_;
};

/// The options of the model of a config, without what its tensors decide.
inline nn::TransformerOptions options_of(const MarianConfig& config) {
  for (const char* name : {"normalize_embedding", "add_final_layer_norm", "extra_pos_embeddings"}) {
    if (!config.pre_norm()) config.check_is_off(name);
  }
  if (!config.pre_norm()) config.check_is_off("normalize_before");
  const auto source = config.size("vocab_size");
  const auto pad = config.id("pad_token_id");
  return nn::TransformerOptions()
      .encoder_layers(config.size("encoder_layers"))
      .decoder_layers(config.size("decoder_layers"))
      .embed_dim(config.size("d_model"))
      .num_heads(config.same_size("attention_heads"))
      .dim_feedforward(config.same_size("ffn_dim"))
      .activation(config.activation())
      .src_vocab_size(source)
      .vocab_size(config.size_or("decoder_vocab_size", source))
      .pad_id(pad)
      .starts_with_pad(config.id("decoder_start_token_id") == pad)
      .dropout(config.number("dropout", 0.1))
      .attention_dropout(config.number("attention_dropout", 0.0))
      .activation_dropout(config.number("activation_dropout", 0.0));
}

/// The factor for each channel by which a table of positions is Marian's; throws if it is another.
inline torch::Tensor position_scale(const std::string& file,
                                    const std::string& name,
                                    const torch::Tensor& table,
                                    int64_t dim) {
  TORCH_CHECK_VALUE(table.dim() == 2 && table.size(1) == dim && table.size(0) > 0,
                    file,
                    ": expected ",
                    name,
                    " of shape [positions, ",
                    dim,
                    "], but got ",
                    table.sizes());
  const auto ours = nn::sinusoidal_positions(table.size(0), dim).to(torch::kFloat64);
  const auto positions = ours.index_select(1, to_split_positions(dim));
  const auto given = table.to(torch::kFloat64);
  const auto scale = (given * positions).sum(0) / positions.square().sum(0).clamp_min(1e-12);
  const bool half = c10::elementSize(table.scalar_type()) < 4;
  const double difference = (given - scale * positions).abs().max().item<double>();
  const double bound = (half ? 1e-2 : 1e-4) * scale.abs().max().item<double>();
  TORCH_CHECK_VALUE(difference <= bound && scale.ne(0.0).all().item<bool>(),
                    file,
                    ": expected ",
                    name,
                    " to hold Marian's sinusoidal positions, each channel times a factor other "
                    "than 0, but they differ by ",
                    difference);
  const double from_one = (scale - 1.0).abs().max().item<double>();
  return from_one <= (half ? 1e-2 : 1e-4) ? torch::Tensor() : scale;
}

}  // namespace detail

/// Reads a translation model that Hugging Face's transformers has saved with `save_pretrained`, as
/// config.json and model.safetensors: a MarianMTModel, such as an OPUS-MT model, becomes an
/// `nn::Transformer` of the scheme PostNorm, a PegasusForConditionalGeneration one of PreNorm. It
/// computes the same and can be trained on; what `export_marian` has written comes back. Its
/// vocabulary is not read.
///
///     auto model = evenkeel::import_marian("opus-mt-en-de");
///
/// A model whose decoder starts with the padding token, as Marian's do, has the option
/// `starts_with_pad`; one with a bias of its logits has `logits_bias`. The dtype is that of the
/// file. Channels are put in the order of our positions, see `export_marian`.
///
/// Throws c10::ValueError, which begins with the file's name, for a file that cannot be read or is
/// damaged, see `read_safetensors`, and for a model that is another. A pytorch_model.bin is not
/// read, since it is unpickled: save the model as safetensors first.
inline nn::Transformer<> import_marian(const std::string& folder) {
  const detail::MarianConfig config(folder + "/config.json");
  auto options = detail::options_of(config);
  const auto dim = options.embed_dim();
  const auto file = folder + "/model.safetensors";
  StateDict theirs;
  for (const auto& [name, tensor] : read_safetensors(file).tensors) {
    theirs.emplace(name.rfind("model.", 0) == 0 ? name.substr(6) : name, tensor);
  }
  const auto take = [&](const char* name) {
    const auto found = theirs.extract(name);
    return found.empty() ? torch::Tensor() : found.mapped();
  };
  const auto first_of = [](const torch::Tensor& a, const torch::Tensor& b) {
    return a.defined() ? a : b;
  };
  const bool tie = config.flag("tie_word_embeddings", true);
  const bool share =
      config.pre_norm() ? tie : config.flag("share_encoder_decoder_embeddings", true);
  const auto shared = take("shared.weight");
  auto source = first_of(take("encoder.embed_tokens.weight"), shared);
  auto target = first_of(take("decoder.embed_tokens.weight"), shared);
  auto head = take("lm_head.weight");
  if (tie) {
    head = first_of(head, target);
    target = first_of(target, head);
  }
  if (share) {
    source = first_of(source, target);
    target = first_of(target, source);
    if (tie) head = first_of(head, source);
  }
  TORCH_CHECK_VALUE(source.defined() && target.defined() && head.defined(),
                    file,
                    ": expected embeddings and lm_head.weight, but there are none of the ",
                    !source.defined()   ? "source"
                    : !target.defined() ? "target"
                                        : "head");
  const auto bias = take("final_logits_bias");
  if (bias.defined() && bias.ne(0.0).any().item<bool>()) {
    options.logits_bias(true);
    theirs["logits_bias"] = bias.flatten();
  }

  bool scaled = false;
  for (auto* of : {&source, &target}) {
    const std::string stack = of == &source ? "encoder" : "decoder";
    const auto name = stack + ".embed_positions.weight";
    const auto table = take(name.c_str());
    auto& embedding = *of;
    auto scale = table.defined() ? detail::position_scale(file, name, table, dim) : table;
    scaled = scaled || scale.defined();
    if (!scale.defined()) scale = at::ones({dim}, torch::kFloat64);
    theirs[stack + ".input_scale"] = scale.to(embedding.scalar_type());
    if (!config.flag("scale_embedding", false)) {
      scale = scale * std::sqrt(static_cast<double>(dim));
    }
    if (embedding.dim() == 2 && embedding.size(1) == dim && scale.ne(1.0).any().item<bool>()) {
      embedding = (embedding.to(torch::kFloat64) / scale).to(embedding.scalar_type());
    }
  }
  if (!scaled) {
    theirs.erase("encoder.input_scale");
    theirs.erase("decoder.input_scale");
  }
  const bool tied = share && tie && at::equal(source, target) && at::equal(source, head);
  options.input_scale(scaled).tie_embeddings(tied);
  theirs["encoder.embed_tokens.weight"] = source;
  theirs["decoder.embed_tokens.weight"] = target;
  theirs["decoder.output_projection.weight"] = head;

  nn::Transformer<> model(config.pre_norm() ? scheme_of<PreNorm>() : scheme_of<PostNorm>(),
                          options);
  model->to(source.scalar_type());
  theirs = detail::with_channels(theirs, detail::from_split_positions(dim));
  auto ours = detail::with_our_names(detail::fairseq_names(), theirs, {}, file.c_str());
  detail::load_ours(*model, std::move(ours), {}, file.c_str());
  model->eval();
  return model;
}

}  // namespace evenkeel
