// SPDX-License-Identifier: MIT
#pragma once

#include "batches.hpp"
#include "ensemble.hpp"

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace evenkeel::examples::translation {

/// log P(target | source) of pairs, of the pieces of the target and eos behind them, by one model
/// or several. `batch_tokens` limits the rows of a batch times its longest row.
std::vector<double> score_pairs(const Models& models,
                                const std::vector<Pair>& pairs,
                                torch::Device device,
                                bool bfloat16,
                                int64_t batch_tokens);

}  // namespace evenkeel::examples::translation
