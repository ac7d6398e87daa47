// SPDX-License-Identifier: MIT
#pragma once

#include "common/validator.hpp"
#include "config.hpp"
#include "packed_text.hpp"
#include "tokenizer.hpp"

#include <evenkeel/nn/language_model.hpp>

#include <torch/types.h>

namespace evenkeel::examples::language_model {

/// Validates on the first sequences of held-out text: the loss, texts that follow its beginnings,
/// and what each layer's activations look like. The model comes back in its mode; no generator is
/// touched.
ValidationReport validate(nn::LanguageModelImpl& model,
                          const Tokenizer& tokenizer,
                          const PackedText& text,
                          torch::Device device,
                          const Config& config);

}  // namespace evenkeel::examples::language_model
