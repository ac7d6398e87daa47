// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/init/scheme_init.hpp>

#include <torch/nn/modules/transformer.h>
#include <torch/nn/options/transformer.h>

#include <cstdint>

namespace evenkeel::test {

/// A model of torch::nn's, of 4 features: its packed projections have 12 rows.
inline torch::nn::Transformer torch_transformer(int64_t encoder_layers, int64_t decoder_layers) {
  return torch::nn::Transformer(torch::nn::TransformerOptions(4, 2)
                                    .num_encoder_layers(encoder_layers)
                                    .num_decoder_layers(decoder_layers)
                                    .dim_feedforward(6));
}

inline InitOptions depths(int64_t encoder_layers, int64_t decoder_layers) {
  return InitOptions().encoder_layers(encoder_layers).decoder_layers(decoder_layers);
}

}  // namespace evenkeel::test
