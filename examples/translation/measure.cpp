// SPDX-License-Identifier: MIT
#include "measure.hpp"

#include "config.hpp"
#include "model.hpp"

#include <evenkeel/diagnose/output_change.hpp>
#include <evenkeel/diagnose/profile_admin.hpp>
#include <evenkeel/nn/decoder.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/nn/positions.hpp>
#include <evenkeel/residual/registry.hpp>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/utils.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace evenkeel::examples::translation {

namespace {

/// The stacks that are measured; either may be missing.
struct MeasuredImpl : torch::nn::Module {
  MeasuredImpl(const Scheme& scheme, const MeasureOptions& options, int64_t layers) {
    const bool both = options.model == "both";
    const auto stack =
        nn::StackOptions(layers, options.embed_dim, options.num_heads, options.dim_feedforward)
            .other_layers(both ? layers : 0)
            .cross_attention(both);
    if (options.model != "decoder") {
      encoder = register_module("encoder", nn::Encoder<>(scheme, stack));
    }
    if (options.model != "encoder") {
      decoder = register_module("decoder", nn::Decoder<>(scheme, stack));
    }
  }

  /// The output of the last stack for random tokens as the input of each.
  torch::Tensor forward(const torch::Tensor& src, const torch::Tensor& tgt) {
    torch::Tensor memory;
    if (!encoder.is_empty()) memory = encoder->forward(src);
    return decoder.is_empty() ? memory : decoder->forward(tgt, memory);
  }

  /// Of all stacks.
  int64_t sublayers() const {
    size_t count = 0;
    const auto add = [&](const auto& stack) {
      if (stack.is_empty()) return;
      for (const auto& layer : stack->layers) count += layer->sublayers.size();
    };
    add(encoder);
    add(decoder);
    return static_cast<int64_t>(count);
  }

  nn::Encoder<> encoder;
  nn::Decoder<> decoder;
};
TORCH_MODULE(Measured);

struct Measurement {
  OutputChange change;
  int64_t sublayers;
};

Measurement measure(const Scheme& scheme,
                    const MeasureOptions& options,
                    int64_t layers,
                    int64_t seed,
                    torch::Device device) {
  torch::manual_seed(static_cast<uint64_t>(seed));
  Measured model(scheme, options, layers);
  model->to(device);
  Position position;
  position.encoder_layers = options.model == "decoder" ? 0 : layers;
  position.decoder_layers = options.model == "encoder" ? 0 : layers;
  if (options.model == "decoder") position.stack = Stack::kDecoder;
  // distributed as an embedding times sqrt(embed_dim), plus positions
  const auto tokens = [&] {
    const auto gain = scheme.draw(Role::kEmbedding, position).gain;
    return (torch::randn({1, options.length, options.embed_dim}) * gain +
            nn::sinusoidal_positions(options.length, options.embed_dim))
        .to(device);
  };
  const auto src = tokens();
  const auto tgt = options.model == "both" ? tokens() : src;
  if (scheme.profiled) profile_admin(model, [&] { model->forward(src, tgt); });
  // Of one scale, whatever the model ends in: schemes without a final norm, sums of two streams.
  const auto run = [&] { return at::layer_norm(model->forward(src, tgt), {options.embed_dim}); };
  const auto of_trials =
      OutputChangeOptions().trials(options.trials).seed(static_cast<uint64_t>(seed));
  return {output_change(model, run, of_trials), model->sublayers()};
}

}  // namespace

void measure_output_change(const MeasureOptions& options,
                           const std::function<void(const std::string& line)>& write) {
  Config config;
  config.device = options.device;
  const auto device = device_of(config.device);
  if (options.threads > 0) at::set_num_threads(static_cast<int>(options.threads));
  std::vector<Scheme> measured;  // names first, then work
  for (const auto& name : options.schemes) measured.push_back(scheme_of_option("schemes", name));
  for (const auto& scheme : options.schemes.empty() ? schemes() : measured) {
    for (const auto layers : options.depths) {
      std::vector<Measurement> changes;
      for (int64_t seed = 1; seed <= options.seeds; ++seed) {
        changes.push_back(measure(scheme, options, layers, seed, device));
      }
      std::sort(changes.begin(), changes.end(), [](const auto& a, const auto& b) {
        return a.change.mean < b.change.mean;
      });
      const auto& median = changes[changes.size() / 2].change;
      write(nlohmann::json{{"scheme", scheme.name},
                           {"title", scheme.title},
                           {"model", options.model},
                           {"layers", layers},
                           {"sublayers", changes.front().sublayers},
                           {"mean", median.mean},
                           {"standard_error", median.standard_error}}
                .dump());
    }
  }
}

}  // namespace evenkeel::examples::translation
