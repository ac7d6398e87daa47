// SPDX-License-Identifier: MIT
#include "generate.hpp"

#include "common/device.hpp"
#include "common/evaluation_mode.hpp"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <tuple>

namespace evenkeel::examples::language_model {

namespace {

// Of logits (vocab_size), on any device.
int64_t draw(torch::Tensor logits, const GenerateOptions& options, at::Generator& random) {
  logits = logits.to(torch::kCPU, torch::kFloat32);
  if (!options.never.empty()) {
    logits = logits.index_fill(0, torch::tensor(options.never), -INFINITY);
  }
  if (options.temperature == 0.0) return logits.argmax().item<int64_t>();
  logits = logits / options.temperature;
  if (options.top_k > 0 && options.top_k < logits.numel()) {
    const auto least = std::get<0>(logits.topk(options.top_k))[-1];
    logits = logits.masked_fill(logits < least, -INFINITY);
  }
  return logits.softmax(0).multinomial(1, /*replacement=*/true, random).item<int64_t>();
}

}  // namespace

std::vector<int64_t> generate(nn::LanguageModelImpl& model,
                              const std::vector<int64_t>& prompt,
                              int64_t end,
                              torch::Device device,
                              bool bfloat16,
                              const GenerateOptions& options) {
  const torch::NoGradGuard no_grad;
  const Autocast autocast(device, bfloat16);
  const EvaluationMode evaluation(model);
  auto random = at::detail::createCPUGenerator(options.seed);
  nn::DecoderCache cache;
  auto read = prompt.empty() ? std::vector<int64_t>{end} : prompt;
  auto fresh = read;  // what is not in the cache yet
  std::vector<int64_t> generated;
  while (static_cast<int64_t>(generated.size()) < options.max_tokens) {
    if (options.context > 0 && static_cast<int64_t>(read.size()) > options.context) {
      read.erase(read.begin(), read.end() - std::max<int64_t>(options.context / 2, 1));
      fresh = read;
      cache = {};
    }
    const auto& input = options.cache ? fresh : read;
    const auto hidden =
        model.decode(to_tensor(input, 1, static_cast<int64_t>(input.size()), device),
                     options.cache ? &cache : nullptr);
    const auto next = draw(model.project(hidden.select(1, -1)).squeeze(0), options, random);
    if (next == end) break;
    generated.push_back(next);
    read.push_back(next);
    fresh = {next};
  }
  return generated;
}

}  // namespace evenkeel::examples::language_model
