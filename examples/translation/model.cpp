// SPDX-License-Identifier: MIT
#include "model.hpp"

#include "vocabulary.hpp"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <fmt/format.h>
#include <torch/cuda.h>
#include <unistd.h>

namespace evenkeel::translation {

nn::Transformer<> make_model(const Config& config, const VocabularySizes& sizes) {
  check_memory(config, sizes, 1);
  return {configured_scheme(config),
          nn::TransformerOptions()
              .encoder_layers(config.encoder_layers)
              .decoder_layers(config.decoder_layers)
              .embed_dim(config.embed_dim)
              .num_heads(config.num_heads)
              .dim_feedforward(config.dim_feedforward)
              .dropout(config.dropout)
              .attention_dropout(config.attention_dropout)
              .activation_dropout(config.activation_dropout)
              .pad_id(kPad)
              .vocab_size(sizes.target)
              .src_vocab_size(sizes.source)
              .tie_embeddings(sizes.joint)};
}

double parameter_count(const Config& config, const VocabularySizes& sizes) {
  const auto width = static_cast<double>(config.embed_dim);
  const auto inner = static_cast<double>(config.dim_feedforward);
  const double attention = 4.0 * width * width;
  const double feed_forward = 2.0 * width * inner;
  return static_cast<double>(config.encoder_layers) * (attention + feed_forward) +
         static_cast<double>(config.decoder_layers) * (2.0 * attention + feed_forward) +
         static_cast<double>(sizes.rows()) * width;
}

void check_memory(const Config& config, const VocabularySizes& sizes, int64_t numbers) {
  constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
  const double count = parameter_count(config, sizes);
  const double need = 4.0 * static_cast<double>(numbers) * count / kGiB;
  const double have = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
                      static_cast<double>(::sysconf(_SC_PAGESIZE)) / kGiB;
  if (need < have) return;
  throw ConfigError(fmt::format(
      "expected a model that fits in the memory of {:.1f} GiB, but its {:.3g} parameters take "
      "{:.3g} "
      "GiB; see --encoder-layers, --decoder-layers, --embed-dim, --dim-feedforward, --vocab-size",
      have,
      count,
      need));
}

torch::Device device_of(const Config& config) {
  if (config.device == "auto") return torch::cuda::is_available() ? torch::kCUDA : torch::kCPU;
  try {
    const torch::Device device(config.device);
    if (device.is_cpu()) return device;
    if (device.is_cuda()) {
      const auto count = torch::cuda::device_count();
      if (device.has_index() ? device.index() < count : count > 0) return device;
      throw ConfigError(fmt::format("--device: expected one of {} CUDA devices here, but got {}",
                                    count,
                                    config.device));
    }
  } catch (const c10::Error&) {  // not the name of a device
  }
  throw ConfigError(
      fmt::format("--device: expected auto, cpu, cuda or cuda:N, but got {}", config.device));
}

void prefer_short_attention() {
  at::globalContext().setSDPUseFlash(false);
  at::globalContext().setSDPUseCuDNN(false);
}

Autocast::Autocast(torch::Device device, bool enabled) : type_(device.type()), enabled_(enabled) {
  if (!enabled_) return;
  before_ = at::autocast::is_autocast_enabled(type_);
  at::autocast::set_autocast_enabled(type_, true);
  at::autocast::set_autocast_dtype(type_, torch::kBFloat16);
  at::autocast::increment_nesting();
}

Autocast::~Autocast() {
  if (!enabled_) return;
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(type_, before_);
}

torch::Tensor to_tensor(const std::vector<int64_t>& ids,
                        int64_t rows,
                        int64_t columns,
                        torch::Device device) {
  auto tensor =
      torch::empty({rows, columns}, torch::dtype(torch::kInt64).pinned_memory(device.is_cuda()));
  std::copy(ids.begin(), ids.end(), tensor.data_ptr<int64_t>());
  return tensor.to(device, /*non_blocking=*/true);
}

torch::Tensor summed_loss(nn::TransformerImpl& model,
                          const Batch& batch,
                          torch::Device device,
                          bool bfloat16,
                          double label_smoothing) {
  const auto on_device = [&](const std::vector<int64_t>& ids, int64_t columns) {
    return to_tensor(ids, batch.sentences, columns, device);
  };
  const Autocast autocast(device, bfloat16);
  const auto memory = model.encode(on_device(batch.source, batch.source_length));
  const auto hidden =
      model.decode(on_device(batch.target_input, batch.target_length), memory, nullptr);
  return at::cross_entropy_loss(model.project(hidden).to(torch::kFloat32).flatten(0, 1),
                                on_device(batch.target_output, batch.target_length).flatten(),
                                /*weight=*/{},
                                at::Reduction::Sum,
                                kPad,
                                label_smoothing);
}

}  // namespace evenkeel::translation
