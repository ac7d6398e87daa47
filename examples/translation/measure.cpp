// SPDX-License-Identifier: MIT
#include "measure.hpp"

#include "config.hpp"
#include "model.hpp"

#include <evenkeel/diagnose/output_change.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/nn/positions.hpp>
#include <evenkeel/residual/registry.hpp>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/utils.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace evenkeel::translation {

namespace {

OutputChange measure(const Scheme& scheme,
                     const MeasureOptions& options,
                     int64_t layers,
                     int64_t seed,
                     torch::Device device) {
  torch::manual_seed(static_cast<uint64_t>(seed));
  nn::Encoder<> encoder(
      scheme,
      nn::StackOptions(layers, options.embed_dim, options.num_heads, options.dim_feedforward));
  encoder->to(device);
  Position position;
  position.encoder_layers = layers;
  // distributed as an embedding times sqrt(embed_dim), plus positions
  const auto x = (torch::randn({1, options.length, options.embed_dim}) *
                      scheme.draw(Role::kEmbedding, position).gain +
                  nn::sinusoidal_positions(options.length, options.embed_dim))
                     .to(device);
  const bool normed =
      !encoder->norm.is_empty() || encoder->layers.back()->sublayers.back().residual->norms().sum;
  const auto run = [&] {
    const auto y = encoder->forward(x);
    return normed ? y : at::layer_norm(y, {options.embed_dim});
  };
  return output_change(
      encoder,
      run,
      OutputChangeOptions().trials(options.trials).seed(static_cast<uint64_t>(seed)));
}

}  // namespace

void measure_output_change(const MeasureOptions& options,
                           const std::function<void(const std::string& line)>& write) {
  Config config;
  config.device = options.device;
  const auto device = device_of(config);
  if (options.threads > 0) at::set_num_threads(static_cast<int>(options.threads));
  std::vector<Scheme> measured;  // names first, then work
  for (const auto& name : options.schemes) measured.push_back(scheme_of_option("schemes", name));
  for (const auto& scheme : options.schemes.empty() ? schemes() : measured) {
    for (const auto layers : options.depths) {
      std::vector<OutputChange> changes;
      for (int64_t seed = 1; seed <= options.seeds; ++seed) {
        changes.push_back(measure(scheme, options, layers, seed, device));
      }
      std::sort(changes.begin(), changes.end(), [](const auto& a, const auto& b) {
        return a.mean < b.mean;
      });
      const auto& median = changes[changes.size() / 2];
      write(nlohmann::json{{"scheme", scheme.name},
                           {"title", scheme.title},
                           {"encoder_layers", layers},
                           {"sublayers", 2 * layers},
                           {"mean", median.mean},
                           {"standard_error", median.standard_error}}
                .dump());
    }
  }
}

}  // namespace evenkeel::translation
