// SPDX-License-Identifier: MIT
#include "measure.hpp"

#include "config.hpp"
#include "model.hpp"

#include <evenkeel/diagnose/output_change.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/nn/positions.hpp>
#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/post_norm.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/tfixup.hpp>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/utils.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace evenkeel::translation {

namespace {

template <typename Scheme>
OutputChange measure(const MeasureOptions& options,
                     int64_t layers,
                     int64_t seed,
                     torch::Device device) {
  torch::manual_seed(static_cast<uint64_t>(seed));
  nn::Encoder<Scheme> encoder(
      nn::StackOptions(layers, options.embed_dim, options.num_heads, options.dim_feedforward));
  encoder->to(device);
  Position position;
  position.encoder_layers = layers;
  // what an embedding times sqrt(embed_dim) gives, and positions
  const auto x = (torch::randn({1, options.length, options.embed_dim}) *
                      scheme::init_factor<Scheme>(Role::kEmbedding, position) +
                  nn::sinusoidal_positions(options.length, options.embed_dim))
                     .to(device);
  const auto run = [&] {
    const auto y = encoder->forward(x);
    return scheme::norm_placement<Scheme>() == NormPlacement::kNone
               ? at::layer_norm(y, {options.embed_dim})
               : y;
  };
  return output_change(
      encoder,
      run,
      OutputChangeOptions().trials(options.trials).seed(static_cast<uint64_t>(seed)));
}

using Measure = OutputChange (*)(const MeasureOptions&, int64_t, int64_t, torch::Device);

Measure measure_of(const std::string& scheme) {
  if (scheme == "post") return measure<PostNorm>;
  if (scheme == "pre") return measure<PreNorm>;
  if (scheme == "admin") return measure<Admin>;
  if (scheme == "admin-o1") return measure<AdminO1>;
  if (scheme == "tfixup") return measure<TFixup>;
  throw ConfigError(
      fmt::format("--schemes: expected post, pre, admin, admin-o1 or tfixup, but got {}", scheme));
}

}  // namespace

void measure_output_change(const MeasureOptions& options,
                           const std::function<void(const std::string& line)>& write) {
  Config config;
  config.device = options.device;
  const auto device = device_of(config);
  if (options.threads > 0) at::set_num_threads(static_cast<int>(options.threads));
  for (const auto& scheme : options.schemes) measure_of(scheme);  // names first, then work
  for (const auto& scheme : options.schemes) {
    for (const auto layers : options.depths) {
      std::vector<OutputChange> changes;
      for (int64_t seed = 1; seed <= options.seeds; ++seed) {
        changes.push_back(measure_of(scheme)(options, layers, seed, device));
      }
      std::sort(changes.begin(), changes.end(), [](const auto& a, const auto& b) {
        return a.mean < b.mean;
      });
      const auto& median = changes[changes.size() / 2];
      write(nlohmann::json{{"scheme", scheme},
                           {"encoder_layers", layers},
                           {"sublayers", 2 * layers},
                           {"mean", median.mean},
                           {"standard_error", median.standard_error}}
                .dump());
    }
  }
}

}  // namespace evenkeel::translation
